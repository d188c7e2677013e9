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
    loop = asyncio.get_running_loop()
    step, looks = seconds / LOOKS, 0
    timer: asyncio.TimerHandle | None = None

    def look() -> None:
        nonlocal looks, timer
        looks += 1
        if looks >= LOOKS:
            clock.reschedule(loop.time())
        else:
            timer = loop.call_later(step, look)

    async with asyncio.timeout(None) as clock:
        timer = loop.call_later(step, look)
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()
