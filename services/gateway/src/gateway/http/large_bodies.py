"""Work on large bodies: step by step, one body at a time, with the event loop free for as long in between."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from weakref import WeakKeyDictionary

# Below this all the work a body can cause is a few milliseconds.
LARGE_BYTES = 100_000
# Nearly every body: shared, since it holds nothing.
_AT_ONCE: AbstractAsyncContextManager[None] = nullcontext()
# Of one loop each; tests run several loops.
_steps: "WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock]" = WeakKeyDictionary()


def step(size: int) -> AbstractAsyncContextManager[None]:
    """One step of the work on a body of `size` bytes; large ones go one at a time, with a pause behind each.

    Many at once then never add up to one long pause of the loop, and take half of it at most.
    """
    return _AT_ONCE if size < LARGE_BYTES else _in_turn()


@asynccontextmanager
async def _in_turn() -> AsyncIterator[None]:
    async with _steps.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
        started = time.perf_counter()
        yield
        await asyncio.sleep(time.perf_counter() - started)
