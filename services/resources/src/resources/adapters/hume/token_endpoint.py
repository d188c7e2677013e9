"""Access tokens of Hume by client credentials, which the package `hume` does not offer."""

import time
from typing import Any

import httpx
from hume.core.api_error import ApiError

from common.failures import ProviderDown, Refused
from common.providers.policy import Policy
from resources.adapters.hume.api import Account
from resources.adapters.hume.call_policy import QUERY_SECONDS
from resources.ports import Token

PATH = "/oauth2-cc/token"
GRANT = {"grant_type": "client_credentials"}


class HumeTokens:
    """The port `TokenSource` on the provider's token endpoint."""

    def __init__(self, transport: httpx.AsyncClient, account: Account, policy: Policy) -> None:
        self.provider = account.provider
        self._transport = transport
        self._account = account
        self._policy = policy

    async def fetch(self) -> Token:
        if not self._account.api_key or not self._account.secret_key:
            raise self._policy.unconfigured()
        try:
            answer = await self._policy.read(self._policy.begin(at_most=QUERY_SECONDS), "token", self._ask)
        except Refused as refused:
            # Whatever it dislikes about the request is a matter of our credentials.
            raise Refused(
                502, refused.message, "provider_refused_us", type="api_error", details=refused.details
            ) from None
        return _token(answer)

    async def _ask(self) -> Any:
        response = await self._transport.post(
            self._account.base_url.rstrip("/") + PATH,
            data=GRANT,
            auth=(self._account.api_key, self._account.secret_key),
        )
        body = _json(response)
        if response.status_code != httpx.codes.OK or body is None:
            raise ApiError(status_code=response.status_code, headers=dict(response.headers), body=body)
        return body


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


def _token(answer: Any) -> Token:
    value = answer.get("access_token") if isinstance(answer, dict) else None
    seconds = answer.get("expires_in") if isinstance(answer, dict) else None
    if not isinstance(value, str) or not value or not isinstance(seconds, int | float) or seconds <= 0:
        raise ProviderDown("The provider answered without a token.")
    now = time.time()
    return Token(value, now, now + seconds)
