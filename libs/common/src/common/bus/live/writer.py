"""The one live writer of a process: frames to mailboxes, signals to everyone, and small commands beside them.

A write packs the frames of all requests into one entry per mailbox, and gathers what arrives while it is in flight.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog
from redis.exceptions import ResponseError

from common.bus.live.crowd import ENTRY_BYTES, Crowd
from common.bus.live.frames import Frame, pack
from common.bus.live.signals import SIGNALS, signal_command
from common.bus.metrics import LIVE_DROPPED, LIVE_FRAMES, LIVE_RECONNECTS, LIVE_REFUSED
from common.bus.port import BusUnavailableError
from common.events.spec import P, SignalSpec
from common.storage.redis import UNAVAILABLE
from common.storage.resp import Command, Resp

log = structlog.get_logger(__name__)

STREAM_PREFIX = "sonant:live:"
# The most a stuck reader can pile up in the engine: entries, each a batch of frames.
MAILBOX_ENTRIES = 20_000
# Seconds for which frames are kept while the engine is away.
WRITE_PATIENCE = 10.0
RETRY_PAUSE = 0.05
# How a refusal begins that is about the command: its key has another type, the account may not, it does not exist.
# Every other one is about the engine (it loads its file, is out of memory, or fails over) and passes.
NEVER_TAKEN = ("WRONGTYPE ", "NOPERM ", "ERR unknown ", "ERR syntax ", "ERR wrong ", "ERR value ", "ERR invalid ")
# Under load writes begin this far apart (seconds), so that each carries more; an idle channel writes at once. Each half
# millisecond more spares 4 % of the CPU of 50 streams, and their first chunks come half a millisecond later.
WRITE_PACE = 0.0015


class LiveWriter:
    """Writes frames to mailboxes and signals to everyone.

    One write is in flight at a time and what arrives meanwhile forms the next. Per frame nothing is allocated
    but the frame itself: this is the hottest path there is.
    """

    def __init__(self, connection: Resp) -> None:
        self._connection = connection
        self._boxes: dict[str, list[Frame]] = {}
        # By mailbox: what its last entry could not hold.
        self._crowds: dict[str, Crowd] = {}
        self._commands: list[Command] = []
        self._settling: list[asyncio.Future[None]] = []
        self._closing = False
        self._writing = False
        self._next_write = 0.0
        self._recovery: asyncio.Task[None] | None = None
        # Whose frames were dropped: they are told as soon as the engine takes something again.
        self._robbed: set[str] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    def send(self, mailbox: str, frame: Frame) -> None:
        """Queue a frame. It is lost where nobody owns the mailbox any more: see `listening`."""
        box = self._boxes.get(mailbox)
        if box is None:
            box = self._boxes[mailbox] = []
        box.append(frame)
        if not self._writing:
            self._start()

    def queue_command(self, *command: str | bytes | int | float) -> None:
        """Queue any other command; it reaches the engine before every frame queued after it.

        Unlike frames it outlasts any outage, so it must be idempotent. One that the engine will never take is
        counted and dropped.
        """
        self._commands.append(command)
        if not self._writing:
            self._start()

    def queue_signal(self, spec: SignalSpec[P], payload: P) -> None:
        """Signal every instance as soon as the engine is there; after an outage perhaps more than once."""
        self.queue_command(*signal_command(spec, payload))

    async def settled(self) -> None:
        """Wait until the engine has all commands that are queued now, however long it is away."""
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
        if not (self._boxes or self._commands or self._robbed or self._crowds):
            _settle(settling)
            self._writing = False
            self._next_write = 0.0
            self._idle.set()
            return
        commands, self._commands = self._commands, []
        if self._robbed:
            commands += [("XADD", box, "NOMKSTREAM", "*", "l", b"") for box in self._robbed]
            self._robbed.clear()
        boxes, self._boxes = self._boxes, {}
        for mailbox in boxes.keys() | self._crowds.keys() if self._crowds else boxes:
            packed = self._packed(mailbox, boxes.get(mailbox, []))
            commands.append(("XADD", mailbox, "NOMKSTREAM", "MAXLEN", "~", MAILBOX_ENTRIES, "*", "f", packed))
        sent = self._connection.try_send(commands)
        if sent is None:
            self._recover(commands, settling)
        else:
            sent[-1].add_done_callback(lambda _: self._written(sent, commands, settling))

    def _packed(self, mailbox: str, frames: list[Frame]) -> bytes:
        """The next entry of a mailbox; what it cannot hold goes into those behind it."""
        crowd = self._crowds.get(mailbox)
        if crowd is not None or sum([len(frame.payload) for frame in frames]) > ENTRY_BYTES:
            if crowd is None:
                crowd = self._crowds[mailbox] = Crowd()
            frames = crowd.next(frames)
            if not crowd:
                del self._crowds[mailbox]
        LIVE_FRAMES.inc(len(frames))
        return pack(frames)

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
        """Repeat until the engine has it: the reader drops what it has seen, so repeating is safe.

        The last try begins after the patience is over: a process that was held up itself has tried nothing meanwhile.
        """
        give_up, began = time.monotonic() + WRITE_PATIENCE, 0.0
        while began < give_up:
            began = time.monotonic()
            try:
                commands = _not_taken(commands, await self._connection.replies(commands))
            except UNAVAILABLE:
                LIVE_RECONNECTS.inc()
            if not commands:
                _settle(settling)
                self._write()
                return
            await asyncio.sleep(RETRY_PAUSE)
        LIVE_DROPPED.inc(len(commands))
        log.error("frames dropped, the live channel stayed away", writes=len(commands))
        if not self._closing:
            # A gap shows by what follows it, the loss of a last frame by nothing.
            self._robbed |= {str(command[1]) for command in commands if _fills_a_mailbox(command)}
            kept = [command for command in commands if not _fills_a_mailbox(command)]
            self._commands = kept + self._commands
            self._settling = settling + self._settling
        self._write()

    async def command(self, *command: str | bytes | int | float) -> Any:
        """Run one command and return its reply; raises BusUnavailableError."""
        try:
            return await self._connection.execute(*command)
        except UNAVAILABLE as error:
            raise BusUnavailableError(f"the live channel does not answer: {error}") from error

    async def signal(self, spec: SignalSpec[P], payload: P) -> None:
        """Signal every instance; raises BusUnavailableError."""
        await self.command(*signal_command(spec, payload))

    async def listening(self, mailbox: str) -> bool:
        """Whether somebody reads this mailbox; raises BusUnavailableError."""
        return bool(await self.command("EXISTS", mailbox))

    async def flush(self) -> None:
        """Wait until all that is queued is written."""
        await self._idle.wait()

    async def close(self) -> None:
        """Write what is queued; for an engine that is away it waits at most `WRITE_PATIENCE` seconds."""
        self._closing = True
        await self.flush()


def _fills_a_mailbox(command: Command) -> bool:
    return command[0] == "XADD" and command[1] != SIGNALS


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
