"""The one live reader of a process: its mailbox and the signals, over one blocking connection.

It resumes behind the last entry it saw, so a reconnect loses no frame.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import structlog

from common.bus.live.frames import unpack
from common.bus.live.signals import SIGNALS, SignalHandlers, Signals
from common.bus.live.waiter import Waiter
from common.bus.live.writer import MAILBOX_ENTRIES, RETRY_PAUSE, STREAM_PREFIX
from common.bus.metrics import LIVE_LATE_FRAMES, LIVE_RECONNECTS
from common.storage.redis import UNAVAILABLE
from common.storage.resp import Resp

log = structlog.get_logger(__name__)

# A mailbox outlives its owner by this much: then writers learn that nobody listens, and stop.
MAILBOX_TTL_MS = 4_000
HEARTBEAT_SECONDS = 1.0
# An instance that starts has to learn which of the requests it will read were cancelled.
SIGNAL_LOOKBACK_SECONDS = 120
BLOCK_MS = 1_000
# Of each stream at once: what is behind is taken in portions of 16 MiB at most, with the waiting requests in between.
READ_ENTRIES = 32
LARGE_ENTRY_BYTES = 128 * 1024
# A blocking read returns at least every BLOCK_MS; after two misses the engine is away.
SILENT_SECONDS = 2.5


class LiveReader:
    """The one reader of a process: its mailbox and the signals, over one blocking connection."""

    def __init__(self, reading: Resp, beating: Resp, instance: str, signals: SignalHandlers = ()) -> None:
        self.mailbox = f"{STREAM_PREFIX}{instance}:{uuid.uuid4().hex[:12]}"
        self._owner = f"{STREAM_PREFIX}owner:{instance}"
        self._reading = reading
        self._beating = beating
        self._signals = Signals(signals)
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
        """Create the mailbox, and remove the one that this instance left behind before a restart.

        Raises those of `UNAVAILABLE` while the engine is away.
        """
        former = await self._beating.execute("GETSET", self._owner, self.mailbox)
        if former is not None:
            await self._beating.execute("DEL", former)
        await self._beat()

    async def _beat(self) -> bool:
        """Keep the mailbox alive; whether it was, so that nothing sent to it was lost."""
        existed, *_ = await self._beating.pipeline(
            [
                ("EXISTS", self.mailbox),
                ("XADD", self.mailbox, "MAXLEN", "~", MAILBOX_ENTRIES, "*", "b", b""),
                ("XTRIM", self.mailbox, "MINID", self._positions[self.mailbox]),
                ("PEXPIRE", self.mailbox, MAILBOX_TTL_MS),
            ]
        )
        return bool(existed)

    async def beat(self) -> None:
        """Run the heartbeat until cancelled. Where something may have been lost, all that is waited for is asked again.

        That the mailbox is there after an outage proves nothing: an engine that hung still does what it was sent
        before, also by connections that were given up, and among it may be a beat that made the mailbox anew.
        """
        sound = True
        while True:
            try:
                sound = await self._beat() and sound
            except UNAVAILABLE:
                sound = False
            else:
                if not sound:
                    self._lost()
                sound = True
            await asyncio.sleep(HEARTBEAT_SECONDS)

    def _lost(self) -> None:
        for waiter in list(self._waiters.values()):
            waiter.lost()

    async def read(self) -> None:
        """Read until cancelled; while the engine is away it tries again."""
        while True:
            try:
                found = await self._reading.execute(
                    *("XREAD", "COUNT", READ_ENTRIES, "BLOCK", BLOCK_MS),
                    *("STREAMS", *self._positions, *self._positions.values()),
                )
            except UNAVAILABLE as error:
                LIVE_RECONNECTS.inc()
                log.warning("live channel away", error=str(error))
                await asyncio.sleep(RETRY_PAUSE)
                continue
            self.seen_at = time.monotonic()
            for stream, entries in found or []:
                await self._take(stream.decode(), entries)
            # The waiting requests go first: another read costs as much as they do.
            await asyncio.sleep(0)

    async def _take(self, stream: str, entries: Sequence[Any]) -> None:
        self._positions[stream] = entries[-1][0].decode()
        for _, (field, value) in entries:
            if field == b"f":
                self._deliver(value)
                if len(value) > LARGE_ENTRY_BYTES:
                    # To hand on what a flood brings takes milliseconds.
                    await asyncio.sleep(0)
            elif field == b"s":
                self._signals.take(value)
            elif field == b"l":
                self._lost()

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
        """Remove the mailbox and the note of its owner, so that writers stop at once."""
        with contextlib.suppress(*UNAVAILABLE):
            await self._beating.execute("DEL", self.mailbox, self._owner)
