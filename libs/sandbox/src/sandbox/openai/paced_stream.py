"""Sending a stream of events at the pace and with the faults that the request names."""

import asyncio
from collections.abc import Sequence

from aiohttp import web

from sandbox.openai.calls import FLUSH_SECONDS, Call, Ended
from sandbox.openai.transcript import Transcript
from sandbox.openai.wire import COMMENT, MALFORMED
from sandbox.sockets import abort

# Long enough for the first half of a cut character to leave as its own segment.
_SPLIT_SECONDS = 0.002
_STREAM_HEADERS = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}


class EventStream:
    """The response of one streamed call."""

    def __init__(self, call: Call, said: Transcript) -> None:
        self._call = call
        self._said = said
        self._pace = call.pace
        self._response = web.StreamResponse(headers={**call.headers(), **_STREAM_HEADERS})
        self._write = self._write_split if call.pace.split_bytes else self._response.write

    async def open(self) -> None:
        """Send the headers and wait for the first chunk to be due."""
        await self._response.prepare(self._call.request)
        if self._call.failure.silence_after_headers:
            await self._wait(None)
        if self._pace.keepalive is not None:
            await self._response.write(COMMENT)
        if self._pace.first:
            await self._wait(self._pace.first / 1000)

    async def send(self, frame: bytes) -> None:
        """Send one event that is not counted as a chunk."""
        await self._write(frame)
        # The transport joins writes of one turn of the loop; a real upstream sends each event by itself.
        await asyncio.sleep(0)

    async def deliver(self, frames: Sequence[bytes]) -> None:
        """Send the counted chunks; raise Ended where a failure ends the stream."""
        trips = self._call.failure.trips(len(frames))
        exchange, delay = self._call.exchange, self._pace.delay / 1000
        for position, frame in enumerate(frames):
            if position in trips:
                await self._fail(trips[position])
            if position and delay:
                await self._wait(delay)
            if self._pace.keepalive is not None:
                await self._response.write(COMMENT)
            await self._write(frame)
            exchange.chunks_sent += 1
            if not delay:
                await asyncio.sleep(0)
        if len(frames) in trips:
            await self._fail(trips[len(frames)])

    async def close(self) -> web.StreamResponse:
        """End the stream as a healthy upstream does, or without [DONE] where that is asked."""
        failure = self._call.failure
        whole = not failure.no_done and failure.malformed_after is None
        await self._response.write_eof(b"" if failure.no_done else self._said.done)
        self._call.exchange.finish("completed" if whole else "fault")
        return self._response

    async def _fail(self, kinds: Sequence[str]) -> None:
        for kind in kinds:
            if kind == "malformed":
                await self.send(MALFORMED)
            elif kind == "stall":
                await self._wait(None)
            else:
                await self._end(kind)

    async def _end(self, kind: str) -> None:
        """End the stream by `error`, `cut`, `drop` or `reset`."""
        if kind == "error":
            await self.send(self._said.error)
        self._call.exchange.finish("fault")
        if kind in ("error", "cut"):
            await self._response.write_eof()
            raise Ended(self._response)
        await asyncio.sleep(FLUSH_SECONDS)
        if kind == "reset":
            abort(self._call.request)
        elif self._call.request.transport is not None:
            self._call.request.transport.close()
        raise Ended(self._response)

    async def _wait(self, seconds: float | None) -> None:
        """Wait (None: until the caller leaves), with comments where they are asked for."""
        if not self._pace.keepalive:
            await (asyncio.sleep(seconds) if seconds is not None else asyncio.Event().wait())
            return
        interval, left = self._pace.keepalive / 1000, seconds
        while left is None or left > 0:
            await asyncio.sleep(interval if left is None else min(interval, left))
            await self._response.write(COMMENT)
            left = None if left is None else left - interval

    async def _write_split(self, frame: bytes) -> None:
        """Write in two segments, cut inside the first multi-byte character."""
        cut = next((position + 1 for position, byte in enumerate(frame) if byte >= 0xC0), 0)
        if cut:
            await self._response.write(frame[:cut])
            await asyncio.sleep(_SPLIT_SECONDS)
        await self._response.write(frame[cut:])
