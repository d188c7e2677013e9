"""A time limit counted in looks: a process that stood still itself blames nobody for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

# A limit is over when so many looks in a row, spread over it, have found that it goes on.
LOOKS = 4


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """As `asyncio.timeout`. Who was held up wakes to find its timer due and what it waited for not read yet.

    Raises TimeoutError.
    """
    async with asyncio.timeout(None) as clock:
        looks = _Looks(clock, seconds / LOOKS)
        try:
            yield
        finally:
            looks.end()


class _Looks:
    """Looks `LOOKS` times, and lets the time be over with the last one."""

    def __init__(self, clock: asyncio.Timeout, step: float) -> None:
        self._clock = clock
        self._step = step
        self._left = LOOKS
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(step, self._look)

    def _look(self) -> None:
        self._left -= 1
        if self._left:
            self._timer = self._loop.call_later(self._step, self._look)
        else:
            self._clock.reschedule(self._loop.time())

    def end(self) -> None:
        self._timer.cancel()
        # It knows us, and we the task that waited with all that it came to: that may be a request of megabytes.
        del self._timer
