"""Open connections: how many there may be, and how long each may be silent, slow with a head, or unread."""

import asyncio
import resource
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from common.failures import Refused
from gateway.http import errors
from gateway.metrics import CONNECTIONS, CONNECTIONS_CUT

# What a start without a setting allows; more open connections than this fill a process's memory before its cores.
DEFAULT_MAX_OPEN = 10_000
SWEEP_SECONDS = 1.0
# A reader that takes less than this from a full buffer within the write deadline does not read.
READING_BYTES = 16 * 1024
UNLIMITED_DESCRIPTORS = 1 << 20
# What is on its way to a client that reads does not count.
UNSENT_BYTES = 64 * 1024
NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionBounds:
    """Seconds, counts, and with `max_unsent` bytes; `max_per_address` 0 is no bound of its own.

    `head_seconds` runs from the connection's start, later from a request's first byte, `idle_seconds` from the end
    of an answer to the next first byte, `write_seconds` from the last sign that a client reads what waits for it.
    """

    head_seconds: float = 10.0
    idle_seconds: float = 75.0
    write_seconds: float = 30.0
    max_open: int = DEFAULT_MAX_OPEN
    max_per_address: int = 0
    max_unsent: int = 128 * 1024 * 1024


class Connection:
    """One accepted connection; times are those of the event loop, 0 where the moment has not come."""

    __slots__ = ("_unread", "address", "head_since", "served", "since", "transport", "unread_since", "unsent")

    def __init__(self, transport: asyncio.Transport, now: float) -> None:
        peer = transport.get_extra_info("peername")
        self.transport = transport
        self.address = str(peer[0]) if isinstance(peer, tuple) else "local"
        self.since = now
        self.head_since = 0.0
        self.served = False
        self.unread_since = 0.0
        self.unsent = 0  # bytes, when it was last looked at
        self._unread = 0

    def late(self, now: float, bounds: ConnectionBounds) -> str:
        """`head` or `idle` where the next request is overdue, else an empty string."""
        if self.head_since or not self.served:
            return "head" if now - (self.head_since or self.since) >= bounds.head_seconds else ""
        return "idle" if now - self.since >= bounds.idle_seconds else ""

    def stuck(self, now: float, seconds: float) -> bool:
        """Whether its client has taken nothing worth mentioning of what waits for it in so many seconds."""
        size = self.unsent = self.transport.get_write_buffer_size()
        if not size:
            self.unread_since = 0.0
        elif not self.unread_since or size + READING_BYTES <= self._unread:
            self.unread_since, self._unread = now, size
        return bool(self.unread_since) and now - self.unread_since >= seconds


class Connections:
    """All open connections of a server.

    At the bound a new connection takes the place of one that waits for a request: first of one that never sent any,
    longest first. Silent connections therefore lock nobody out.
    """

    def __init__(self, bounds: ConnectionBounds) -> None:
        self.bounds = bounds
        self._open: set[Connection] = set()
        # In the order in which they began to wait.
        self._new: dict[Connection, None] = {}
        self._idle: dict[Connection, None] = {}
        self._addresses: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self.begun = 0  # ever

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._open)

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, connection: Connection) -> Refused | None:
        """Take a new connection in, or say why not: 429 for its address, 503 for all together."""
        bounds = self.bounds
        if bounds.max_per_address and self._addresses[connection.address] >= bounds.max_per_address:
            CONNECTIONS_CUT.labels("address").inc()
            return errors.rate_limited(
                f"More than {bounds.max_per_address} connections are open from this address.",
                code="too_many_connections",
                retry=errors.RETRY_SECONDS,
            )
        if len(self._open) >= bounds.max_open and not self._make_room():
            CONNECTIONS_CUT.labels("full").inc()
            return errors.unavailable("Too many connections are open.", code="too_many_connections")
        self._open.add(connection)
        self.begun += 1
        self._new[connection] = None
        self._addresses[connection.address] += 1
        CONNECTIONS.set(len(self._open))
        return None

    def _make_room(self) -> bool:
        for waiting in (self._new, self._idle):
            if waiting:
                self._cut(next(iter(waiting)), "displaced")
                return True
        return False

    def serving(self, connection: Connection) -> None:
        """A whole head has arrived."""
        self._new.pop(connection, None)
        self._idle.pop(connection, None)
        connection.served, connection.head_since = True, 0.0

    def waiting(self, connection: Connection, now: float) -> None:
        """Its answer is over; the next request may come."""
        if connection in self._open:
            connection.since = now
            if connection.head_since:
                # It came while the answer was written, and could not be read before.
                connection.head_since = now
            self._idle[connection] = None

    def lost(self, connection: Connection) -> None:
        """It is closed."""
        if connection not in self._open:
            return
        self._open.discard(connection)
        self._new.pop(connection, None)
        self._idle.pop(connection, None)
        self._addresses[connection.address] -= 1
        if self._addresses[connection.address] <= 0:
            del self._addresses[connection.address]
        CONNECTIONS.set(len(self._open))

    def _cut(self, connection: Connection, why: str) -> None:
        CONNECTIONS_CUT.labels(why).inc()
        self.lost(connection)
        connection.transport.abort()

    def start(self) -> None:
        """Look at the deadlines of all connections every second from now on."""
        loop = asyncio.get_running_loop()
        self._due = loop.time() + SWEEP_SECONDS
        self._timer = loop.call_at(self._due, self._tick)

    def close(self) -> None:
        """Stop looking."""
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._due > SWEEP_SECONDS:
            self._forgive(now - self._due)
        self.start()
        self.sweep(now)

    def _forgive(self, seconds: float) -> None:
        """This process stood still for so long and has read nothing of what came meanwhile."""
        for connection in self._open:
            connection.since += seconds
            connection.head_since += seconds if connection.head_since else 0.0
            connection.unread_since += seconds if connection.unread_since else 0.0

    def sweep(self, now: float) -> None:
        """Close what is overdue."""
        for connection in [*self._new, *self._idle]:
            if why := connection.late(now, self.bounds):
                self._end(connection, why)
        unsent = 0
        for connection in list(self._open):
            if connection.stuck(now, self.bounds.write_seconds):
                self._cut(connection, "write")
            else:
                unsent += connection.unsent
        if unsent > self.bounds.max_unsent:
            self._relieve(unsent - self.bounds.max_unsent)

    def _relieve(self, bytes_over: int) -> None:
        """Cut off whose clients have read nothing for longest, until what all together wait for is within its bound."""
        for connection in sorted((each for each in self._open if each.unsent), key=lambda each: each.unread_since):
            if bytes_over <= 0:
                break
            bytes_over -= connection.unsent
            self._cut(connection, "memory")

    def _end(self, connection: Connection, why: str) -> None:
        """Close it in order; who has begun a request is told why."""
        CONNECTIONS_CUT.labels(why).inc()
        self._new.pop(connection, None)
        self._idle.pop(connection, None)
        if connection.head_since:
            refused = Refused(408, "The head of the request did not arrive in time.", "request_timeout")
            connection.transport.write(errors.plain_answer(refused))
        connection.transport.close()


def keep_unsent_small(transport: asyncio.BaseTransport | None) -> None:
    """Leave little of an answer to the system's buffers: of one that nobody reads they would take megabytes."""
    sock = None if transport is None else transport.get_extra_info("socket")
    if NOTSENT_LOWAT and sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, NOTSENT_LOWAT, UNSENT_BYTES)


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open descriptors to the hard one; returns what holds from now on."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Some systems name an infinite hard limit and refuse it as a soft one.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return UNLIMITED_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft


def max_open(setting: int, descriptors: int) -> int:
    """How many connections may be open: the setting, and never more than half of the descriptors.

    The other half is for engines, files, and connections that are just being closed.
    """
    return max(1, min(setting or DEFAULT_MAX_OPEN, descriptors // 2))
