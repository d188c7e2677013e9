"""A closed-loop load generator: N connections, each asks for a stream, checks it word by word, then asks again.

Runs in its own process; prints `begin` and `end` around the measured window and then one JSON line (`LoadReport`).
"""

import argparse
import asyncio
import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import cast
from urllib.parse import urlsplit

import orjson
import uvloop

from tests.bench.upstream import WORDS, word

STREAM_DEADLINE = 30.0  # seconds until a stream counts as hanging; far above the slowest seen at saturation
RECONNECT_DELAY = 0.1  # seconds; keeps a refusing server from being flooded

FIRST_WORD = word(1).encode()
LAST_CHUNK = b"\n0\r\n\r\n"
EXPECTED = [word(number).encode() for number in range(1, WORDS + 1)]
CONTENT = re.compile(rb'"content":\s*"([^"]+)"')
FINISH = re.compile(rb'"finish_reason":\s*"stop"')
KEY_VARIABLE = "SONANT_API_KEY"


@dataclass(frozen=True, slots=True)
class Timing:
    """One good stream: monotonic start, then seconds to the first word and to the end."""

    started: float
    first: float
    total: float


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What one run saw. Times in milliseconds, `cpu_seconds` is the generator's own within the window."""

    streams: int
    seconds: float
    completed: int
    rate: float
    first_p50: float
    first_p99: float
    total_p50: float
    total_p99: float
    cpu_seconds: float
    failed: int
    reasons: dict[str, int] = field(default_factory=dict)


def percentile(values: list[float], share: float) -> float:
    """Nearest-rank percentile (`share` in 0..1); NaN of nothing."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def address(url: str) -> tuple[str, int]:
    """Host and port of an http URL."""
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or 80


def chat_request(host: str, path: str, key: str, model: str, content: str) -> bytes:
    """The bytes of a streaming chat request of the size a voice turn has."""
    messages = [
        {"role": "system", "content": "You are a helpful voice assistant. Answer in two short sentences."},
        {"role": "user", "content": "Hello, I have a question about my order from last week."},
        {"role": "assistant", "content": "Of course, I am happy to help. What would you like to know?"},
        {"role": "user", "content": content},
    ]
    return post_request(host, path, key, {"model": model, "stream": True, "messages": messages})


def post_request(host: str, path: str, key: str, body: Mapping[str, object], **headers: str) -> bytes:
    """The bytes of a JSON POST over HTTP/1.1; `headers` have underscores for hyphens."""
    return http_request("POST", host, path, key, body, **headers)


def http_request(
    method: str, host: str, path: str, key: str, body: Mapping[str, object] | None = None, **headers: str
) -> bytes:
    """The bytes of any request over HTTP/1.1, with a JSON body where one is given."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", f"Authorization: Bearer {key}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    data = b"" if body is None else orjson.dumps(body)
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
    return "\r\n".join([*lines, "", ""]).encode() + data


def dechunk(body: bytes) -> bytes:
    """The payload of a complete chunked body; ValueError where the framing is broken."""
    parts: list[bytes] = []
    at = 0
    while True:
        line_end = body.index(b"\r\n", at)
        size = int(body[at:line_end], 16)
        if size == 0:
            return b"".join(parts)
        start = line_end + 2
        parts.append(body[start : start + size])
        at = start + size + 2


def complaint(reply: bytes) -> str | None:
    """Why a reply is not the whole answer in order; None when it is."""
    head, _, body = reply.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        return f"{head[9:40].decode(errors='replace').splitlines()[0]}: {body[:160].decode(errors='replace')}"
    # Looking at the framed bytes is enough unless a word was cut by a chunk border.
    if complaint_in_events(body) is None:
        return None
    try:
        return complaint_in_events(dechunk(body))
    except ValueError:
        return f"broken chunk framing: {body[-160:].decode(errors='replace')}"


def complaint_in_events(events: bytes) -> str | None:
    """Why these server-sent events are not the whole answer in order; None when they are."""
    words = CONTENT.findall(events)
    if words != EXPECTED:
        return f"{len(words)} of {WORDS} words or out of order: {events[-160:].decode(errors='replace')}"
    if not FINISH.search(events) or b"data: [DONE]" not in events[-64:]:
        return "no clean finish"
    return None


class Lane(asyncio.Protocol):
    """One connection with one stream at a time."""

    def __init__(self, load: "Load") -> None:
        self._load = load
        self._buffer = bytearray()
        self._started = 0.0
        self._first: float | None = None
        self._transport: asyncio.Transport
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.ask()

    def ask(self) -> None:
        """Send the next request."""
        self._buffer.clear()
        self._first = None
        self.busy = True
        self._started = time.monotonic()
        self._transport.write(self._load.request)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        if self._first is None:
            self._look_for_first()
        if data[-1] == 10 and buffer.endswith(LAST_CHUNK):
            self._finish()

    def _look_for_first(self) -> None:
        if FIRST_WORD in self._buffer:
            self._first = time.monotonic() - self._started
        elif not self._buffer.startswith(b"HTTP/1.1 200") and b"\r\n\r\n" in self._buffer:
            self._give_up(complaint(bytes(self._buffer)) or "unexpected reply")

    def _finish(self) -> None:
        total = time.monotonic() - self._started
        self.busy = False
        reason = complaint(bytes(self._buffer))
        if reason is None and self._first is not None:
            self._load.timings.append(Timing(self._started, self._first, total))
        else:
            self._load.reasons[reason or "no words"] += 1
        if self._load.running:
            self.ask()
        else:
            self._transport.close()

    def _give_up(self, reason: str) -> None:
        self._load.reasons[reason] += 1
        self.busy = False
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.busy:
            self.busy = False
            words = len(CONTENT.findall(self._buffer))
            self._load.reasons[f"connection closed after {words} words ({exc})"] += 1
        self._load.lost(self)

    def check_deadline(self) -> None:
        """Count a stream that hangs as failed and leave it."""
        if self.busy and time.monotonic() - self._started > STREAM_DEADLINE:
            self._give_up(f"no end within {STREAM_DEADLINE:.0f} s")


class Load:
    """The closed loop: keeps `streams` lanes busy while it runs."""

    def __init__(self, url: str, streams: int, request: bytes, lane: Callable[["Load"], Lane] = Lane) -> None:
        self._address = address(url)
        self._lane = lane
        self._streams = streams
        self.request = request
        self.running = True
        self.timings: list[Timing] = []
        self.reasons: Counter[str] = Counter()
        self._lanes: set[Lane] = set()
        self._connecting: set[asyncio.Task[None]] = set()

    async def run(self, warmup: float, seconds: float) -> LoadReport:
        """Warm up, measure for `seconds`, let the streams in flight end, report."""
        # Lanes that start together would stay in step and turn the load into bursts.
        pause = min(warmup, 1.0) / 2 / self._streams
        for _ in range(self._streams):
            self._open_lane()
            await asyncio.sleep(pause)
        await self._watch(warmup / 2)
        print("begin", flush=True)
        begin, cpu = time.monotonic(), time.process_time()
        await self._watch(seconds)
        end, cpu = time.monotonic(), time.process_time() - cpu
        print("end", flush=True)
        await self._drain()
        return self._report(begin, end, cpu)

    async def _watch(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(1.0, left))
            self._check_deadlines()

    async def _drain(self) -> None:
        self.running = False
        while any(lane.busy for lane in self._lanes):
            await asyncio.sleep(0.05)
            self._check_deadlines()

    def _check_deadlines(self) -> None:
        for lane in list(self._lanes):
            lane.check_deadline()

    def _open_lane(self, delay: float = 0.0) -> None:
        task = asyncio.ensure_future(self._connect(delay))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, delay: float) -> None:
        await asyncio.sleep(delay)
        if not self.running:
            return
        try:
            _, lane = await asyncio.get_running_loop().create_connection(lambda: self._lane(self), *self._address)
        except OSError as error:
            self.reasons[f"cannot connect: {error.strerror}"] += 1
            self._open_lane(RECONNECT_DELAY)
        else:
            self._lanes.add(lane)

    def lost(self, lane: Lane) -> None:
        """Replace a lane whose connection has gone."""
        self._lanes.discard(lane)
        if self.running:
            self._open_lane(RECONNECT_DELAY)

    def _report(self, begin: float, end: float, cpu: float) -> LoadReport:
        seen = [timing for timing in self.timings if begin <= timing.started < end]
        first = [timing.first * 1000 for timing in seen]
        total = [timing.total * 1000 for timing in seen]
        completed = sum(begin <= timing.started + timing.total < end for timing in self.timings)
        return LoadReport(
            streams=self._streams,
            seconds=end - begin,
            completed=completed,
            rate=completed / (end - begin),
            first_p50=percentile(first, 0.5),
            first_p99=percentile(first, 0.99),
            total_p50=percentile(total, 0.5),
            total_p99=percentile(total, 0.99),
            cpu_seconds=cpu,
            failed=self.reasons.total(),
            reasons=dict(self.reasons.most_common(5)),
        )


def main() -> None:
    """Command line: `python -m tests.bench.load --url http://127.0.0.1:8080 --streams 50`; key in SONANT_API_KEY."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="origin of the server, without a path")
    parser.add_argument("--path", default="/v1/chat/completions")
    parser.add_argument("--model", default="default")
    parser.add_argument("--streams", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--warmup", type=float, default=1.0)
    options = parser.parse_args()
    key = os.environ.get(KEY_VARIABLE, "none")
    content = "Could you tell me when it will arrive?"
    request = chat_request(urlsplit(options.url).netloc, options.path, key, options.model, content)
    report = uvloop.run(Load(options.url, options.streams, request).run(options.warmup, options.seconds))
    # Unlike orjson, json keeps NaN, the figure of a run in which nothing completed.
    print(json.dumps(asdict(report)))


if __name__ == "__main__":
    main()
