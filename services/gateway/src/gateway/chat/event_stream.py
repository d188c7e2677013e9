"""An answer as server-sent events: each frame's bytes are written as they come."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import cast

import orjson
from aiohttp import HttpVersion11, web
from aiohttp.http import StreamWriter

from common.bus.live.frames import Frame, FrameKind
from common.events.chat import AnswerStart
from common.events.model_json import from_json
from common.failures import Refused
from gateway.chat.answer_failure import raise_failure, revoked
from gateway.chat.stream import Stream
from gateway.deps import Deps
from gateway.http.connections import keep_unsent_small
from gateway.http.errors import shown, timed_out

# A client that has stopped reading is cut off so long after the deadline, whose error others still get.
UNREAD_SECONDS = 1.0
# More than words that come one by one: the system would take megabytes of an answer before it says that nobody reads.
LARGE_WRITE_BYTES = 16 * 1024
KEEP_ALIVE = b": keep-alive\n\n"

SSE_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}


async def write_stream(
    request: web.Request, deps: Deps, stream: Stream, deadline: float, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Write the frames of an answer as server-sent events.

    Until the first frame everything is still open: an error then is an HTTP error. Later ones travel in band.
    """
    with _bounded(request, stream.received_at + deps.settings.chat_deadline + UNREAD_SECONDS):
        return await _write_frames(request, deps, stream, deadline, headers)


@contextmanager
def _bounded(request: web.Request, until: float) -> Iterator[None]:
    """Cut the connection at `until` (unix seconds): a write waits for as long as its client does not read."""

    def cut() -> None:
        if request.transport is not None:
            request.transport.abort()

    timer = asyncio.get_running_loop().call_later(until - time.time(), cut)
    try:
        yield
    finally:
        timer.cancel()


async def _write_frames(
    request: web.Request, deps: Deps, stream: Stream, deadline: float, headers: Mapping[str, str]
) -> web.StreamResponse:
    response: web.StreamResponse | None = None
    last, early = b"", False
    try:
        if (head := stream.head) is not None:
            response = await _prepare(request, stream, {**headers, **head.headers})
        while (batch := await deps.streams.next(stream, deadline, _pause(deps, stream, response))) is not None:
            if response is None and batch:
                response = await _begin(request, stream, batch[0], headers)
            elif response is None and _opens_early(deps, stream):
                response, early = await _prepare(request, stream, headers), True
            elif early and batch and stream.number == 0 and batch[0].kind == FrameKind.END:
                # What would have been an HTTP error is said in the stream.
                last = _in_band(batch[0], headers)
                continue
            if response is not None:
                last = await _write_confirmed(request, deps, response, stream, batch)
                _write_directly(request, response, stream)
    except TimeoutError:
        if response is None:
            raise
        late = timed_out("The answer was not complete before the deadline.")
        last = b"data: %b\n\n" % orjson.dumps(late.body())
    if stream.revoked:
        # Nobody is to work for it any longer.
        deps.streams.stop(stream, "client_closed")
        if response is None:
            raise revoked()
        last = b"data: %b\n\n" % orjson.dumps(revoked().body())
    if response is None:
        # Stopped before anything was said: an empty stream.
        response = await _prepare(request, stream, headers)
    await response.write_eof(last)
    return response


def _pause(deps: Deps, stream: Stream, response: web.StreamResponse | None) -> float:
    """How long to wait for frames before something else is to be done."""
    pause, after = deps.settings.keepalive_seconds, deps.settings.stream_open_after
    if response is not None or not after:
        return pause
    return max(0.001, min(pause, stream.received_at + after - time.time()))


def _opens_early(deps: Deps, stream: Stream) -> bool:
    after = deps.settings.stream_open_after
    return after > 0 and time.time() >= stream.received_at + after


def _in_band(end: Frame, headers: Mapping[str, str]) -> bytes:
    """The error that an END frame reports, as an event; nothing where it reports none."""
    try:
        raise_failure(end, headers)
    except Refused as refused:
        return b"data: %b\n\n" % orjson.dumps(shown(refused).body())
    return b""


async def _begin(request: web.Request, stream: Stream, first: Frame, headers: Mapping[str, str]) -> web.StreamResponse:
    if first.kind == FrameKind.START:
        return await _prepare(request, stream, {**headers, **from_json(AnswerStart, first.payload).headers})
    if first.kind != FrameKind.DATA and stream.number == 0:
        raise_failure(first, headers)
    return await _prepare(request, stream, headers)


async def _prepare(request: web.Request, stream: Stream, headers: Mapping[str, str]) -> web.StreamResponse:
    response = web.StreamResponse(headers={**SSE_HEADERS, **stream.headers(), **headers})
    if request.version >= HttpVersion11:
        response.enable_chunked_encoding()
    await response.prepare(request)
    return response


async def _write_confirmed(
    request: web.Request, deps: Deps, response: web.StreamResponse, stream: Stream, batch: list[Frame]
) -> bytes:
    """The same, and where the answering instance wants to know it, say how much has been written."""
    last = await _write(request, response, stream, batch, deps.settings.keepalive_seconds)
    if stream.marked:
        # Only a long answer has marks; a short one leaves no more to the system's buffers than it is.
        keep_unsent_small(request.transport)
        await request.writer.drain()
        deps.streams.confirm(stream)
    return last


async def _write(
    request: web.Request, response: web.StreamResponse, stream: Stream, batch: list[Frame], pause: float
) -> bytes:
    """Write a batch; returns what is left to be written together with the end of the body."""
    if not batch:
        if time.time() - (stream.last_byte_at or 0.0) >= pause:
            await response.write(KEEP_ALIVE)
        return b""
    data = b"".join([frame.payload for frame in batch if frame.kind == FrameKind.DATA])
    last = batch[-1]
    stream.number = max(stream.number, last.number)
    if data:
        stream.last_byte_at = time.time()
    if last.kind == FrameKind.END:
        return data
    if last.kind == FrameKind.REPLY:
        # The kernel could not handle the request at all.
        return data + b"data: %b\n\n" % orjson.dumps(orjson.loads(last.payload)["body"])
    if data:
        if len(data) > LARGE_WRITE_BYTES:
            keep_unsent_small(request.transport)
        await cast("StreamWriter", request.writer).write(data, drain=False)
        # What waits for its client is held once, by the transport.
        batch.clear()
        del data, last
        await request.writer.drain()
    return b""


def _write_directly(request: web.Request, response: web.StreamResponse, stream: Stream) -> None:
    """From now on write data where it arrives: to wake the request's task costs as much as the write itself.

    The task takes over again for the end, after a stop, and from a client that reads too slowly.
    """
    transport, writer = request.transport, cast("StreamWriter", request.writer)
    if stream.waiter.sink is not None or stream.last_byte_at is None or transport is None or not response.chunked:
        return

    def write(batch: list[Frame]) -> bool:
        parts = [frame.payload for frame in batch if frame.kind == FrameKind.DATA]
        if stream.stopped or transport.is_closing() or len(parts) < len(batch):
            return False
        if transport.get_write_buffer_size() > 0:
            return False
        data = b"".join(parts)
        transport.write(chunk := b"%x\r\n%b\r\n" % (len(data), data))
        writer.output_size += len(chunk)
        stream.number = max(stream.number, batch[-1].number)
        stream.last_byte_at = time.time()
        return True

    stream.waiter.sink = write
