"""POST /oauth2-cc/token: an access token for an API key and its secret key."""

import base64
import binascii
from urllib.parse import parse_qs

from aiohttp import web

from sandbox.hume.accounts import ACCOUNTS, Account
from sandbox.hume.calls import REFUSED_KEY, meet_faults, recorded
from sandbox.hume.errors import HumeError, json_response

REFUSED_SECRET = "secret-invalid"  # noqa: S105 - a name to ask for a refusal with, not a secret


def routes() -> list[web.RouteDef]:
    """The route of access tokens."""
    return [web.post("/oauth2-cc/token", recorded(answer))]


async def answer(request: web.Request, raw: bytes) -> web.StreamResponse:
    """A token of the account that the credentials name, in the header (Basic) or in the form."""
    form = {name: values[0] for name, values in parse_qs(raw.decode("utf-8", "replace")).items()}
    key, secret = _basic(request) or (form.get("client_id", ""), form.get("client_secret", ""))
    if not key or not secret or key == REFUSED_KEY or secret == REFUSED_SECRET:
        raise _refused(401, "invalid_client", "Client credentials are invalid")
    account = request.app[ACCOUNTS].of(key)

    async def grant() -> web.Response:
        return _grant(request, account, key, form)

    return await meet_faults(request, account, grant)


def _grant(request: web.Request, account: Account, key: str, form: dict[str, str]) -> web.Response:
    if form.get("grant_type") != "client_credentials":
        raise _refused(400, "unsupported_grant_type", "grant_type must be client_credentials")
    token = request.app[ACCOUNTS].grant(key, account.token_seconds)
    return json_response({"access_token": token, "token_type": "bearer", "expires_in": account.token_seconds})


def _basic(request: web.Request) -> tuple[str, str] | None:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        key, _, secret = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return key, secret


def _refused(status: int, error: str, description: str) -> HumeError:
    return HumeError(status, {"error": error, "error_description": description})
