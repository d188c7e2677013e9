"""An answer in one piece, for requests that do not stream."""

from collections.abc import Mapping
from typing import NamedTuple, cast

from aiohttp import web

from common.bus.live.frames import FrameKind
from common.events.chat import AnswerStart
from common.failures import Refused
from gateway.chat.answer_failure import raise_failure, revoked
from gateway.chat.stream import Stream
from gateway.chat.streams import Streams
from gateway.deps import Deps
from gateway.http.connections import keep_unsent_small

# What is smaller leaves with the framework, and nobody waits for a receipt.
UNCONFIRMED_BYTES = 60 * 1024


async def write_whole(request: web.Request, response: web.StreamResponse, streams: Streams, request_id: str) -> None:
    """Write a large answer, and say so: the answering instance makes no more of them than clients read."""
    if not isinstance(response, web.Response) or len(cast("bytes", response.body or b"")) <= UNCONFIRMED_BYTES:
        return
    keep_unsent_small(request.transport)
    try:
        await response.prepare(request)
        await response.write_eof()
        await request.writer.drain()
    except BaseException:
        # What is raised refers to the response, and may live until the next full collection.
        response.body = None
        raise
    finally:
        streams.confirm_whole(request_id)


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
