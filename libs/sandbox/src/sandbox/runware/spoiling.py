"""Faults of the endpoint, in the words of `sandbox.hume.faults`: before a call is served, and on the way out."""

import asyncio
from collections.abc import Sequence

import orjson
from aiohttp import web

from sandbox.hume.faults import Fault
from sandbox.runware.task_rules import error
from sandbox.sockets import abort

FOREVER_SECONDS = 86_400.0
CODES = {401: "invalidApiKey", 402: "insufficientCredits", 429: "rateLimitExceeded", 400: "invalidRequest"}


async def before(request: web.Request, faults: Sequence[Fault]) -> web.StreamResponse | None:
    """What is answered instead of serving the call, if anything."""
    for fault in faults:
        if fault.name == "delay":
            await asyncio.sleep(fault.value / 1000)
        elif fault.name == "silence":
            await asyncio.sleep(FOREVER_SECONDS)
        elif fault.name == "reset":
            abort(request)
            return web.Response()
        elif fault.name == "status":
            return _refusal(fault)
        elif fault.name == "empty":
            return web.Response(status=fault.value)
        elif fault.name == "html":
            page = "<html><body>Bad Gateway</body></html>"
            return web.Response(status=fault.value, text=page, content_type="text/html")
        elif fault.name == "null":
            return web.Response(body=b"null", content_type="application/json")
    return None


def _refusal(fault: Fault) -> web.Response:
    """Errors of any status; one of 200 has them in its body all the same."""
    code = CODES.get(fault.value, "serverError" if fault.value >= 500 or fault.value == 200 else "forbidden")
    headers = {} if fault.after is None else {"retry-after": str(fault.after)}
    body = orjson.dumps({"errors": [error({}, code, "The request was not served.")]})
    return web.Response(status=fault.value, body=body, content_type="application/json", headers=headers)


async def after(request: web.Request, faults: Sequence[Fault], response: web.Response) -> web.StreamResponse:
    """What becomes of the answer to a call that was served."""
    for fault in faults:
        if fault.name == "lost":
            abort(request)
        elif fault.name == "lost-silence":
            await asyncio.sleep(FOREVER_SECONDS)
        elif fault.name == "truncated":
            return await cut(request, response.body if isinstance(response.body, bytes) else b"{}")
    return response


async def cut(request: web.Request, body: bytes) -> web.StreamResponse:
    """The headers of the whole body and half of it."""
    half = web.StreamResponse(headers={"content-length": str(len(body))})
    await half.prepare(request)
    await half.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return half
