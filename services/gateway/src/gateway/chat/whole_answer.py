"""An answer in one piece, for requests that do not stream."""

from collections.abc import Mapping

from aiohttp import web

from common.bus.live.frames import FrameKind
from common.events.chat import AnswerStart
from common.failures import Refused
from gateway.chat.answer_failure import raise_failure, revoked
from gateway.chat.stream import Stream
from gateway.deps import Deps


async def whole_answer(deps: Deps, stream: Stream, deadline: float, headers: Mapping[str, str]) -> web.Response:
    """The answer once it is complete; raises Refused where it failed or was stopped, TimeoutError at `deadline`."""
    extra: dict[str, str] = {}
    body: bytes | None = None
    while (batch := await deps.streams.next(stream, deadline, deps.settings.keepalive_seconds)) is not None:
        for frame in batch:
            if frame.kind == FrameKind.START:
                extra = AnswerStart.model_validate_json(frame.payload).headers
            elif frame.kind == FrameKind.DATA:
                body = frame.payload
            else:
                raise_failure(frame, headers)
    if stream.revoked:
        deps.streams.stop(stream, "client_closed")
        raise revoked()
    if body is None:
        raise Refused(409, "The answer was interrupted.", "interrupted", headers={"x-should-retry": "false"})
    return web.Response(body=body, content_type="application/json", headers={**stream.headers(), **headers, **extra})
