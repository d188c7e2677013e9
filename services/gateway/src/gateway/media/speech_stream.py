"""Audio on its way to a client: bytes as they come, or as OpenAI's events. A break never looks like an end."""

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
from aiohttp import HttpVersion11, web

from common.bus.live.frames import Frame, FrameKind
from common.bus.request_reply import read_refusal
from common.events.chat import AnswerEnd, AnswerStart
from common.events.model_json import from_json
from common.failures import Refused
from gateway.deps import Deps
from gateway.http.connections import keep_unsent_small
from gateway.http.errors import retry_headers, shown, timed_out, unauthorized

# How long media may be silent before it is asked whether it still is there; speech has no comments to send meanwhile.
SILENT_SECONDS = 5.0
EVENT_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}


class SpeechWriter:
    """Writes the frames of one answer; `events` writes them as OpenAI's server-sent events."""

    def __init__(self, request: web.Request, deps: Deps, stream: Any, *, events: bool) -> None:
        self._request = request
        self._deps = deps
        self._stream = stream
        self._events = events
        self._response: web.StreamResponse | None = None
        self._characters = 0
        self._bytes = 0

    async def write(self, until: float, characters: int) -> web.StreamResponse:
        """Write until the end. Raises Refused as long as nothing was written, and ConnectionError behind that."""
        self._characters = characters
        try:
            while (batch := await self._deps.streams.next(self._stream, until, SILENT_SECONDS)) is not None:
                await self._write(batch)
        except TimeoutError:
            await self._fail(timed_out("The speech was not complete before the deadline."))
        except Refused as refused:
            await self._fail(refused)
        if self._stream.revoked:
            self._deps.streams.stop(self._stream, "client_closed")
            await self._fail(unauthorized("This API key was revoked."))
        if self._response is None:
            raise timed_out("The speech was stopped before it began.")
        if self._events:
            await self._response.write(self._done())
        await self._response.write_eof()
        return self._response

    async def _write(self, batch: list[Frame]) -> None:
        for frame in batch:
            if frame.kind == FrameKind.START:
                await self._begin(from_json(AnswerStart, frame.payload).headers)
            elif frame.kind != FrameKind.DATA:
                _raise_failure(frame)
        data = b"".join(frame.payload for frame in batch if frame.kind == FrameKind.DATA)
        if data and self._response is not None:
            self._bytes += len(data)
            await self._response.write(_event(data) if self._events else data)
        self._stream.number = max([self._stream.number, *(frame.number for frame in batch)])
        if self._stream.marked:
            keep_unsent_small(self._request.transport)
            await self._request.writer.drain()
            self._deps.streams.confirm(self._stream)

    async def _begin(self, headers: Mapping[str, str]) -> None:
        """The head, once there is something to say."""
        if self._response is not None:
            return
        own = {name: value for name, value in headers.items() if name != "content-length"}
        response = web.StreamResponse(headers=own | (EVENT_HEADERS if self._events else {}))
        if "content-length" in headers and not self._events:
            response.content_length = int(headers["content-length"])
        elif self._request.version >= HttpVersion11:
            response.enable_chunked_encoding()
        await response.prepare(self._request)
        self._response = response

    async def _fail(self, refused: Refused) -> None:
        """As an error of HTTP while that can be; then in band for events, and by a cut connection for bytes."""
        if self._response is None:
            raise refused
        if self._events:
            await self._response.write(b"data: %b\n\n" % orjson.dumps(shown(refused).body()))
        if self._request.transport is not None:
            # What was written is to arrive before the cut.
            await asyncio.sleep(0)
            self._request.transport.close() if self._events else self._request.transport.abort()
        raise ConnectionResetError(refused.message)

    def _done(self) -> bytes:
        """The last event: what it took, in tokens, of which about four characters make one."""
        asked, made = -(-self._characters // 4), self._bytes // 1_000
        usage = {"input_tokens": asked, "output_tokens": made, "total_tokens": asked + made}
        return b"data: %b\n\n" % orjson.dumps({"type": "speech.audio.done", "usage": usage})


def _raise_failure(frame: Frame) -> None:
    """Raise Refused for an END or REPLY frame that reports an error; an END may report none."""
    if frame.kind == FrameKind.REPLY:
        # The request could not be handled at all.
        refused = read_refusal(orjson.loads(frame.payload))
        raise replace(refused, headers=retry_headers(refused.status, None))
    error = from_json(AnswerEnd, frame.payload).error
    if error is not None:
        headers = retry_headers(error.status, error.retry_after)
        raise Refused(error.status, error.message, error.code, error.param, error.type, headers=headers)


def _event(data: bytes) -> bytes:
    delta = {"type": "speech.audio.delta", "audio": base64.b64encode(data).decode()}
    return b"data: %b\n\n" % orjson.dumps(delta)
