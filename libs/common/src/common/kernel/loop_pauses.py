"""How long the event loop takes nothing up: whatever runs that long makes everybody else wait."""

import asyncio
import time

from common.kernel.metrics import LOOP_LAG, LOOP_PAUSE_CPU_SECONDS, LOOP_PAUSE_SECONDS

# A pause shows as at most this much shorter than it was. To look so often costs 0.05 % of a core.
LOOK_SECONDS = 0.02
LEAST_SECONDS = 0.01
TOLD_SECONDS = 1.0


async def watch_pauses() -> None:
    """Measure pauses for as long as the loop runs; to be spawned in it."""
    latest, told_at = 0.0, time.monotonic()
    while True:
        began, worked = time.monotonic(), time.thread_time()
        await asyncio.sleep(LOOK_SECONDS)
        now = time.monotonic()
        late = now - began - LOOK_SECONDS
        if late >= LEAST_SECONDS:
            LOOP_PAUSE_SECONDS.observe(late)
            LOOP_PAUSE_CPU_SECONDS.observe(min(late, time.thread_time() - worked))
        latest = max(latest, late)
        if now - told_at >= TOLD_SECONDS:
            LOOP_LAG.set(latest)
            latest, told_at = 0.0, now
