"""The live channel: reply frames, cancel signals and questions, worthless a minute later.

Every process that waits for replies owns one stream; every writer packs the frames of all its requests into
one entry per write, and a write in flight gathers what arrives meanwhile. Signals to all instances of a
service travel on one shared stream. Readers resume behind the last entry they saw, so a reconnect loses no
frame; numbered frames show a gap or a repetition.
"""

import asyncio
import contextlib
import struct
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from enum import IntEnum
from typing import Any, NamedTuple

import orjson
import structlog
from redis.exceptions import ResponseError

from common.bus.port import BusUnavailableError
from common.kernel.metrics import LIVE_FRAMES, LIVE_LATE_FRAMES, LIVE_RECONNECTS, LIVE_REFUSED
from common.storage.redis import UNAVAILABLE
from common.storage.resp import Command, Resp

log = structlog.get_logger(__name__)

STREAM_PREFIX = "sonant:live:"
SIGNALS = STREAM_PREFIX + "signals"
# Who answers a turn and how it ended; and, for a while, everything that was said.
TURN_PREFIX = "sonant:turn:"
ENDED_PREFIX = "sonant:ended:"
# A mailbox outlives its owner this long: writers then learn that nobody listens and stop the work.
MAILBOX_TTL_MS = 4_000
HEARTBEAT_SECONDS = 1.0
# Bounds what a stuck reader can pile up in the engine: entries, each a batch of frames.
MAILBOX_ENTRIES = 20_000
SIGNAL_ENTRIES = 10_000
# A starting instance still has to learn which of the requests it is about to pick up were cancelled.
SIGNAL_LOOKBACK_SECONDS = 120
BLOCK_MS = 1_000
# A blocking read returns at least every BLOCK_MS; after two misses the engine is away.
SILENT_SECONDS = 2.5
# How long a writer keeps frames while the engine is away before it gives up on them.
WRITE_PATIENCE = 10.0
RETRY_PAUSE = 0.05
# Of a refusal that is about the command: its key holds something else, this account may not, there is no such thing.
# Every other one is about the engine, which loads its file, is out of memory, or takes over, and passes.
NEVER_TAKEN = ("WRONGTYPE ", "NOPERM ", "ERR unknown ", "ERR syntax ", "ERR wrong ", "ERR value ", "ERR invalid ")
# Under load writes begin this far apart (seconds), so that each carries more; an idle channel writes at once.
WRITE_PACE = 0.001

_HEADER = struct.Struct("<IBBI")  # payload length, kind, request id length, number


class FrameKind(IntEnum):
    """What a frame means to the one who waits."""

    START = 1  # JSON: response headers; the answer has begun
    DATA = 2  # bytes to hand on as they are
    END = 3  # JSON: how it ended
    REPLY = 4  # JSON: {"status": int, "body": ...}, the whole answer of a question


class Frame(NamedTuple):
    """One numbered message to one waiting request; numbers start at 1 and have no gaps."""

    request_id: str
    kind: int
    number: int
    payload: bytes


def pack(frames: Sequence[Frame]) -> bytes:
    """Frames, one after the other, each with its lengths in front."""
    parts = []
    for frame in frames:
        name = frame.request_id.encode()
        parts += [_HEADER.pack(len(frame.payload), frame.kind, len(name), frame.number), name, frame.payload]
    return b"".join(parts)


def unpack(data: bytes) -> Iterator[Frame]:
    """The inverse of `pack`."""
    at, size = 0, _HEADER.size
    while at < len(data):
        length, kind, name_length, number = _HEADER.unpack_from(data, at)
        name_end = at + size + name_length
        yield Frame(data[at + size : name_end].decode(), kind, number, data[name_end : name_end + length])
        at = name_end + length


def repeated_head(frames: Sequence[Frame]) -> list[Frame]:
    """The START frame of an answer outside the order, for one who takes it up behind that; none where it has none."""
    return [frame._replace(number=0) for frame in frames[:1] if frame.kind == FrameKind.START]


def audience_of(org_id: str, *, stream: bool) -> str:
    """Who may take an answer up: a stream its organisation, one that is not streamed only who asked for it."""
    return org_id if stream else f"{org_id}/whole"


def pack_ended(frames: Sequence[Frame], audience: str) -> bytes:
    """A finished answer as it is kept for reading again."""
    return audience.encode() + b"\n" + pack(frames)


def unpack_ended(stored: bytes | None, audience: str) -> list[Frame] | None:
    """The frames of a finished answer, or None where there is none or it is not for this audience."""
    owner, _, frames = (stored or b"").partition(b"\n")
    return list(unpack(frames)) if stored and owner == audience.encode() else None


class LiveWriter:
    """Writes frames to mailboxes and signals to everyone.

    One write is in flight at a time and what arrives meanwhile forms the next. Per frame nothing is allocated
    but the frame itself: this is the hottest path there is.
    """

    def __init__(self, connection: Resp) -> None:
        self._connection = connection
        self._boxes: dict[str, list[Frame]] = {}
        self._commands: list[Command] = []
        self._settling: list[asyncio.Future[None]] = []
        self._closing = False
        self._writing = False
        self._next_write = 0.0
        self._recovery: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    def send(self, mailbox: str, frame: Frame) -> None:
        """Queue a frame. A mailbox that nobody owns any more swallows it: see `listening`."""
        box = self._boxes.get(mailbox)
        if box is None:
            box = self._boxes[mailbox] = []
        box.append(frame)
        if not self._writing:
            self._start()

    def queue_command(self, *command: str | bytes | int | float) -> None:
        """Queue any other command; it reaches the engine before every frame queued after it.

        Unlike frames it outlasts any outage, so it must bear repeating. One that the engine refuses for good is
        counted and dropped.
        """
        self._commands.append(command)
        if not self._writing:
            self._start()

    def queue_signal(self, kind: str, **fields: Any) -> None:
        """Tell every instance, as soon as the engine is there; where it is away, perhaps more than once."""
        self.queue_command(*_signal(kind, fields))

    async def settled(self) -> None:
        """Wait until the engine has all that is queued now, however long it is away."""
        future = asyncio.get_running_loop().create_future()
        self._settling.append(future)
        if not self._writing:
            self._start()
        await future

    def _start(self) -> None:
        """Begin a write, but no sooner than `WRITE_PACE` after the last one began."""
        self._writing = True
        self._idle.clear()
        loop = asyncio.get_running_loop()
        pause = self._next_write - loop.time()
        if pause > 0:
            loop.call_later(pause, self._write)
        else:
            loop.call_soon(self._write)

    def _write(self) -> None:
        """Write all that is queued; the acknowledgement starts the next write."""
        self._next_write = asyncio.get_running_loop().time() + WRITE_PACE
        settling, self._settling = self._settling, []
        if not self._boxes and not self._commands:
            _settle(settling)
            self._writing = False
            self._next_write = 0.0
            self._idle.set()
            return
        commands, self._commands = self._commands, []
        boxes, self._boxes = self._boxes, {}
        for mailbox, frames in boxes.items():
            LIVE_FRAMES.inc(len(frames))
            commands.append(("XADD", mailbox, "NOMKSTREAM", "MAXLEN", "~", MAILBOX_ENTRIES, "*", "f", pack(frames)))
        sent = self._connection.try_send(commands)
        if sent is None:
            self._recover(commands, settling)
        else:
            sent[-1].add_done_callback(lambda _: self._written(sent, commands, settling))

    def _written(
        self, replies: "list[asyncio.Future[Any]]", commands: list[Command], settling: "list[asyncio.Future[None]]"
    ) -> None:
        if _all_taken(replies):
            _settle(settling)
            self._start()
        else:
            self._recover(commands, settling)

    def _recover(self, commands: list[Command], settling: "list[asyncio.Future[None]]") -> None:
        self._recovery = asyncio.create_task(self._repeat(commands, settling), name="live-recovery")

    async def _repeat(self, commands: list[Command], settling: "list[asyncio.Future[None]]") -> None:
        """Repeat until the engine has it: the reader drops what it has seen, so repeating is safe."""
        give_up = time.monotonic() + WRITE_PATIENCE
        while time.monotonic() < give_up:
            try:
                commands = _not_taken(commands, await self._connection.replies(commands))
            except UNAVAILABLE:
                LIVE_RECONNECTS.inc()
            if not commands:
                _settle(settling)
                self._write()
                return
            await asyncio.sleep(RETRY_PAUSE)
        # Readers see the gap once the engine is back and ask for what is missing.
        log.error("frames dropped, the live channel stayed away", writes=len(commands))
        if not self._closing:
            kept = [command for command in commands if command[0] != "XADD" or command[1] == SIGNALS]
            self._commands = kept + self._commands
            self._settling = settling + self._settling
        self._write()

    async def command(self, *command: str | bytes | int | float) -> Any:
        """Run one command and return its reply; raises BusUnavailableError."""
        try:
            return await self._connection.execute(*command)
        except UNAVAILABLE as error:
            raise BusUnavailableError(f"the live channel does not answer: {error}") from error

    async def signal(self, kind: str, **fields: Any) -> None:
        """Tell every instance; raises BusUnavailableError."""
        await self.command(*_signal(kind, fields))

    async def listening(self, mailbox: str) -> bool:
        """Whether somebody reads this mailbox; raises BusUnavailableError."""
        return bool(await self.command("EXISTS", mailbox))

    async def flush(self) -> None:
        """Wait until all that is queued is written."""
        await self._idle.wait()

    async def close(self) -> None:
        """Write what is queued; an engine that stays away is waited for no longer than for a frame."""
        self._closing = True
        await self.flush()


def _signal(kind: str, fields: dict[str, Any]) -> Command:
    return ("XADD", SIGNALS, "MAXLEN", "~", SIGNAL_ENTRIES, "*", "s", orjson.dumps({"kind": kind, **fields}))


def _all_taken(replies: "list[asyncio.Future[Any]]") -> bool:
    """Whether the engine took every command; each is looked at, so that no failure counts as overlooked."""
    taken = True
    for reply in replies:
        if reply.cancelled() or reply.exception() is not None or isinstance(reply.result(), ResponseError):
            taken = False
    return taken


def _not_taken(commands: list[Command], replies: Sequence[Any]) -> list[Command]:
    """Those the engine refused for the moment; what it will never take is counted and dropped."""
    later = []
    for command, reply in zip(commands, replies, strict=True):
        if not isinstance(reply, ResponseError):
            continue
        if str(reply).startswith(NEVER_TAKEN):
            LIVE_REFUSED.inc()
            log.error("the live channel refused a command", command=command[:2], error=str(reply))
        else:
            later.append(command)
    return later


def _settle(settling: "list[asyncio.Future[None]]") -> None:
    for future in settling:
        if not future.done():
            future.set_result(None)


class Waiter:
    """Receives the frames of one request, in order, each once.

    `gap` says that frames were lost on the way; those behind the gap are not accepted, and `attach` asks the
    writer for them again. Frames numbered 0 stand outside the order; `head` is the START frame as it is repeated
    to whoever takes an answer up behind it.
    """

    def __init__(self, after: int = 0) -> None:
        self.last_number = after
        self.gap = False
        self.head: Frame | None = None
        # Offered what arrived while its reader waits in `frames`; where it returns True the reader sleeps on.
        self.sink: Callable[[list[Frame]], bool] | None = None
        self._frames: list[Frame] = []
        self._woken = False
        self._arrival: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._until = 0.0

    def push(self, frame: Frame) -> None:
        """Take a frame and tell the one who waits."""
        self.accept(frame)
        self.notify()

    def accept(self, frame: Frame) -> None:
        """Take a frame; `notify` follows when there are no more for the moment."""
        if 0 < frame.number <= self.last_number:
            return
        if frame.number > self.last_number + 1:
            self.lost()
            return
        if frame.number:
            self.last_number = frame.number
            self.gap = False
        elif frame.kind == FrameKind.START:
            self.head = frame
            self.wake()
            return
        self._frames.append(frame)

    def notify(self) -> None:
        """Hand what was accepted to the one who waits."""
        if self._arrival is None or self._arrival.done() or not self._frames:
            return
        if self.sink is not None and self.sink(self._frames):
            self._frames = []
        else:
            self._arrival.set_result(None)

    def lost(self) -> None:
        """Frames may be missing; wakes the one who waits."""
        self.gap = True
        self.wake()

    async def arrived(self, timeout: float) -> bool:
        """Whether a frame is there, or comes within `timeout` seconds; it stays to be taken by `frames`."""
        self._woken = False
        await self._wait(timeout)
        return bool(self._frames)

    async def frames(self, timeout: float) -> list[Frame]:
        """All frames that have arrived, waiting for the first; empty after `timeout` seconds, `lost` or `wake`."""
        if not self._woken:
            await self._wait(timeout)
        frames, self._frames = self._frames, []
        self._woken = False
        return frames

    async def _wait(self, timeout: float) -> None:
        """Until a frame is there or somebody wakes us. Runs once a chunk, so one lazy timer serves all waits."""
        if self._frames or self._woken:
            return
        loop = asyncio.get_running_loop()
        self._until = loop.time() + timeout
        if self._timer is None or self._timer.when() > self._until:
            self._arm(loop, timeout)
        self._arrival = arrival = loop.create_future()
        try:
            await arrival
        finally:
            self._arrival = None

    def _arm(self, loop: asyncio.AbstractEventLoop, delay: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_later(delay, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._arrival is None:
            return
        loop = asyncio.get_running_loop()
        left = self._until - loop.time()
        if left > 0:
            self._arm(loop, left)
        else:
            _finish(self._arrival)

    def close(self) -> None:
        """Drop the timer; nobody waits any more."""
        if self._timer is not None:
            self._timer.cancel()

    def wake(self) -> None:
        """End the current wait, or the next one, at once."""
        self._woken = True
        if self._arrival is not None:
            _finish(self._arrival)


def _finish(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


OnSignal = Callable[[dict[str, Any]], None]


class LiveReader:
    """The one reader of a process: its mailbox and the signals, over one blocking connection."""

    def __init__(self, reading: Resp, beating: Resp, instance: str, on_signal: OnSignal | None = None) -> None:
        self.mailbox = f"{STREAM_PREFIX}{instance}:{uuid.uuid4().hex[:12]}"
        self._owner = f"{STREAM_PREFIX}owner:{instance}"
        self._reading = reading
        self._beating = beating
        self._on_signal = on_signal
        self._waiters: dict[str, Waiter] = {}
        lookback = int((time.time() - SIGNAL_LOOKBACK_SECONDS) * 1000)
        self._positions = {self.mailbox: "0", SIGNALS: str(max(lookback, 0))}
        self.seen_at = time.monotonic()

    @contextlib.contextmanager
    def waiting(self, request_id: str, *, after: int = 0) -> Iterator[Waiter]:
        """Collect the frames of a request; later ones are counted and dropped."""
        waiter = Waiter(after)
        self._waiters[request_id] = waiter
        try:
            yield waiter
        finally:
            waiter.close()
            if self._waiters.get(request_id) is waiter:
                del self._waiters[request_id]

    async def open(self) -> None:
        """Create the mailbox, and remove the one a former life of this instance left behind."""
        former = await self._beating.execute("GETSET", self._owner, self.mailbox)
        if former is not None:
            await self._beating.execute("DEL", former)
        await self._beat()

    async def _beat(self) -> None:
        """Keep the mailbox alive. Where it had vanished (a long outage) what was in it is asked for again."""
        existed, *_ = await self._beating.pipeline(
            [
                ("EXISTS", self.mailbox),
                ("XADD", self.mailbox, "MAXLEN", "~", MAILBOX_ENTRIES, "*", "b", b""),
                ("XTRIM", self.mailbox, "MINID", self._positions[self.mailbox]),
                ("PEXPIRE", self.mailbox, MAILBOX_TTL_MS),
            ]
        )
        if not existed:
            for waiter in self._waiters.values():
                waiter.lost()

    async def beat(self) -> None:
        """Run the heartbeat for good."""
        while True:
            with contextlib.suppress(*UNAVAILABLE):
                await self._beat()
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def read(self) -> None:
        """Run the reader for good; an engine that is away is waited for."""
        while True:
            try:
                found = await self._reading.execute(
                    "XREAD", "BLOCK", BLOCK_MS, "STREAMS", *self._positions, *self._positions.values()
                )
            except UNAVAILABLE as error:
                LIVE_RECONNECTS.inc()
                log.warning("live channel away", error=str(error))
                await asyncio.sleep(RETRY_PAUSE)
                continue
            self.seen_at = time.monotonic()
            for stream, entries in found or []:
                self._take(stream.decode(), entries)
            # Those who were waiting go first; asking for more costs as much as answering them.
            await asyncio.sleep(0)

    def _take(self, stream: str, entries: Sequence[Any]) -> None:
        self._positions[stream] = entries[-1][0].decode()
        for _, (field, value) in entries:
            if field == b"f":
                self._deliver(value)
            elif field == b"s" and self._on_signal is not None:
                self._on_signal(orjson.loads(value))

    def _deliver(self, data: bytes) -> None:
        reached = {}
        for frame in unpack(data):
            waiter = self._waiters.get(frame.request_id)
            if waiter is None:
                LIVE_LATE_FRAMES.inc()
            else:
                waiter.accept(frame)
                reached[frame.request_id] = waiter
        for waiter in reached.values():
            waiter.notify()

    def complaint(self) -> str | None:
        """Why this reader is not ready, or None."""
        silent = time.monotonic() - self.seen_at
        return f"no answer for {silent:.1f} s" if silent > SILENT_SECONDS else None

    async def close(self) -> None:
        """Remove the mailbox, so that writers stop at once, and what a next life would remove it by."""
        with contextlib.suppress(*UNAVAILABLE):
            await self._beating.execute("DEL", self.mailbox, self._owner)


@asynccontextmanager
async def open_writer(url: str) -> AsyncIterator[LiveWriter]:
    """A live writer on a connection of its own; what is queued is written on leaving."""
    connection = Resp(url)
    writer = LiveWriter(connection)
    try:
        yield writer
    finally:
        await writer.close()
        connection.close()
