"""One waiting request: its frames in order, each once, and a gap where some were lost."""

import asyncio
from collections.abc import Callable

from common.bus.live.frames import Frame, FrameKind


class Waiter:
    """Receives the frames of one request, in order, each once.

    `gap` says that frames were lost on the way; those behind the gap are not accepted, and an attach
    signal makes the writer send them again. Frames numbered 0 are outside the order; `head` is the START frame as it is
    repeated to a reader who resumes behind it.
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
        """Take a frame and wake its reader."""
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
            # Whoever repeats it has sent all that is behind the last number as well, as far as there is anything.
            self.head = frame
            self.gap = False
            self.wake()
            return
        self._frames.append(frame)

    def notify(self) -> None:
        """Hand what was accepted to the reader."""
        if self._arrival is None or self._arrival.done() or not self._frames:
            return
        if self.sink is not None and self.sink(self._frames):
            self._frames = []
        else:
            self._arrival.set_result(None)

    def lost(self) -> None:
        """Frames may be missing; wakes the reader."""
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

    async def first(self, timeout: float) -> list[Frame]:
        """As `frames`, but on being told of a loss it waits on, without asking for anything."""
        until = asyncio.get_running_loop().time() + timeout
        while not (frames := await self.frames(timeout)):
            timeout = until - asyncio.get_running_loop().time()
            if timeout <= 0:
                break
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
        """Drop the timer, and the sink, which may hold what holds this. Nothing may wait any more."""
        self.sink = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def wake(self) -> None:
        """End the current wait, or the next one, at once."""
        self._woken = True
        if self._arrival is not None:
            _finish(self._arrival)


def _finish(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
