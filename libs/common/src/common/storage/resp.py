"""A lean pipelining connection to Redis or Valkey for the hot paths.

The general client costs about 200 µs of CPU a command, which is the whole budget of a relayed chunk; this one
packs and parses with hiredis and costs a fifth (tests/bench). It does what the log and the live channel need:
commands in, replies in order out, one reconnect at a time. Everything else uses `common.storage.redis`.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

import hiredis
from redis.exceptions import ResponseError

from common.deadlines import within
from common.storage.redis import CONNECT_TIMEOUT, SOCKET_TIMEOUT

T = TypeVar("T")
Command = tuple[str | bytes | int | float, ...]

# How often a connection is checked within its timeout. A reply is overdue when more checks in a row than this found
# silence, since the first may come right after the command. Checks are counted and not seconds: a process that was
# itself held up checks late, has not read what is there, and must not blame the engine for it.
CHECKS = 4
# Values from this size on are to be sent `apart`: to pack them with their command copies megabytes twice.
LARGE_BYTES = 256 * 1024


class NotConnectedError(ConnectionError):
    """No connection could be made: nothing was sent."""


class _Wire(asyncio.Protocol):
    """One socket: replies are matched to futures in order."""

    def __init__(self, timeout: float) -> None:
        self._reader = hiredis.Reader(replyError=ResponseError)
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._transport: asyncio.Transport | None = None
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._silent = 0
        self._timer: asyncio.TimerHandle | None = None
        self._unsent: list[bytes] = []
        self._apart = False
        self._reason = "closed"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._silent = 0
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        waiting, self._waiting = self._waiting, deque()
        for future in waiting:
            if not future.done():
                future.set_exception(ConnectionError(f"connection to the live store lost: {exc or self._reason}"))

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(
        self, commands: Sequence[Command], *, gather: bool = False, apart: bool = False
    ) -> "list[asyncio.Future[Any]]":
        """Send commands at once, or with `gather` in one write with the others of this iteration of the event loop.

        Where they are sent `apart`, large values are not copied.
        """
        if self._transport is None or self._transport.is_closing():
            raise ConnectionError("connection to the live store is closed")
        if not self._waiting:
            self._silent = 0
            if self._timer is None:
                self._timer = self._loop.call_later(self._timeout / CHECKS, self._check)
        if apart:
            packed = [piece for command in commands for piece in packed_apart(command)]
            self._apart = True
        else:
            packed = [hiredis.pack_command(cast("Any", command)) for command in commands]
        if gather and not self._unsent:
            self._loop.call_soon(self._write)
        self._unsent += packed
        futures = [self._loop.create_future() for _ in commands]
        self._waiting.extend(futures)
        if not gather:
            self._write()
        return futures

    def _write(self) -> None:
        unsent, self._unsent = self._unsent, []
        apart, self._apart = self._apart, False
        if unsent and self._transport is not None:
            if apart:
                self._transport.writelines(unsent)
            else:
                self._transport.write(b"".join(unsent))

    def _check(self) -> None:
        """Cut a connection on which a reply is overdue. One lazy timer, instead of one per command."""
        self._timer = None
        if not self._waiting:
            return
        self._silent += 1
        if self._silent > CHECKS:
            self._reason = f"no reply in {self._timeout:g} s"
            self.close()
        else:
            self._timer = self._loop.call_later(self._timeout / CHECKS, self._check)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


async def all_of(futures: "Sequence[asyncio.Future[T]]") -> list[T]:
    """The results of futures that fail together, in order; raises the first failure.

    The others are heard of as well. Each would be reported as never retrieved, with its trace: of many at a time, that
    stops the event loop for seconds.
    """
    try:
        return [await future for future in futures]
    except BaseException:
        for future in futures:
            future.add_done_callback(_heard)
        raise


def _heard(future: "asyncio.Future[Any]") -> None:
    if not future.cancelled():
        future.exception()


def packed_apart(command: Command) -> list[bytes]:
    """A command as hiredis packs it, in pieces, with its values as they are."""
    pieces, head = [], b"*%d\r\n" % len(command)
    for part in command:
        value = part if isinstance(part, bytes) else str(part).encode()
        pieces += [b"%b$%d\r\n" % (head, len(value)), value]
        head = b"\r\n"
    return [*pieces, b"\r\n"]


class Resp:
    """A connection that connects on first use, and again after a loss.

    Not a pool: replies come in the order of the commands, so a blocking command (XREAD BLOCK) needs an
    instance of its own. It is closed when the engine is silent for `timeout` seconds.
    Raises ConnectionError, TimeoutError or OSError while the engine is away, and
    `redis.exceptions.ResponseError` for a refused command.
    """

    def __init__(self, url: str, *, timeout: float = SOCKET_TIMEOUT) -> None:
        self._url = urlsplit(url)
        self._timeout = timeout
        self._wire: _Wire | None = None
        self._dialling = asyncio.Lock()

    async def execute(self, *command: str | bytes | int | float) -> Any:
        """Send one command and wait for its reply. Commands of one iteration of the event loop leave in one write."""
        wire = self._wire if self._wire is not None and self._wire.open else await self._dial()
        reply = await wire.send([command], gather=True)[0]
        if isinstance(reply, ResponseError):
            raise reply
        return reply

    async def pipeline(self, commands: Sequence[Command], *, apart: bool = False) -> list[Any]:
        """Send commands in one write and wait for all replies; the first refused command raises.

        Large values are to be sent `apart`.
        """
        replies = await self.replies(commands, apart=apart)
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise reply
        return replies

    async def replies(self, commands: Sequence[Command], *, apart: bool = False) -> list[Any]:
        """As `pipeline`, for callers that sort refusals: the reply to a refused command is its `ResponseError`."""
        wire = self._wire if self._wire is not None and self._wire.open else await self._dial()
        return await all_of(wire.send(commands, apart=apart))

    def try_send(self, commands: Sequence[Command]) -> "list[asyncio.Future[Any]] | None":
        """Write commands if the connection is open, else None. The futures are those of the replies, in order.

        For writers that cannot wait; a future raises ConnectionError, or holds the ResponseError of a refusal.
        """
        if self._wire is None or not self._wire.open:
            return None
        return self._wire.send(commands)

    async def _dial(self) -> _Wire:
        async with self._dialling:
            if self._wire is not None and self._wire.open:
                return self._wire
            try:
                async with within(CONNECT_TIMEOUT):
                    self._wire = await self._greeted()
            except (OSError, TimeoutError) as error:
                raise NotConnectedError(f"no connection to the store: {error or type(error).__name__}") from error
            return self._wire

    async def _greeted(self) -> _Wire:
        wire = await self._connect()
        try:
            await self._greet(wire)
        except BaseException:
            wire.close()
            raise
        return wire

    async def _greet(self, wire: _Wire) -> None:
        """Log in and select the database, as the URL says; raises the `ResponseError` of a refusal."""
        for command in self._hello():
            reply = await wire.send([command])[0]
            if isinstance(reply, ResponseError):
                raise reply

    async def _connect(self) -> _Wire:
        loop = asyncio.get_running_loop()
        if self._url.scheme == "unix":
            return (await loop.create_unix_connection(self._make, unquote(self._url.path)))[1]
        tls = _tls(self._url.query) if self._url.scheme == "rediss" else None
        host, port = self._url.hostname or "127.0.0.1", self._url.port or 6379
        return (await loop.create_connection(self._make, host, port, ssl=tls))[1]

    def _make(self) -> _Wire:
        return _Wire(self._timeout)

    def _hello(self) -> list[Command]:
        commands: list[Command] = []
        if self._url.password:
            user = (unquote(self._url.username),) if self._url.username else ()
            commands.append(("AUTH", *user, unquote(self._url.password)))
        named = parse_qs(self._url.query).get("db", [""])[0]
        database = named or ("" if self._url.scheme == "unix" else self._url.path.lstrip("/"))
        if database:
            commands.append(("SELECT", database))
        return commands

    def close(self) -> None:
        """Drop the connection; commands in flight fail with ConnectionError."""
        if self._wire is not None:
            self._wire.close()


def _tls(query: str) -> ssl.SSLContext:
    """As the options of the URL say, which the general client knows by the same names."""
    options = dict(parse_qsl(query))
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
    if certificate := options.get("ssl_certfile"):
        context.load_cert_chain(certificate, options.get("ssl_keyfile"), password="")
    return context


@asynccontextmanager
async def open_resp(url: str) -> AsyncIterator[Resp]:
    """A lean connection, closed on leaving."""
    connection = Resp(url)
    try:
        yield connection
    finally:
        connection.close()
