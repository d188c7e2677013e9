"""The bench's model server: paced OpenAI-exact streams, as cheap as one Python process can send them.

`POST /v1/chat/completions` streams numbered words; a last message that contains `words:<n>` asks for n of them, and
`marker:<id>` names the stream, so that `GET /closed` can tell when its client went away before the end. A first
message, the prompt, that contains `say:<word>` is answered by that word alone and at once.
"""

import argparse
import asyncio
import heapq
import itertools
import re
import signal
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import orjson
import uvloop

WORDS = 20
FIRST_DELAY = 0.020  # seconds from the request to the first word
INTERVAL = 0.005  # seconds between words

# libuv fires timers on whole milliseconds: a word due within half of one is sent now rather than a tick late.
TIMER_SLACK = 0.0005

HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    b"Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"
)
END = b"0\r\n\r\n"
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
MARKER = re.compile(r"marker:([\w-]+)")
LENGTH = re.compile(r"words:(\d+)")
SAY = re.compile(r"say:([\w-]+)")


def word(number: int) -> str:
    """The content of the chunk with this number, counted from 1."""
    return f"word-{number:03d} "


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request: method, path without query, body."""

    method: bytes
    path: bytes
    body: bytes


def take_request(inbox: bytearray) -> Request | None:
    """Remove the first complete request from `inbox`; None while it is still arriving."""
    end = inbox.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = bytes(inbox[:end])
    length = CONTENT_LENGTH.search(head)
    stop = end + 4 + (int(length[1]) if length else 0)
    if len(inbox) < stop:
        return None
    body = bytes(inbox[end + 4 : stop])
    del inbox[:stop]
    method, target, _ = head.split(b"\r\n", 1)[0].split(b" ", 2)
    return Request(method, target.partition(b"?")[0], body)


def http_chunk(data: bytes) -> bytes:
    """`data` in HTTP/1.1 chunked framing."""
    return b"%x\r\n%b\r\n" % (len(data), data)


@lru_cache(maxsize=256)
def frames(words: int, opening: int, usage: bool, said: str | None = None) -> list[list[bytes]]:
    """What to write at each step, cut where a stream's own opening (`opening` bytes long) belongs.

    `said` stands for all words. The first step carries the head and the role, the last the finish, the usage and the
    end, as providers send them.
    """
    hole = b"\0" * opening
    null_usage = b',"usage":null' if usage else b""

    def event(rest: bytes) -> bytes:
        return http_chunk(b"data: " + hole + rest + b"}\n\n")

    def choice(delta: bytes, finish: bytes = b"null") -> bytes:
        return event(
            b',"choices":[{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}]' % (delta, finish) + null_usage
        )

    contents = [said] if said else [word(number + 1) for number in range(words)]
    steps = [choice(b'{"content":"%b"}' % content.encode()) for content in contents]
    steps[0] = HEAD + choice(b'{"role":"assistant","content":"","refusal":null}') + steps[0]
    steps[-1] += choice(b"{}", b'"stop"')
    if usage:
        counts = b'"prompt_tokens":50,"completion_tokens":%d,"total_tokens":%d' % (words, words + 50)
        steps[-1] += event(b',"choices":[],"usage":{%b}' % counts)
    steps[-1] += http_chunk(b"data: [DONE]\n\n") + END
    return [step.split(hole) for step in steps]


class Stream:
    """One answer under way on a connection."""

    __slots__ = ("alive", "at_once", "marker", "opening", "sent", "steps", "transport")

    def __init__(self, transport: asyncio.WriteTransport, serial: int, body: dict[str, Any]) -> None:
        text = str(body["messages"][-1]["content"])
        marker, length = MARKER.search(text), LENGTH.search(text)
        usage = bool((body.get("stream_options") or {}).get("include_usage"))
        self.opening = b'{"id":"chatcmpl-%08x","object":"chat.completion.chunk","created":%d,"model":%b' % (
            serial,
            time.time(),
            orjson.dumps(body.get("model", "bench")),
        )
        said = SAY.search(str(body["messages"][0]["content"]))
        words = int(length[1]) if length else WORDS
        self.steps = frames(words, len(self.opening), usage, said[1] if said else None)
        self.at_once = said is not None
        self.marker = marker[1] if marker else None
        self.transport = transport
        self.sent = 0
        self.alive = True

    def step(self) -> bool:
        """Send what is due; False once the stream has ended."""
        self.transport.write(self.opening.join(self.steps[self.sent]))
        self.sent += 1
        self.alive = self.sent < len(self.steps)
        return self.alive


class Pacer:
    """Steps every stream on its own schedule with a single timer."""

    def __init__(self, loop: asyncio.AbstractEventLoop, first: float, interval: float) -> None:
        self._loop, self._first, self._interval = loop, first, interval
        self._queue: list[tuple[float, int, Stream]] = []
        self._serial = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    def start(self, stream: Stream) -> None:
        """Schedule the first word of `stream`."""
        serial = next(self._serial)
        heapq.heappush(self._queue, (time.monotonic() + self._first, serial, stream))
        if self._timer is None or self._queue[0][1] == serial:
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(max(0.0, self._queue[0][0] - time.monotonic()), self._run)

    def _run(self) -> None:
        """Step what is due. Dates follow the schedule, not the last write, so lateness does not add up."""
        queue, now = self._queue, time.monotonic() + TIMER_SLACK
        while queue and queue[0][0] <= now:
            due, serial, stream = queue[0]
            if stream.alive and stream.step():
                heapq.heapreplace(queue, (due + self._interval, serial, stream))
            else:
                heapq.heappop(queue)
        self._timer = None
        if queue:
            self._arm()


class Upstream:
    """What all connections share: the pacer, the counts and the closes of unfinished streams."""

    def __init__(self, pacer: Pacer) -> None:
        self.pacer = pacer
        self.started = 0
        self.cut = 0
        self.closed: dict[str, float] = {}

    def note_cut(self, stream: Stream, at: float) -> None:
        """Remember that the client of an unfinished stream went away at the wall-clock time `at`."""
        self.cut += 1
        if stream.marker:
            self.closed[stream.marker] = at


class Connection(asyncio.Protocol):
    """An HTTP/1.1 keep-alive connection, one request at a time."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._inbox = bytearray()
        self._stream: Stream | None = None
        self._transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._inbox += data
        if request := take_request(self._inbox):
            self._answer(request)

    def eof_received(self) -> None:
        self._cut()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cut()

    def _cut(self) -> None:
        at, stream = time.time(), self._stream
        if stream and stream.alive:
            stream.alive = False
            self._upstream.note_cut(stream, at)

    def _answer(self, request: Request) -> None:
        if request.path.endswith(b"/chat/completions"):
            self._start_stream(request)
        elif request.path == b"/closed":
            self._send_json(self._upstream.closed)
        elif request.path == b"/healthz":
            self._send_json({"status": "ok", "started": self._upstream.started, "cut": self._upstream.cut})
        elif request.path == b"/v1/models":
            model = {"id": "bench", "object": "model", "created": 0, "owned_by": "bench"}
            self._send_json({"object": "list", "data": [model]})
        else:
            self._refuse(b"404 Not Found", "no such path")

    def _start_stream(self, request: Request) -> None:
        body = orjson.loads(request.body)
        if not body.get("stream"):
            self._refuse(b"400 Bad Request", "the bench upstream only streams")
            return
        self._upstream.started += 1
        self._stream = Stream(self._transport, self._upstream.started, body)
        if self._stream.at_once:
            self._stream.step()
        else:
            self._upstream.pacer.start(self._stream)

    def _refuse(self, status: bytes, message: str) -> None:
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
        self._send_json({"error": error}, status)

    def _send_json(self, value: object, status: bytes = b"200 OK") -> None:
        body = orjson.dumps(value)
        head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self._transport.write(head % (status, len(body)) + body)


async def serve(port: int, first: float, interval: float) -> None:
    """Serve on loopback until SIGTERM or SIGINT; prints the port once it listens. Delays are in seconds."""
    loop = asyncio.get_running_loop()
    upstream = Upstream(Pacer(loop, first, interval))
    server = await loop.create_server(lambda: Connection(upstream), "127.0.0.1", port, backlog=1024)
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    async with server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await stop.wait()


def main() -> None:
    """Command line: `python -m tests.bench.upstream --port 9100`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one; it is printed")
    parser.add_argument("--first-ms", type=float, default=FIRST_DELAY * 1000)
    parser.add_argument("--interval-ms", type=float, default=INTERVAL * 1000)
    options = parser.parse_args()
    uvloop.run(serve(options.port, options.first_ms / 1000, options.interval_ms / 1000))


if __name__ == "__main__":
    main()
