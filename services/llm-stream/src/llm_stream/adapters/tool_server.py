"""Tools behind HTTP addresses: a signed POST through the guarded client.

A call is sent once: whether a tool may be called twice, nobody here knows.
"""

import time

from common.failures import ProviderDown, Refused
from common.providers.guarded_http import Fetched, GuardedHttp
from common.providers.webhook_signature import signature
from llm_stream.ports import ToolError

MAX_ANSWER_BYTES = 1024 * 1024


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


def _body(answer: Fetched) -> bytes:
    if not 200 <= answer.status < 300:
        raise ToolError(f"its server answered with status {answer.status}")
    if len(answer.body) > MAX_ANSWER_BYTES:
        raise ToolError(f"its server answered with more than {MAX_ANSWER_BYTES} bytes")
    return answer.body
