"""An answer in one piece, for requests that do not stream."""

from collections.abc import Mapping
from typing import NamedTuple

from aiohttp import web

from common.bus.live.frames import FrameKind
from common.events.chat import AnswerStart
from common.failures import Refused
from gateway.chat.answer_failure import raise_failure, revoked
from gateway.chat.stream import Stream
from gateway.deps import Deps


class WholeAnswer(NamedTuple):
    """An answer as it was heard, with its own headers; a body of `kept_bytes` lies in the live store instead."""

    body: bytes
    headers: dict[str, str]
    kept_bytes: int


async def whole_answer(deps: Deps, stream: Stream, deadline: float, headers: Mapping[str, str]) -> web.Response:
    """The answer once it is complete; raises as `hear_whole`."""
    heard = await hear_whole(deps, stream, deadline, headers)
    sent = {**stream.headers(), **headers, **heard.headers}
    return web.Response(body=heard.body, content_type="application/json", headers=sent)


async def hear_whole(deps: Deps, stream: Stream, deadline: float, headers: Mapping[str, str]) -> WholeAnswer:
    """The answer once it is complete.

    Raises Refused (with `headers`) where it failed or was stopped, TimeoutError at `deadline`.
    """
    start: AnswerStart | None = None
    body: bytes | None = None
    while (batch := await deps.streams.next(stream, deadline, deps.settings.keepalive_seconds)) is not None:
        for frame in batch:
            if frame.kind == FrameKind.START:
                start = AnswerStart.model_validate_json(frame.payload)
            elif frame.kind == FrameKind.DATA:
                body = frame.payload
            else:
                raise_failure(frame, headers)
    if stream.revoked:
        deps.streams.stop(stream, "client_closed")
        raise revoked()
    if body is None:
        raise Refused(409, "The answer was interrupted.", "interrupted", headers={"x-should-retry": "false"})
    return WholeAnswer(body, start.headers if start else {}, start.kept_bytes if start else 0)
