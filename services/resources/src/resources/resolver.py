"""Filling the cache that every process reads active sets and versions from, and keeping it ahead of every change.

What is written is read in one snapshot together with the organisation's clock, so an entry says up to which change it
knows; the cache takes nothing older than it has. A change is written before its command is answered, and once more
for the fact about it: whatever a crash or an absent cache left out is made good by the fact.
"""

import asyncio
import dataclasses
import time
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

import orjson
import structlog

from common.clients.resources.entries import (
    CLOCK_HEADER,
    NEGATIVE_FRESH_SECONDS,
    Entry,
    Version,
    place_key,
    raise_floor,
    version_key,
)
from common.events.reply import Reply
from common.events.resources import ActiveSwitched, Kind, ResourceChanged
from common.events.spec import Payload
from common.failures import Retry
from common.storage.postgres import Pool, transient
from common.storage.redis import UNAVAILABLE
from common.storage.resp import Command, Resp
from resources import places, sets
from resources.look_ups import LookUps
from resources.metrics import CACHE_WRITE_SECONDS, CACHE_WRITES
from resources.places import Spot

log = structlog.get_logger(__name__)

# An engine that does not answer within this is away.
CACHE_SECONDS = 1.0
# A command is answered after this even where not everything is in the cache: the fact brings the rest.
APPLY_SECONDS = 1.0
# Places read in one snapshot; a prompt that everybody follows is in very many.
PLACES_AT_ONCE = 50
# Whoever asked has seconds, and without the provider the set is not whole.
LOOK_UP_SECONDS = 2.0
# The tables have all of it: a turn of a conversation waits for a set, and has a second.
BRIEF_LOOK_UP_SECONDS = 0.3


class Resolver:
    """The one writer of the cache."""

    def __init__(self, pool: Pool, look_ups: LookUps, cache: Resp, *, fresh_seconds: float) -> None:
        self._pool = pool
        self._look_ups = look_ups
        self._cache = cache
        self._fresh_seconds = fresh_seconds
        self._flights: dict[Hashable, asyncio.Task[Any]] = {}

    # -- questions ---------------------------------------------------------------------------------------------

    async def resolve(self, org_id: str, project_id: str, user_id: str) -> list[bytes]:
        """Fill in the places that apply to a user; returns their entries, packed, in the order of the layers.

        Questions about the same places at the same time are one. Raises `Retry` while the database is away.
        """
        spots = places.layers(project_id, user_id)
        name = ("set", org_id, project_id, user_id)
        entries: list[bytes] = await self._once(name, lambda: self._fill(org_id, spots))
        return entries

    async def _fill(self, org_id: str, spots: Sequence[Spot]) -> list[bytes]:
        await self._look_up(org_id, spots)
        return await self._write(org_id, spots, await self._read(org_id, spots))

    async def version(self, org_id: str, kind: Kind, id: str, version: int | None, get: Callable[[], Any]) -> Reply:
        """The answer of `get`, with the clock it was read at; 200 and 404 are put into the cache."""
        name = ("version", org_id, kind, id, version)
        reply: Reply = await self._once(name, lambda: self._fill_version(org_id, kind, id, version, get))
        return reply

    async def _fill_version(
        self, org_id: str, kind: Kind, id: str, version: int | None, get: Callable[[], Any]
    ) -> Reply:
        # Read first: what changes afterwards has a larger clock, and drops what is written here.
        async with transient():
            clock = await places.clock(self._pool, org_id)
        reply: Reply = await get()
        if reply.status in (200, 404):
            fresh = self._fresh_seconds if reply.status == 200 else NEGATIVE_FRESH_SECONDS
            found = Version(clock, time.time() + fresh, reply.status, orjson.dumps(reply.body))
            await self._try_cache([found.put(version_key(org_id, kind, id), version)])
        return dataclasses.replace(reply, headers={**reply.headers, CLOCK_HEADER: str(clock)})

    async def _once(self, name: Hashable, work: Callable[[], Any]) -> Any:
        """What `work` returns or raises; whoever asks meanwhile gets the same."""
        flight = self._flights.get(name)
        if flight is None:
            flight = self._flights[name] = asyncio.create_task(work(), name=f"fill {name!r}"[:100])
            flight.add_done_callback(lambda _: self._flights.pop(name))
        return await asyncio.shield(flight)

    # -- changes -----------------------------------------------------------------------------------------------

    async def apply(self, facts: Sequence[Payload]) -> None:
        """Bring the cache up to what was just committed, as far as that goes in `APPLY_SECONDS`. Never raises."""
        try:
            async with asyncio.timeout(APPLY_SECONDS):
                for fact in facts:
                    await self.take(fact)
        except (Retry, TimeoutError) as error:
            CACHE_WRITES.labels("late").inc()
            log.warning("a change reaches the cache by its fact", error=str(error))

    async def take(self, fact: Payload) -> None:
        """Bring the cache up to a fact, unless it is there already. Raises `Retry` while an engine is away."""
        if isinstance(fact, ActiveSwitched):
            await self._renew(fact.org_id, [Spot(fact.place.project_id, fact.place.user_id)], fact.clock, fact.at)
        elif isinstance(fact, ResourceChanged):
            self._look_ups.outdated(fact.org_id, fact.kind, fact.id, fact.at)
            await self._must_cache([raise_floor(version_key(fact.org_id, fact.kind, fact.id), fact.clock)])
            async with transient():
                spots = await places.using(self._pool, fact.org_id, fact.kind, fact.id)
            for start in range(0, len(spots), PLACES_AT_ONCE):
                await self._renew(fact.org_id, spots[start : start + PLACES_AT_ONCE], fact.clock, fact.at)

    async def _renew(self, org_id: str, spots: Sequence[Spot], clock: int, at: float) -> None:
        """Rewrite the entries of places that are older than `clock`."""
        heads = await self._must_cache([("GETRANGE", place_key(org_id, *spot), 0, 19) for spot in spots])
        late = [spot for spot, head in zip(spots, heads, strict=True) if _clock(head) < clock]
        if late:
            entries = await self._read(org_id, late)
            await self._must_cache([entry.put(_key(org_id, spot)) for spot, entry in zip(late, entries, strict=True)])
            CACHE_WRITE_SECONDS.observe(max(0.0, time.time() - at))

    # -- the tables --------------------------------------------------------------------------------------------

    async def _read(self, org_id: str, spots: Sequence[Spot]) -> list[Entry]:
        """The entries of places from one snapshot, without what a provider was heard to have no more."""
        now = time.time()
        async with (
            transient(),
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            clock = await places.clock(connection, org_id)
            known = partial(self._look_ups.known, org_id)
            return await sets.entries(
                connection, org_id, clock, spots, fresh_until=now + self._fresh_seconds, now=now, known=known
            )

    async def _look_up(self, org_id: str, spots: Sequence[Spot]) -> None:
        """Have a provider's catalogue bring the tables up to date about what is in these places, where that is due."""
        if not self._look_ups.needed(org_id):
            return
        async with transient():
            states = await places.states(self._pool, org_id, spots)
            due = self._look_ups.due(org_id, sets.parts(states.values()))
            there = await places.contents(self._pool, org_id, due) if due else {}
        if due:
            seconds = LOOK_UP_SECONDS if len(there) < len(due) else BRIEF_LOOK_UP_SECONDS
            await self._look_ups.ask(org_id, due, seconds)

    # -- the cache ---------------------------------------------------------------------------------------------

    async def _write(self, org_id: str, spots: Sequence[Spot], entries: Sequence[Entry]) -> list[bytes]:
        """Cache entries; returns what holds after that, which is newer where something newer was there."""
        commands = [entry.put(_key(org_id, spot)) for spot, entry in zip(spots, entries, strict=True)]
        there = await self._try_cache(commands) or [None] * len(entries)
        return [newer or entry.pack() for newer, entry in zip(there, entries, strict=True)]

    async def _try_cache(self, commands: Sequence[Command]) -> list[Any] | None:
        """Replies to commands that only save work for the next reader; None where they could not be given."""
        try:
            return await self._must_cache(commands)
        except Retry as error:
            log.warning("the cache takes nothing", error=str(error))
            return None

    async def _must_cache(self, commands: Sequence[Command]) -> list[Any]:
        try:
            replies = await self._cache.pipeline(commands)
        except UNAVAILABLE as error:
            CACHE_WRITES.labels("failed").inc(len(commands))
            raise Retry(f"cache: {error}") from error
        CACHE_WRITES.labels("done").inc(len(commands))
        return replies


def _key(org_id: str, spot: Spot) -> str:
    return place_key(org_id, *spot)


def _clock(head: bytes) -> int:
    """The clock an entry begins with; -1 where there is none."""
    number = head.partition(b"\n")[0]
    return int(number) if number else -1
