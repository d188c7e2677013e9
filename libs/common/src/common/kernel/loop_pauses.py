"""How long the event loop takes nothing up: whatever runs that long makes everybody else wait."""

import asyncio
import time

from common.kernel.metrics import LOOP_LAG, LOOP_PAUSE_CPU_SECONDS, LOOP_PAUSE_SECONDS

LEAST_SECONDS = 0.01
TOLD_SECONDS = 1.0


async def watch_pauses(look_seconds: float) -> None:
    """Measure pauses for as long as the loop runs; to be spawned in it.

    A pause shows as at most `look_seconds` shorter than it was. To wake an idle process takes about 0.1 ms of CPU.
    """
    latest, told_at = 0.0, time.monotonic()
    while True:
        began, worked = time.monotonic(), time.thread_time()
        await asyncio.sleep(look_seconds)
        now = time.monotonic()
        late = now - began - look_seconds
        if late >= LEAST_SECONDS:
            LOOP_PAUSE_SECONDS.observe(late)
            LOOP_PAUSE_CPU_SECONDS.observe(min(late, time.thread_time() - worked))
        latest = max(latest, late)
        if now - told_at >= TOLD_SECONDS:
            LOOP_LAG.set(latest)
            latest, told_at = 0.0, now
