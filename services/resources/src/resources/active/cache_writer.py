"""Filling the cache that every process reads active sets and versions from, and keeping it ahead of every change.

What is written is read in one snapshot together with the organisation's clock, so an entry says up to which change it
knows; the cache takes nothing older than it has. A change is written before its command is answered, and once more
for the fact about it: whatever a crash or an absent cache left out is made good by the fact.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import orjson
import structlog

from common.clients.resources.entries import (
    CLOCK_HEADER,
    NEGATIVE_FRESH_SECONDS,
    Entry,
    Version,
    raise_floor,
    scope_key,
    version_key,
)
from common.events.reply import Reply, content
from common.events.resource_replies import ResourceReply
from common.events.resource_terms import Kind
from common.events.resources import ActiveSwitched, ResourceChanged
from common.events.spec import Payload
from common.failures import Refused, Retry
from common.kernel.single_flight import SingleFlight
from common.storage.redis import UNAVAILABLE
from common.storage.resp import Command, Resp
from resources.active import served_set
from resources.active.freshness import Freshness
from resources.active.restores import raise_head
from resources.metrics import CACHE_WRITE_SECONDS, CACHE_WRITES
from resources.ports import Store
from resources.scopes import ScopeKey, layers

log = structlog.get_logger(__name__)

# An engine that does not answer within this is away.
CACHE_SECONDS = 1.0
# A command is answered after this even where not everything is in the cache: the fact brings the rest.
APPLY_SECONDS = 1.0
# Scopes read in one snapshot; a prompt that everybody follows is in very many.
MAX_SCOPES = 50
# Whoever waits has seconds, and without the provider the set is not whole.
LOOK_UP_SECONDS = 2.0
# The tables have all of it: a chat turn waits for a set, and has a second.
BRIEF_LOOK_UP_SECONDS = 0.3


# The version that was asked for, from the catalogue; raises `Refused`.
GetVersion = Callable[[], Awaitable[Reply[ResourceReply]]]


class CacheWriter:
    """The one writer of the cache."""

    def __init__(self, store: Store, freshness: Freshness, cache: Resp, *, fresh_seconds: float) -> None:
        self._store = store
        self._freshness = freshness
        self._cache = cache
        self._fresh_seconds = fresh_seconds
        self._sets: SingleFlight[tuple[str, str, str], list[bytes]] = SingleFlight("fill set")
        self._versions: SingleFlight[tuple[str, Kind, str, int | None], Reply[ResourceReply]] = SingleFlight(
            "fill version"
        )

    # -- queries -----------------------------------------------------------------------------------------------

    async def resolve(self, org_id: str, project_id: str, user_id: str) -> list[bytes]:
        """Fill in the scopes that apply to a user; returns their entries, packed, in the order of the layers.

        Queries about the same scopes at the same time are one. Raises `Retry` while the database is away.
        """
        fill = partial(self._fill, org_id, layers(project_id, user_id))
        return await self._sets.run((org_id, project_id, user_id), fill)

    async def _fill(self, org_id: str, keys: Sequence[ScopeKey]) -> list[bytes]:
        await self._refresh(org_id, keys)
        return await self._write(org_id, keys, await self._read(org_id, keys))

    async def version(
        self, org_id: str, kind: Kind, id: str, version: int | None, get: GetVersion
    ) -> Reply[ResourceReply]:
        """What `get` returns or refuses, with the clock it was read at; 200 and 404 are put into the cache."""
        fill = partial(self._fill_version, org_id, kind, id, version, get)
        return await self._versions.run((org_id, kind, id, version), fill)

    async def _fill_version(
        self, org_id: str, kind: Kind, id: str, version: int | None, get: GetVersion
    ) -> Reply[ResourceReply]:
        # Read first: what changes afterwards has a larger clock, and drops what is written here.
        clock = await self._store.of(org_id).scopes.clock()
        key, own = version_key(org_id, kind, id), {CLOCK_HEADER: str(clock)}
        try:
            reply = await get()
        except Refused as refused:
            if refused.status == 404:
                body = orjson.dumps(refused.body())
                missing = Version(clock, time.time() + NEGATIVE_FRESH_SECONDS, refused.status, body)
                await self._try_cache([raise_head(org_id, clock), missing.put(key, version)])
            raise replace(refused, headers={**refused.headers, **own}) from None
        body = orjson.dumps(content(reply.body))
        found = Version(clock, time.time() + self._fresh_seconds, reply.status, body)
        await self._try_cache([raise_head(org_id, clock), found.put(key, version)])
        return replace(reply, headers={**reply.headers, **own})

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
            await self._renew(fact.org_id, [ScopeKey(fact.place.project_id, fact.place.user_id)], fact.clock, fact.at)
        elif isinstance(fact, ResourceChanged):
            self._freshness.outdated(fact.org_id, fact.kind, fact.id, fact.at)
            floor = raise_floor(version_key(fact.org_id, fact.kind, fact.id), fact.clock)
            await self._must_cache([raise_head(fact.org_id, fact.clock), floor])
            keys = await self._store.of(fact.org_id).scopes.using(fact.kind, fact.id)
            for start in range(0, len(keys), MAX_SCOPES):
                await self._renew(fact.org_id, keys[start : start + MAX_SCOPES], fact.clock, fact.at)

    async def _renew(self, org_id: str, keys: Sequence[ScopeKey], clock: int, at: float) -> None:
        """Rewrite the entries of scopes that are older than `clock`."""
        heads = await self._must_cache([("GETRANGE", scope_key(org_id, *key), 0, 19) for key in keys])
        late = [key for key, head in zip(keys, heads, strict=True) if _clock(head) < clock]
        if late:
            entries = await self._read(org_id, late)
            puts = [entry.put(scope_key(org_id, *key)) for key, entry in zip(late, entries, strict=True)]
            await self._must_cache([_head(org_id, entries), *puts])
            CACHE_WRITE_SECONDS.observe(max(0.0, time.time() - at))

    # -- the tables --------------------------------------------------------------------------------------------

    async def _read(self, org_id: str, keys: Sequence[ScopeKey]) -> list[Entry]:
        """The entries of scopes from one snapshot, without what a provider was heard to have no more."""
        now = time.time()
        async with self._store.snapshot(org_id) as tables:
            known = partial(self._freshness.known, org_id)
            return await served_set.entries(
                tables.scopes, keys, fresh_until=now + self._fresh_seconds, now=now, known=known
            )

    async def _refresh(self, org_id: str, keys: Sequence[ScopeKey]) -> None:
        """Have a provider's catalogue bring the tables up to date about what is in these scopes, where that is due."""
        if not self._freshness.needed(org_id):
            return
        tables = self._store.of(org_id).scopes
        states = await tables.states(keys)
        due = self._freshness.due(org_id, served_set.parts(states.values()))
        if due:
            there = await tables.contents(due)
            seconds = LOOK_UP_SECONDS if len(there) < len(due) else BRIEF_LOOK_UP_SECONDS
            await self._freshness.look_up(org_id, due, seconds)

    # -- the cache ---------------------------------------------------------------------------------------------

    async def _write(self, org_id: str, keys: Sequence[ScopeKey], entries: Sequence[Entry]) -> list[bytes]:
        """Cache entries; returns what holds after that, which is newer where something newer was there."""
        commands = [entry.put(scope_key(org_id, *key)) for key, entry in zip(keys, entries, strict=True)]
        replies = await self._try_cache([_head(org_id, entries), *commands])
        there = replies[1:] if replies else [None] * len(entries)
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


def _head(org_id: str, entries: Sequence[Entry]) -> Command:
    return raise_head(org_id, max(entry.clock for entry in entries))


def _clock(head: bytes) -> int:
    """The clock an entry begins with; -1 where there is none."""
    number = head.partition(b"\n")[0]
    return int(number) if number else -1
