"""Requests of somebody without a key, to each of many routes at a rate of its own, over a few kept connections.

The clock decides when a request is due, whatever became of those before it. One that finds all connections busy for
longer than a second is not sent, and is counted as missed: the rate that was reached is told, never assumed.
"""

import asyncio
import contextlib
import re
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from tests.bench.load import address
from tests.support.waiting import eventually

CONNECTIONS = 64
TICK_SECONDS = 0.01
# An answer that takes longer is none.
PATIENCE_SECONDS = 30.0
# How long a request may wait for a connection before it is given up.
LATE_SECONDS = 1.0
RECONNECT_SECONDS = 0.1
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
CLOSING = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
LAST_CHUNK = b"0\r\n\r\n"
WITHOUT_BODY = (204, 304)
# The place of an id in a request; each one is another key.
NUMBER = b"#" * 12
WRONG_KEY = f"Authorization: Bearer sk-sonant-{NUMBER.decode()}-{'x' * 43}"
JSON = "Content-Type: application/json"

# Headers and body of each way to ask. The body is left out where the method has none.
MANNERS: Sequence[tuple[Sequence[str], bytes]] = (
    ((JSON,), b'{"stranger": true}'),
    ((JSON, WRONG_KEY), b'{"stranger": true}'),
    ((JSON,), b'{"messages": [{"role": "user", "content": "'),
    ((JSON, WRONG_KEY), b"\xff\xfe\x00[[[[[[[["),
    (("Authorization: Basic c3RyYW5nZXI6c3RyYW5nZXI=", "Content-Type: text/plain"), b"stranger"),
    ((JSON, WRONG_KEY, "Content-Encoding: gzip"), b"this is not gzip"),
    (("Content-Type: multipart/form-data; boundary=a",), b"--b\r\nno part of a form"),
    ((JSON, "Authorization: Bearer null", "Idempotency-Key: stranger", "X-User-Id: stranger"), b"null"),
    # Broken off: the server can only close the connection.
    ((JSON, WRONG_KEY, "Transfer-Encoding: chunked"), b"zz\r\nno chunk\r\n"),
)


@dataclass
class Target:
    """A route, and what became of the requests to it."""

    method: str
    path: str
    requests: list[bytes]
    answers: Counter[int | str] = field(default_factory=Counter)

    @property
    def answered(self) -> int:
        """How many had an answer, whatever it said."""
        return sum(count for status, count in self.answers.items() if isinstance(status, int))


def target(host: str, method: str, path: str) -> Target:
    """A route with one request for each manner."""
    return Target(method, path, [_request(host, method, path, *manner) for manner in MANNERS])


def _request(host: str, method: str, path: str, headers: Sequence[str], body: bytes) -> bytes:
    own = [header for header in headers if not (method == "GET" and header.startswith(("Content", "Transfer")))]
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *own]
    sent = b"" if method == "GET" else body
    if method != "GET" and "Transfer-Encoding: chunked" not in own:
        lines.append(f"Content-Length: {len(sent)}")
    return "\r\n".join([*lines, "", ""]).encode() + sent


class Line(asyncio.Protocol):
    """One kept connection, with one request at a time."""

    def __init__(self, strangers: "Strangers") -> None:
        self._strangers = strangers
        self._buffer = bytearray()
        self._target: Target | None = None
        self._transport: asyncio.Transport
        self.since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._strangers.free(self)

    def ask(self, wanted: Target, request: bytes) -> None:
        """Send this; the line is busy until its answer."""
        self._buffer.clear()
        self._target, self.since = wanted, time.monotonic()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0 or not self._whole(head):
            return
        self._answered(int(self._buffer[9:12]))
        if CLOSING.search(self._buffer, 0, head + 2):
            self._transport.close()
        else:
            self._strangers.free(self)

    def _whole(self, head: int) -> bool:
        if length := LENGTH.search(self._buffer, 0, head + 2):
            return len(self._buffer) >= head + 4 + int(length[1])
        if CHUNKED.search(self._buffer, 0, head + 2):
            return self._buffer.endswith(LAST_CHUNK)
        return int(self._buffer[9:12]) in WITHOUT_BODY

    def _answered(self, what: int | str) -> None:
        if self._target is not None:
            self._target.answers[what] += 1
            self._target = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._answered("cut")
        self._strangers.lost(self)

    def close(self) -> None:
        """End it."""
        self._transport.close()

    def give_up(self, now: float) -> None:
        """End it where its answer is long overdue."""
        if self._target is not None and now - self.since > PATIENCE_SECONDS:
            self._answered("silence")
            self._transport.abort()


class Strangers:
    """Asks every target so many times a second, in every manner in turn."""

    def __init__(self, url: str, targets: Sequence[Target], rate: float) -> None:
        self._address = address(url)
        self._targets = targets
        # One clock for all: each target's turn comes `rate` times a second.
        self._per_second = rate * len(targets)
        self._lines: set[Line] = set()
        self._idle: deque[Line] = deque()
        self._waiting: deque[tuple[float, int]] = deque()
        self._connecting: set[asyncio.Task[None]] = set()
        self._running = True

    async def run(self, seconds: float) -> float:
        """Ask for so long; returns how long it was, with the answers to what was sent."""
        for _ in range(CONNECTIONS):
            self._open()
        began, due = time.monotonic(), 0
        while (now := time.monotonic()) < began + seconds:
            until = int((now - began) * self._per_second)
            self._waiting.extend((began + number / self._per_second, number) for number in range(due, until))
            due = until
            self._send(now)
            await asyncio.sleep(TICK_SECONDS)
        took = time.monotonic() - began
        await self._close()
        return took

    def _send(self, now: float) -> None:
        while self._waiting and now - self._waiting[0][0] > LATE_SECONDS:
            _, number = self._waiting.popleft()
            self._targets[number % len(self._targets)].answers["missed"] += 1
        while self._waiting and self._idle:
            _, number = self._waiting.popleft()
            wanted = self._targets[number % len(self._targets)]
            request = wanted.requests[number // len(self._targets) % len(MANNERS)]
            self._idle.popleft().ask(wanted, request.replace(NUMBER, b"%012d" % number))
        for line in list(self._lines):
            line.give_up(now)

    async def _close(self) -> None:
        self._running = False
        with contextlib.suppress(AssertionError):
            await eventually(lambda: len(self._idle) >= len(self._lines), timeout=PATIENCE_SECONDS)
        for line in list(self._lines):
            line.close()

    def free(self, line: Line) -> None:
        """It can be asked again."""
        self._lines.add(line)
        self._idle.append(line)

    def lost(self, line: Line) -> None:
        """Its connection has gone; another one takes its place."""
        self._lines.discard(line)
        if line in self._idle:
            self._idle.remove(line)
        if self._running:
            self._open()

    def _open(self) -> None:
        task = asyncio.ensure_future(self._connect())
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self) -> None:
        while self._running:
            try:
                await asyncio.get_running_loop().create_connection(lambda: Line(self), *self._address)
            except OSError:
                await asyncio.sleep(RECONNECT_SECONDS)
            else:
                return
