"""How fast a stop reaches the upstream: by an interruption and by a client that hangs up.

`python -m tests.bench.interrupt --streams 50` stops turns of a voice platform, with tools and prosody, in the company
of so many others. Times are taken from the wall clock of this machine on both ends: just before the signal is sent, and
when the bench upstream sees its connection close.
"""

import argparse
import array
import asyncio
import fcntl
import random
import termios
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import orjson
import uvloop

from tests.bench.load import CONTENT, LAST_CHUNK, address, chat_request, percentile, post_request
from tests.bench.system import Target, bench_upstream, scratch_directory, sonant_up, write_models_file
from tests.bench.upstream import CONTENT_LENGTH, INTERVAL, word

STEP_DEADLINE = 10.0  # seconds for each step of a repetition; far beyond any good one
# Long enough that a stop which takes a second is still seen as a close and not as the end of the answer.
LONG_ANSWER = 400
SHORT_ANSWER = 10
STOP_AFTER = word(6).strip().encode()
# What a platform that measures prosody sends with each message: 48 scores.
SCORES = {f"Emotion {number}": (number * 37 % 48) / 48 for number in range(48)}
TOOLS = [
    {"type": "sonant", "name": "calculator"},
    {"type": "sonant", "name": "current_time"},
    {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}},
]
AIM_MS = 10.0
PARALLEL = 4  # conversations at a time: some company for each, without a queue that hides the latency


@dataclass(frozen=True, slots=True)
class StopReport:
    """Signal to upstream closed in milliseconds, and what the client still got after the stop was confirmed."""

    name: str
    repetitions: int
    stop_p50: float
    stop_p99: float
    answer_p50: float
    content_bytes_after: int
    bytes_after: int
    failed: int
    reasons: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stop:
    """One repetition: when the signal was sent (unix seconds), when it was confirmed, what came after."""

    marker: str
    signal_at: float
    answered_after: float = float("nan")
    after: bytes = b""


class Listener(asyncio.Protocol):
    """The client of one stream: collects what comes, knows when the answer is well under way and when it has ended."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        loop = asyncio.get_running_loop()
        self.buffer = bytearray()
        self.heard: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.heard.done() and STOP_AFTER in self.buffer:
            self.heard.set_result(None)
        if self.buffer.endswith(LAST_CHUNK):
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.heard.done():
            self.heard.set_exception(ConnectionResetError(f"lost before the stop: {self._last_bytes()}"))
        self._end()

    def _last_bytes(self) -> str:
        return bytes(self.buffer[-160:]).decode(errors="replace")

    def unread(self) -> int:
        """Bytes that have arrived but were not read yet: they came before whatever is being handled now."""
        if self.transport.is_closing():
            return 0
        count = array.array("i", [0])
        fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.FIONREAD, count)
        return count[0]

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


class Caller:
    """A kept connection for plain requests, so that a signal does not wait for a handshake."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str) -> AsyncIterator["Caller"]:
        """A connection that is closed when the block ends."""
        reader, writer = await asyncio.open_connection(*address(url))
        try:
            yield cls(reader, writer)
        finally:
            writer.close()

    async def send(self, request: bytes) -> tuple[bytes, bytes]:
        """Send one request; head and body of its answer."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        if length := CONTENT_LENGTH.search(head):
            return head, await self._reader.readexactly(int(length[1]))
        return head, await self._reader.readuntil(LAST_CHUNK)


def voice_request(host: str, marker: str, target: Target, content: str) -> bytes:
    """The bytes of a turn as Hume asks for it, with tools beside."""
    said = ["Hello, I have a question.", "Of course, what is it?", content]
    messages = [
        {"role": ("user", "assistant")[at % 2], "content": text, "models": {"prosody": {"scores": SCORES}}}
        for at, text in enumerate(said)
    ]
    body = {"model": target.model, "stream": True, "messages": messages, "tools": TOOLS}
    return post_request(host, f"/v1/dialects/hume/chat/completions?custom_session_id={marker}", target.key, body)


StopOnce = Callable[[Listener, str, Caller], Awaitable[Stop]]
"""Stops the stream of this listener and marker; the caller is connected already."""


async def closed_streams(upstream_url: str) -> dict[str, float]:
    """When the upstream saw each marked stream close (unix seconds)."""
    async with Caller.open(upstream_url) as caller:
        _, body = await caller.send(b"GET /closed HTTP/1.1\r\nHost: bench\r\n\r\n")
    return cast("dict[str, float]", orjson.loads(body))


class StopBench:
    """Repeats one way of stopping against one target; `voice` turns are those of a platform, with tools and prosody.

    `interval` is how many seconds lie between two words of the upstream.
    """

    def __init__(self, target: Target, upstream_url: str, *, voice: bool = False, interval: float = INTERVAL) -> None:
        self._target = target
        self._voice = voice
        self._interval = interval
        self._upstream_url = upstream_url
        self._host = urlsplit(target.url).netloc
        self._reasons: Counter[str] = Counter()
        self._stops: list[Stop] = []

    async def interruptions(self, repetitions: int) -> StopReport:
        """Stop each stream by `POST /v1/sessions/{id}/interrupt` on another connection."""
        return await self._measure("interruption", self._interrupt, repetitions)

    @asynccontextmanager
    async def company(self, streams: int) -> AsyncIterator[None]:
        """So many other turns go on for as long as the block runs.

        They end and begin at different times, as conversations do: the first turn of each is of any length.
        """
        begun = [asyncio.Event() for _ in range(streams)]
        going = [asyncio.create_task(self._talk(each)) for each in begun]
        try:
            async with asyncio.timeout(STEP_DEADLINE):
                await asyncio.gather(*(each.wait() for each in begun))
            yield
        finally:
            for task in going:
                task.cancel()
            await asyncio.gather(*going, return_exceptions=True)

    async def _talk(self, begun: asyncio.Event) -> None:
        words = random.randint(SHORT_ANSWER, LONG_ANSWER)
        while True:
            listener = await self._listen(uuid.uuid4().hex, words)
            try:
                with suppress(ConnectionResetError):
                    await listener.heard
                begun.set()
                await listener.ended
            finally:
                listener.transport.abort()
            words = LONG_ANSWER

    async def disconnects(self, name: str, repetitions: int) -> StopReport:
        """Stop each stream by closing its client's socket."""
        return await self._measure(name, self._hang_up, repetitions)

    async def _measure(self, name: str, stop: StopOnce, repetitions: int) -> StopReport:
        left = iter(range(repetitions))

        async def converse() -> None:
            for _ in left:
                await self._once(stop)

        await asyncio.gather(*(converse() for _ in range(PARALLEL)))
        return await self._report(name, repetitions)

    async def _once(self, stop: StopOnce) -> None:
        try:
            async with asyncio.timeout(STEP_DEADLINE):
                self._stops.append(await self._converse(stop))
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            self._reasons[f"no stop: {type(error).__name__} {error}"] += 1

    async def _converse(self, stop: StopOnce) -> Stop:
        """One stream, stopped at any point between two of its words."""
        marker = uuid.uuid4().hex
        async with Caller.open(self._target.url) as caller:
            listener = await self._listen(marker)
            try:
                await listener.heard
                await asyncio.sleep(random.uniform(0, self._interval))
                return await stop(listener, marker, caller)
            finally:
                listener.transport.abort()

    async def _listen(self, marker: str, words: int = LONG_ANSWER) -> Listener:
        path = f"/chat/completions?custom_session_id={marker}"
        content = f"Tell me a long story. words:{words} marker:{marker}"
        if self._voice:
            request = voice_request(self._host, marker, self._target, content)
        else:
            request = chat_request(self._host, path, self._target.key, self._target.model, content)
        loop = asyncio.get_running_loop()
        _, listener = await loop.create_connection(lambda: Listener(request), *address(self._target.url))
        return listener

    async def _interrupt(self, listener: Listener, marker: str, caller: Caller) -> Stop:
        signal_at = time.time()
        body: dict[str, object] = {"type": "user_interruption", "time": {"timestamp": int(signal_at * 1000)}}
        path = f"/v1/sessions/{marker}/interrupt"
        head, answer = await caller.send(post_request(self._host, path, self._target.key, body))
        answered = time.time() - signal_at
        mark = len(listener.buffer) + listener.unread()
        if not head.startswith(b"HTTP/1.1 2"):
            self._reasons[f"interrupt refused: {(head[9:12] + b' ' + answer[:160]).decode()}"] += 1
        await listener.ended
        return Stop(marker, signal_at, answered, bytes(listener.buffer[mark:]))

    async def _hang_up(self, listener: Listener, marker: str, caller: Caller) -> Stop:
        signal_at = time.time()
        listener.transport.close()
        await listener.ended
        return Stop(marker, signal_at)

    async def _report(self, name: str, repetitions: int) -> StopReport:
        closed = await self._await_closes()
        took = [(closed[s.marker] - s.signal_at) * 1000 for s in self._stops if s.marker in closed]
        if missing := len(self._stops) - len(took):
            self._reasons["the upstream was not closed"] += missing
        return StopReport(
            name=name,
            repetitions=repetitions,
            stop_p50=percentile(took, 0.5),
            stop_p99=percentile(took, 0.99),
            answer_p50=percentile([stop.answered_after * 1000 for stop in self._stops], 0.5),
            content_bytes_after=sum(len(text) for s in self._stops for text in CONTENT.findall(s.after)),
            bytes_after=sum(len(stop.after) for stop in self._stops),
            failed=self._reasons.total(),
            reasons=dict(self._reasons.most_common(5)),
        )

    async def _await_closes(self) -> dict[str, float]:
        """The closes the upstream has seen, as soon as they are complete or the last could not come any more."""
        deadline = time.monotonic() + LONG_ANSWER * self._interval
        while True:
            closed = await closed_streams(self._upstream_url)
            if time.monotonic() > deadline or all(stop.marker in closed for stop in self._stops):
                return closed
            await asyncio.sleep(0.05)


# A fast model; with the pace of the other benches 50 streams without an end would be all that two cores can do.
PACE_MS = 20.0


async def measure(target: Target, upstream_url: str, options: argparse.Namespace) -> bool:
    """Print a line for plain turns and for those of a platform; whether the aim was met by all."""
    met = True
    print(f"{'interruption':44} | {'p50':>8} | {'p99':>8} | bytes after | failed")
    for name, voice in (("plain", False), ("prosody, tools", True)):
        bench = StopBench(target, upstream_url, voice=voice, interval=options.interval_ms / 1000)
        async with bench.company(max(0, options.streams - PARALLEL)):
            report = await bench.interruptions(options.repetitions)
        met = met and report.stop_p99 <= AIM_MS and not report.failed and not report.content_bytes_after
        print(
            f"{f'{name}, {options.streams} streams':44} | {report.stop_p50:5.2f} ms | {report.stop_p99:5.2f} ms | "
            f"{report.content_bytes_after:11} | {report.failed} {report.reasons or ''}"
        )
    print(f"aim: p99 of at most {AIM_MS:g} ms, nothing said behind it: {'ok' if met else 'missed'}")
    return met


def main() -> None:
    """Start a system, measure, and end it. The exit code says nothing of times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--streams", type=int, default=50, help="that go on at a time, those that are stopped among them"
    )
    parser.add_argument("--repetitions", type=int, default=400, help="of each kind")
    parser.add_argument("--interval-ms", type=float, default=PACE_MS, help="between two words of the upstream")
    options = parser.parse_args()
    with bench_upstream(0, "--interval-ms", str(options.interval_ms)) as upstream, scratch_directory() as scratch:
        models_file = write_models_file(scratch / "models.toml", upstream.url)
        with sonant_up(scratch / "data", models_file, None, {}) as running:
            uvloop.run(measure(running.target, upstream.url, options))


if __name__ == "__main__":
    main()
