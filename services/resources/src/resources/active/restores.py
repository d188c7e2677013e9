"""Noticing that the database was restored, and starting over with what other processes read.

A database that went back knows nothing of the sets that the cache holds, and its clocks are behind them: nothing that
is written afterwards would replace them. So beside what is cached stands which history of the database it is of, and
the clock of each organisation. Where they do not fit, all of it is dropped, and the clocks go on above any that was
ever seen: neither an entry on its way nor the memory of a reader can bring back what is gone.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, cast

import structlog

from common.failures import Retry
from common.storage.derived_keys import DERIVED, RESOURCES
from common.storage.redis import UNAVAILABLE, Redis
from common.storage.resp import Command
from resources.metrics import RESTORES
from resources.ports import Lineage, LineageTable

log = structlog.get_logger(__name__)

# Beside what is cached, so that whoever deletes that deletes these.
TOKEN = f"{RESOURCES}lineage"
HEADS = f"{RESOURCES}heads"
WATCH_SECONDS = 1.0
RETRY_SECONDS = 0.2
# Organisations whose clocks are compared at once, and keys that are deleted at once.
BATCH = 1000

# KEYS: the heads. ARGV: organisation, clock.
RAISE_HEAD = """
local there = redis.call('HGET', KEYS[1], ARGV[1])
if not there or tonumber(there) < tonumber(ARGV[2]) then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
return 1
"""


def raise_head(org_id: str, clock: int) -> Command:
    """The command that notes up to which clock of an organisation something is cached; sent before what is cached."""
    return ("EVAL", RAISE_HEAD, 1, HEADS, org_id, clock)


class Restores:
    """Looks whether what is cached is of the history that the database is in."""

    def __init__(self, table: LineageTable, redis: Redis) -> None:
        self._table = table
        self._redis = redis
        self._known: Lineage | None = None

    async def settle(self) -> None:
        """Look once, as soon as both engines answer: nothing may be cached before."""
        while True:
            if await self._look():
                return
            await asyncio.sleep(RETRY_SECONDS)

    async def watch(self) -> None:
        """Look from time to time until cancelled: a database may be restored under a running service."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            await self._look()

    async def _look(self) -> bool:
        try:
            now = await self._table.now()
            if why := await self._doubt(now):
                await self._start_over(why)
                now = await self._table.now()
            if await self._token() != now.token:
                await self._redis.set(TOKEN, now.token)
        except (Retry, *UNAVAILABLE) as error:
            log.debug("which history the database is in cannot be told now", error=str(error))
            return False
        self._known = now
        return True

    async def _doubt(self, now: Lineage) -> str:
        """Why what is cached may be of another history; empty where it is of this one."""
        if self._known is not None and not now.continues(self._known):
            return "the database went back, or its tables were made anew"
        token = await self._token()
        if token is None:
            # An emptied cache is nothing new to whoever has watched; otherwise readers may remember another history.
            return "" if self._known is not None or await self._table.is_new() else "nothing is known of what was read"
        if token != now.token:
            return "the cache is of another database"
        return await self._ahead() if self._known is None else ""

    async def _token(self) -> str | None:
        found = cast("bytes | None", await self._redis.get(TOKEN))
        return None if found is None else found.decode()

    async def _ahead(self) -> str:
        heads = await self._heads()
        names = list(heads)
        for start in range(0, len(names), BATCH):
            some = names[start : start + BATCH]
            clocks = await self._table.clocks(some)
            if any(heads[name] > clocks.get(name, 0) for name in some):
                return "the cache is ahead of the database"
        return ""

    async def _heads(self) -> Mapping[str, int]:
        found = await cast("Any", self._redis.hgetall(HEADS))
        return {name.decode(): int(clock) for name, clock in found.items()}

    async def _start_over(self, why: str) -> None:
        log.warning("the database was restored: what was read of it is dropped", reason=why)
        # A reader may remember more than the cache does. No organisation writes a thousand times a second for good.
        await self._table.begin_anew(max([round(time.time() * 1000), *(await self._heads()).values()]))
        for prefix in DERIVED:
            await self._drop(prefix)
        # Done, where it is counted: whoever reads from now on reads what was restored.
        RESTORES.inc()

    async def _drop(self, prefix: str) -> None:
        keys: list[bytes] = []
        async for key in self._redis.scan_iter(match=f"{prefix}*", count=BATCH):
            keys.append(key)
            if len(keys) >= BATCH:
                await self._redis.unlink(*keys)
                keys.clear()
        if keys:
            await self._redis.unlink(*keys)
