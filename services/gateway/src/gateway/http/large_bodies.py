"""Work on large bodies: few in memory at a time, step by step, with the event loop free for as long in between."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from weakref import WeakKeyDictionary

from common.failures import Refused
from common.kernel.places import Places
from common.kernel.weight import weigh_json
from gateway.http.log_quota import LogQuota

# Below this all the work a body can cause is a few milliseconds.
LARGE_BYTES = 100_000
# What is heavier than this once it is parsed, by estimate, is parsed one at a time.
HEAVY_BYTES = 32 * 1024 * 1024
# How long a large body waits for its place at most.
PLACE_SECONDS = 10.0
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


class LargeBodies:
    """Places for large bodies, from their first `LARGE_BYTES` until they are on the log.

    Read, parsed and written out a body takes a multiple of its bytes. The places are shared out fairly between
    organisations.
    """

    def __init__(self, most: int, quota: LogQuota | None = None) -> None:
        self._large = Places(most)
        self._heavy = Places(1)
        self._quota = quota

    def place(self, org_id: str) -> "BodyPlace":
        """A place for one body; it is taken only where the body turns out to be large."""
        return BodyPlace(self._large, self._heavy, org_id, self._quota)


class BodyPlace:
    """The place of one body; `leave` gives it back, as often as it is called."""

    def __init__(self, large: Places, heavy: Places, org_id: str, quota: LogQuota | None) -> None:
        self._large, self._heavy, self._org_id, self._quota = large, heavy, org_id, quota
        self._taken: list[Places] = []
        self.charged = False  # whether the body has been taken from the quota of its organisation

    async def enter(self) -> None:
        """Before more than `LARGE_BYTES` are read; raises Refused 503 where no place comes free in time."""
        await self._take(self._large)

    async def weigh(self, body: bytes) -> None:
        """Before a large body is parsed, which it is charged for whatever it holds.

        Raises as `enter`, and Refused 429 where the quota of its organisation is spent.
        """
        if self._quota is not None:
            await self._quota.take(self._org_id, len(body))
            self.charged = True
        async with step(len(body)):
            weight = weigh_json(body)
        if weight > HEAVY_BYTES:
            await self._take(self._heavy)

    async def _take(self, places: Places) -> None:
        if places in self._taken:
            return
        if not places.take(self._org_id) and not await places.wait(self._org_id, PLACE_SECONDS):
            message = "Too many large requests are being read: come back in a moment, or send less at a time."
            raise Refused(503, message, "busy", type="server_error", headers={"retry-after": "1"})
        self._taken.append(places)

    def leave(self) -> None:
        for places in self._taken:
            places.give_back(self._org_id)
        self._taken = []
