"""HTTP/1.1 for the hot path: one exchange at a time over a kept connection, its body handed on where it arrives.

The general client wakes a task for every piece of a body and costs about 0.4 ms of CPU a request; here the piece
is parsed (by httptools, the C parser of Node) and taken in the socket's own callback. Everything that is not a
chat turn uses aiohttp.
"""

import asyncio
import functools
import ssl
from collections.abc import Callable
from typing import NamedTuple, cast
from urllib.parse import urlsplit

import httptools

from common.deadlines import within
from llm_stream.adapters.inbox import READ_BYTES, Inbox

# An idle connection is closed before most servers would do it, which spares requests that meet a closing one.
KEEPALIVE_SECONDS = 30.0
# The end of a body nobody needs any more is worth this wait: a new connection costs more.
DRAIN_SECONDS = 1.0
# What is not body: heads (also those before the last one), the lines between chunks, and trailers. A chunk of one byte
# costs six; a server that signs its chunks costs 90 each.
MAX_FRAMING_BYTES = 64 * 1024
FRAMING_SHARE = 16
MAX_HEADERS = 256
# A body that nobody takes yet is read no further than this.
MAX_WAITING_BYTES = 256 * 1024

Sink = Callable[[bytes], None]


class Lost(Exception):
    """The connection could not be made, was cut, or carried something that is not HTTP."""


class Stale(Lost):
    """A kept connection had been closed before anybody read the request."""


class Target(NamedTuple):
    """Where a URL leads: origin, path with query, and the Host header."""

    host: str
    port: int
    tls: bool
    path: str
    authority: str

    @property
    def origin(self) -> tuple[str, int, bool]:
        return self.host, self.port, self.tls


@functools.lru_cache(maxsize=1024)
def target_of(url: str) -> Target:
    """The parts of an http(s) URL; raises ValueError for any other."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isascii() or " " in url:
        raise ValueError(f"not an http address: {url}")
    tls = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.hostname, parts.port or (443 if tls else 80), tls, path, parts.netloc.rpartition("@")[2])


@functools.cache
def _tls_context() -> ssl.SSLContext:
    return ssl.create_default_context()


class Connection(asyncio.BufferedProtocol):
    """One connection: `send`, then `head`, then `body`; at last `leave`, whatever happened.

    All connections of a pool read into one `inbox`: what was read is parsed before the next read, and the parser copies
    what it hands on.
    """

    def __init__(
        self,
        inbox: Inbox,
        give_back: Callable[["Connection"], None],
        forget: Callable[["Connection"], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._inbox = inbox
        self._whole = inbox.whole
        self._resting = False
        self._give_back = give_back
        self._forget = forget
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._busy = False
        self._was_kept = False
        self._reset()

    def _reset(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._head: asyncio.Future[None] | None = None
        self._received = 0
        self._body_bytes = 0
        self._paused = False
        self._deaf = False
        self._pieces: list[bytes] = []
        self._sink: Sink | None = None
        self._finished = False
        self._left = False
        self._kept = False
        self._aborted = False
        self.status = 0
        self.headers: dict[str, str] = {}
        self.complete = False
        self._ended: asyncio.Future[None] | None = None

    # -- one exchange ---------------------------------------------------------------------------------------

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, head: bytes, body: bytes) -> None:
        """Begin an exchange."""
        self._quiet()
        self._reset()
        self._busy = True
        self._head = self._loop.create_future()
        self._ended = self._loop.create_future()
        if self._transport is None:
            self.fail(Lost("closed"))
        else:
            # In one packet, unless that would mean to copy megabytes.
            self._transport.writelines([head, body] if len(body) > READ_BYTES else [head + body])

    async def head(self) -> None:
        """Wait for status and headers; raises what ended the exchange before."""
        if self._head is not None:
            await self._head

    async def body(self, sink: Sink) -> None:
        """Hand the body to `sink` where it arrives, until it ends or `finish`; raises what `sink` raises, and Lost."""
        self._sink = sink
        self.resume()
        self._hand_on()
        if self._ended is not None:
            await self._ended

    def finish(self) -> None:
        """End the exchange from our side: nothing more of the body is wanted."""
        self._sink = None
        self._finished = self._deaf = True
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def fail(self, error: Exception) -> None:
        """End the exchange with `error`, and the connection with it."""
        self._sink = None
        for future in (self._head, self._ended):
            if future is not None and not future.done():
                future.set_exception(error)
                future.exception()  # not everybody gets as far as waiting for it
        self.abort()

    def abort(self) -> None:
        """Close the connection itself, now."""
        self._aborted = True
        if self._transport is not None:
            self._transport.abort()

    def leave(self) -> None:
        """Done with this exchange: the connection is kept if the body has ended, or is just about to."""
        self._left = self._deaf = True
        self.resume()
        if self.complete:
            self._settle()
        elif self._finished and self.open:
            self._timer = self._loop.call_later(DRAIN_SECONDS, self.abort)
        else:
            self.abort()

    def pause(self) -> None:
        """Read nothing until `resume`: the server can send no more than what the sockets between us hold."""
        if not self._paused and self.open:
            self._read_where(paused=True, resting=self._resting)

    def resume(self) -> None:
        """Read on."""
        if self._paused and self.open:
            self._read_where(paused=False, resting=self._resting)

    def rest(self) -> None:
        """Read nothing until `wake`: it is the turn of others."""
        if not self._resting and self.open:
            self._read_where(paused=self._paused, resting=True)

    def wake(self) -> None:
        """Read on, unless the answer is paused."""
        if self._resting and self.open:
            self._read_where(paused=self._paused, resting=False)

    def _read_where(self, *, paused: bool, resting: bool) -> None:
        """Note why nothing is to be read, if so, and tell the transport where that changes."""
        stopped = self._paused or self._resting
        self._paused, self._resting = paused, resting
        if self._transport is None or stopped == (paused or resting):
            return
        if stopped:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _settle(self) -> None:
        """The exchange is over on both sides."""
        self._quiet()
        self._busy = False
        if not self.open:
            return
        if self._kept:
            self._was_kept = True
            self._timer = self._loop.call_later(KEEPALIVE_SECONDS, self.abort)
            self._give_back(self)
        else:
            self.abort()

    def _quiet(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _hand_on(self) -> None:
        if self._sink is not None and self._pieces:
            data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            self._pieces.clear()
            try:
                self._sink(data)
            except Exception as error:  # noqa: BLE001 - raised by `body`, so nothing is swallowed
                self.fail(error)
                return
        if self.complete and not self._pieces and self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    # -- the socket -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._inbox.buffer

    def buffer_updated(self, nbytes: int) -> None:
        if not self._busy:
            # Nobody asked: a goodbye of the server, or noise.
            self.abort()
            return
        self._received += nbytes
        if nbytes >= self._inbox.large:
            self._inbox.took_large(self)
        try:
            self._parser.feed_data(self._whole[:nbytes])
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            # Behind a whole answer it only costs the connection.
            self._kept = False
            if not self.complete:
                self.fail(Lost(f"not HTTP: {type(error).__name__}"))
                return
        framing = self._received - self._body_bytes
        if framing > MAX_FRAMING_BYTES and framing > MAX_FRAMING_BYTES + FRAMING_SHARE * self._body_bytes:
            self.fail(Lost("too much beside the body"))
            return
        self._hand_on()
        if self._pieces and self._body_bytes > MAX_WAITING_BYTES:
            self.pause()
        if self.complete and self._left:
            self._settle()

    def connection_lost(self, exc: Exception | None) -> None:
        self._quiet()
        self._transport = None
        self._forget(self)
        if exc is None and self.status and not self.complete and self._until_close():
            self.complete = True
            self._hand_on()
        if not self.complete:
            lost = Stale if self._closed_meanwhile(exc) else Lost
            self.fail(lost(type(exc).__name__ if exc else "closed early"))
        # The parser knows its connection, and a waiter that was cancelled the whole turn: none is to keep the other.
        self._sink = None
        del self._parser
        if self._ended is not None and self._ended.cancelled():
            self._ended = None

    def _closed_meanwhile(self, exc: Exception | None) -> bool:
        """Whether the connection ended between two exchanges, as far as can be told.

        Where the server's close arrived before we wrote, the system tells of a broken pipe and not of a reset, which is
        what a server does to a request that it has.
        """
        untouched = not (self.status or self._received)
        return self._was_kept and untouched and not isinstance(exc, ConnectionResetError)

    def _until_close(self) -> bool:
        """Whether the body's end is the connection's (RFC 9112, 6.3), which the server has closed."""
        framed = "content-length" in self.headers or "chunked" in self.headers.get("transfer-encoding", "")
        return not framed and not self._aborted

    # -- the parser -----------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self.complete:
            raise Lost("more than one answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.status:
            return  # a trailer
        if len(self.headers) >= MAX_HEADERS:
            raise Lost("too many headers")
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            self.headers.clear()
            return
        self.status = status
        if self._head is not None and not self._head.done():
            self._head.set_result(None)

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if not self._deaf:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        if self.status:
            self.complete = True
            self._kept = self._parser.should_keep_alive()  # only now: the parser forgets it


class Connections:
    """Kept connections, by origin; the last one used is taken first, so that spare ones run out of time."""

    def __init__(self) -> None:
        self._idle: dict[tuple[str, int, bool], list[Connection]] = {}
        self._all: set[Connection] = set()
        self._inbox = Inbox()

    async def take(self, target: Target, timeout: float, *, fresh: bool = False) -> Connection:
        """A connection to the target's origin, a new one where `fresh`, within `timeout` seconds; raises Lost."""
        idle = self._idle.get(target.origin, [])
        while idle and not fresh:
            connection = idle.pop()
            if connection.open:
                return connection
        try:
            async with within(timeout):
                return await self._connect(target)
        except OSError as error:  # TimeoutError and ssl.SSLError are among them
            raise Lost(type(error).__name__) from error

    async def _connect(self, target: Target) -> Connection:
        origin = target.origin
        context = _tls_context() if target.tls else None
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(
                self._inbox, lambda kept: self._keep(origin, kept), lambda gone: self._forget(origin, gone)
            ),
            target.host,
            target.port,
            ssl=context,
            server_hostname=target.host if context else None,
        )
        self._all.add(connection)
        return connection

    def _keep(self, origin: tuple[str, int, bool], connection: Connection) -> None:
        self._idle.setdefault(origin, []).append(connection)

    def _forget(self, origin: tuple[str, int, bool], connection: Connection) -> None:
        self._all.discard(connection)
        idle = self._idle.get(origin)
        if idle is not None and connection in idle:
            idle.remove(connection)

    def close(self) -> None:
        """Close them all."""
        for connection in list(self._all):
            connection.abort()
