"""Any OpenAI-compatible upstream: bytes in, `data:` payloads out."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson

from llm_stream.adapters.event_stream import EventLines
from llm_stream.adapters.http1 import Connection, Connections, Lost, Sink, Stale, Target, target_of
from llm_stream.aliases import Upstream
from llm_stream.ports import Endpoint, Patience, Said, Take, UpstreamBroken
from llm_stream.upstream.errors import read_error_body
from llm_stream.upstream.verdict import verdict

MAX_ERROR_BYTES = 64 * 1024
# The status already says most; what else the upstream has to say must not cost the turn much.
ERROR_BODY_SECONDS = 2.0
# However long connecting took, a connection that was made is listened to for so many seconds.
MIN_WAIT_SECONDS = 0.05
# How often silence is looked for before it is one.
LOOKS = 4
# What follows the end of every choice, the usage, was counted all along.
LAST_WORDS_SECONDS = 5.0
LAST, ALL = Said.LAST, Said.ALL


class _Watch:
    """Ends a silent exchange. One lazy timer a stream: a chunk costs two assignments, not a timeout.

    Silence is over when its time has passed and it was looked for several times: a process that was held up itself
    looks late, has read nothing yet, and must not blame the upstream for it.
    """

    def __init__(self, connection: Connection, first: float, idle: float) -> None:
        self._connection = connection
        self.idle = idle
        # The same from the first look on: to set a timer anew for each stream costs more than the looks.
        self._step = min(first, idle, LAST_WORDS_SECONDS) / LOOKS
        self._loop = asyncio.get_running_loop()
        self._looks = 0
        self._silent_at = self._loop.time() + first
        self._timer = self._loop.call_later(self._step, self._look)

    def alive(self) -> None:
        self._looks = 0
        self._silent_at = self._loop.time() + self.idle

    def limit(self, idle: float) -> None:
        """Silence is over in `idle` seconds at the latest, from now on."""
        self.idle = min(self.idle, idle)
        self.alive()
        if self.idle / LOOKS < self._step:
            self._step = self.idle / LOOKS
            # Of a paused exchange nothing is looked for.
            if not self._timer.cancelled():
                self._timer.cancel()
                self._timer = self._loop.call_later(self._step, self._look)

    def _look(self) -> None:
        self._looks += 1
        left = self._silent_at - self._loop.time()
        if left <= 0 and self._looks >= LOOKS:
            self._connection.fail(UpstreamBroken("the upstream fell silent", silent=True))
        else:
            self._timer = self._loop.call_later(min(left, self._step) if left > 0 else self._step, self._look)

    def stop(self) -> None:
        self._timer.cancel()

    def go_on(self) -> None:
        """Nobody listened for a while; from now on silence counts anew."""
        self.stop()
        self._looks = 0
        self._silent_at = self._loop.time() + LOOKS * self._step
        self._timer = self._loop.call_later(self._step, self._look)


def _say_nothing(payload: bytes) -> Said:
    """What payloads are taken by before anybody relays."""
    return Said.NOTHING


class HttpAnswer:
    """The port `UpstreamAnswer` on one exchange."""

    def __init__(self, connection: Connection, watch: _Watch, max_bytes: int) -> None:
        self._connection = connection
        self._watch = watch
        # Of a whole answer, from its first part on.
        self._silence: _Watch | None = None
        self._max_bytes = max_bytes
        self._total = 0
        self._paused = False
        self._lines = EventLines()
        self._take: Take = _say_nothing
        # Of the last read before a pause: one read may bring hundreds.
        self._waiting: deque[bytes] = deque()
        self._drained: asyncio.Future[None] | None = None
        self._left = False

    async def relay(self, take: Take) -> None:
        heard = False
        raw: list[bytes] = []
        self._take = take

        def arrived(data: bytes) -> None:
            nonlocal heard
            self._count(data)
            payloads = self._lines.feed(data)
            if payloads:
                heard = True
                if len(payloads) == 1 and not self._waiting:
                    self._hear(take(payloads[0]))
                else:
                    self._waiting += payloads
                    self._take_waiting()
            elif not heard:
                raw.append(data)

        await self._receive(arrived)
        rest = self._lines.end()
        if not heard and not rest and (body := b"".join(raw).strip()).startswith((b"{", b"[", b"<")):
            # No event stream: an error, or an answer that is not streamed.
            rest = [body]
        self._waiting += rest
        await self._drain()

    def _take_waiting(self) -> None:
        """Hand over what waits, until somebody pauses."""
        said = Said.NOTHING
        while self._waiting and not self._paused:
            said = max(said, self._take(self._waiting.popleft()))
        self._hear(said)

    def _hear(self, said: Said) -> None:
        if said:
            self._watch.alive()
            if said == LAST:
                self._watch.limit(LAST_WORDS_SECONDS)
            elif said == ALL:
                self._connection.finish()

    async def _drain(self) -> None:
        """Hand over what still waits once the body has ended."""
        self._take_waiting()
        if self._waiting:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained

    async def whole(self, grew: Callable[[int], None] | None = None) -> bytes:
        # The limit on the whole is the first watch's, which hears of nothing. White space before an answer is none;
        # once there is a part of it, silence is looked for as well.
        parts: list[bytes] = []

        def arrived(data: bytes) -> None:
            self._count(data)
            parts.append(data)
            if not data.isspace():
                if self._silence is None:
                    self._silence = _Watch(self._connection, self._watch.idle, self._watch.idle)
                self._silence.alive()
            # Last: it may pause this exchange, and with it whatever looks for silence.
            if grew is not None:
                grew(len(data))

        try:
            await self._receive(arrived)
        finally:
            if self._silence is not None:
                self._silence.stop()
        return b"".join(parts)

    async def _receive(self, sink: Sink) -> None:
        """Until the body, or what is wanted of it, is there. Raises UpstreamBroken."""
        try:
            await self._connection.body(sink)
        except Lost as error:
            raise UpstreamBroken(f"the stream was cut: {error}") from error

    def _count(self, data: bytes) -> None:
        self._total += len(data)
        if self._total > self._max_bytes:
            raise UpstreamBroken("the answer is larger than allowed")

    def pause(self) -> None:
        self._paused = True
        self._connection.pause()
        for watch in self._watches():
            watch.stop()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            # Later: whoever resumes may stand within what a payload led to.
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        """Hand over what waited through a pause, and read on behind it."""
        if self._left:
            return
        try:
            if self._waiting:
                self._take_waiting()
        except Exception as error:  # noqa: BLE001 - raised by `relay`, so nothing is swallowed
            self._fail(error)
            return
        if self._paused:
            return
        self._connection.resume()
        if self._drained is not None:
            if not self._drained.done():
                self._drained.set_result(None)
            return
        for watch in self._watches():
            watch.go_on()

    def _fail(self, error: Exception) -> None:
        self._waiting.clear()
        if self._drained is None:
            self._connection.fail(error)
        elif not self._drained.done():
            self._drained.set_exception(error)

    def _watches(self) -> list[_Watch]:
        return [self._watch] if self._silence is None else [self._watch, self._silence]

    def close(self) -> None:
        self._waiting.clear()
        self._connection.abort()
        if self._drained is not None:
            self._fail(UpstreamBroken("closed"))

    def leave(self) -> None:
        """Done with this exchange, whatever happened."""
        self._left = True
        self._watch.stop()
        self._connection.leave()


class OpenAIHttp:
    """The port `ChatModel` over kept connections."""

    def __init__(self, connections: Connections, max_bytes: Mapping[Endpoint, int]) -> None:
        self._connections = connections
        self._max_bytes = max_bytes

    @asynccontextmanager
    async def ask(
        self, upstream: Upstream, body: dict[str, Any], patience: Patience, endpoint: Endpoint = Endpoint.CHAT
    ) -> AsyncIterator[HttpAnswer]:
        target = _target(upstream, endpoint)
        content = orjson.dumps(body)
        head = _head(target, _key(upstream), len(content))
        connection, watch = await self._accepted(target, head, content, patience)
        answer = HttpAnswer(connection, watch, self._max_bytes[endpoint])
        try:
            yield answer
        finally:
            answer.leave()

    async def _accepted(
        self, target: Target, head: bytes, content: bytes, patience: Patience
    ) -> tuple[Connection, _Watch]:
        """The exchange of an accepted request. Raises UpstreamError."""
        started = time.monotonic()
        try:
            try:
                return await self._exchange(target, head, content, patience, started, fresh=False)
            except Stale:
                # Nobody's failure, and nobody has read the request. All that were kept with it may be like it.
                return await self._exchange(target, head, content, patience, started, fresh=True)
        except Lost as error:
            raise UpstreamBroken(f"connection failed: {error}") from error

    async def _exchange(
        self, target: Target, head: bytes, content: bytes, patience: Patience, started: float, *, fresh: bool
    ) -> tuple[Connection, _Watch]:
        """Send a request that has waited since `started` and wait for its answer. Raises Lost and UpstreamError."""
        connection = await self._connections.take(target, patience.connect, fresh=fresh)
        # No more than connecting may take: what is beyond that this process stood still for.
        connecting = min(time.monotonic() - started, patience.connect)
        first = max(MIN_WAIT_SECONDS, patience.first_byte - connecting)
        watch = _Watch(connection, first, patience.idle)
        try:
            connection.send(head, content)
            await connection.head()
            await _check_head(connection)
        except BaseException:
            watch.stop()
            connection.leave()
            raise
        return connection, watch


def _target(upstream: Upstream, endpoint: Endpoint) -> Target:
    try:
        # Azure's older addresses end in a query that names the version.
        base, _, query = upstream.base_url.partition("?")
        return target_of(f"{base.rstrip('/')}{endpoint}{query and f'?{query}'}")
    except ValueError as error:
        raise UpstreamBroken(str(error), code="unconfigured") from error


def _key(upstream: Upstream) -> str:
    try:
        # Without a key we still say something: several self-hosted servers insist on the header.
        key = (upstream.key() or "none").strip()
    except KeyError as missing:
        raise UpstreamBroken(f"environment variable {missing} is not set", code="unconfigured") from missing
    if not (key.isascii() and key.isprintable()):
        raise UpstreamBroken("the key is no text for a header", code="unconfigured")
    return key


def _head(target: Target, key: str, length: int) -> bytes:
    """The request's head. Answers are wanted as they are: nobody could relay a compressed stream chunk by chunk."""
    return (
        f"POST {target.path} HTTP/1.1\r\nHost: {target.authority}\r\nAuthorization: Bearer {key}\r\n"
        "Content-Type: application/json\r\nAccept: text/event-stream, application/json\r\n"
        f"Accept-Encoding: identity\r\nUser-Agent: sonant\r\nContent-Length: {length}\r\n\r\n"
    ).encode("latin-1")


async def _check_head(connection: Connection) -> None:
    """Raises the verdict about a status that is not 2xx."""
    if connection.status >= 300:
        reported = read_error_body(await _error_body(connection), connection.status)
        raise verdict(reported, connection.headers)
    if connection.headers.get("content-encoding", "identity") != "identity":
        raise UpstreamBroken("the upstream compressed its answer although it was told not to")


async def _error_body(response: Connection) -> bytes:
    """What there is to read of an error in a short time."""
    body = bytearray()

    def arrived(data: bytes) -> None:
        body.extend(data)
        if len(body) > MAX_ERROR_BYTES:
            response.finish()

    with contextlib.suppress(Lost, UpstreamBroken, TimeoutError):
        async with asyncio.timeout(ERROR_BODY_SECONDS):
            await response.body(arrived)
    return bytes(body[:MAX_ERROR_BYTES])


@asynccontextmanager
async def open_chat_model(max_answer_bytes: int, max_embeddings_bytes: int) -> AsyncIterator[OpenAIHttp]:
    """One pool for all upstreams; the caller's deadline and our own watch bound every wait."""
    max_bytes = {Endpoint.CHAT: max_answer_bytes, Endpoint.EMBEDDINGS: max_embeddings_bytes}
    connections = Connections()
    try:
        yield OpenAIHttp(connections, max_bytes)
    finally:
        connections.close()
