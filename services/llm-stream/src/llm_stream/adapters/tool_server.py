"""Tools behind HTTP addresses: a signed POST through the guarded client.

Signed as Standard Webhooks (https://www.standardwebhooks.com) has it, for which receivers find libraries in every
language. A call is sent once: whether a tool may be called twice, nobody here knows.
"""

import base64
import binascii
import hashlib
import hmac
import time

from common.failures import ProviderDown, Refused
from common.providers.guarded_http import Fetched, GuardedHttp
from llm_stream.ports import ToolError

MAX_ANSWER_BYTES = 1024 * 1024
SECRET_PREFIX = "whsec_"  # noqa: S105 - how such a secret begins


class HttpToolServer:
    """The port `ToolServer`."""

    def __init__(self, http: GuardedHttp) -> None:
        self._http = http

    async def post(self, url: str, body: bytes, *, secret: str | None, id: str, seconds: float) -> bytes:
        headers = {"content-type": "application/json"}
        if secret is not None:
            headers |= signature(secret, id, body, int(time.time()))
        try:
            answer = await self._http.post(url, body, headers=headers, seconds=seconds, max_bytes=MAX_ANSWER_BYTES + 1)
        except Refused as error:
            raise ToolError(error.message) from None
        except ProviderDown as error:
            raise ToolError(error.message) from None
        return _body(answer)


def signature(secret: str, id: str, body: bytes, at: int) -> dict[str, str]:
    """The headers that prove a call: its id, when it was made (unix seconds), an HMAC-SHA256 of both and the body."""
    signed = b"%b.%d.%b" % (id.encode(), at, body)
    digest = hmac.new(_key(secret), signed, hashlib.sha256).digest()
    return {
        "webhook-id": id,
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def _key(secret: str) -> bytes:
    """The bytes of a secret: with the prefix `whsec_` they are in base64."""
    if not secret.startswith(SECRET_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        return secret.encode()


def _body(answer: Fetched) -> bytes:
    if not 200 <= answer.status < 300:
        raise ToolError(f"its server answered with status {answer.status}")
    if len(answer.body) > MAX_ANSWER_BYTES:
        raise ToolError(f"its server answered with more than {MAX_ANSWER_BYTES} bytes")
    return answer.body
