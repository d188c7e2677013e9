"""Reading active sets and resource versions through the shared cache.

A read is one command to the engine. What is missing is queried once, at the service resources, which puts it
into the cache. What is no longer fresh is served all the same while that service does not answer. The process keeps
only the clocks it has seen, so that a cache that lost its last writes cannot take a reader back in time.
"""

import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import orjson

from common.bus.port import BusUnavailableError
from common.bus.request_reply import Requester
from common.clients.resources.entries import (
    CLOCK_HEADER,
    FLOOR,
    Entry,
    Version,
    etag,
    in_candidate,
    scope_keys,
    version_field,
    version_key,
)
from common.clients.resources.metrics import CACHE_READS, PROPAGATION_SECONDS, RESOLVE_SECONDS
from common.clients.resources.refresh import Refresh
from common.events.reply import content
from common.events.resource_terms import Kind, Layer
from common.events.resources import (
    ACTIVE_RESOLVE_REQUESTED,
    RESOURCE_GET_REQUESTED,
    ActiveResolveRequested,
    ResourceGetRequested,
)
from common.failures import Refused
from common.metrics import labelled
from common.storage.redis import UNAVAILABLE
from common.storage.resp import Resp

# How long a query may take where there is nothing to answer from meanwhile.
FILL_SECONDS = 5.0
# A refresh is worth this wait where a stale answer is there: a healthy service needs a hundredth of it.
STALE_WAIT_SECONDS = 0.5
# An engine that does not answer a read within this is away.
CACHE_SECONDS = 1.0
# What a fill read may have changed while it was in flight; the next one sees the change.
FILL_TRIES = 3
# Scopes whose clock is remembered; about 200 bytes each.
MAX_SEEN = 20_000
# A set read less often than this does not tell how long a switch took to arrive.
WATCHED_SECONDS = 1.0

LAYERS: tuple[Layer, ...] = ("user", "project", "organization")


class BrokenSetError(Exception):
    """A set is switched on but cannot be served, since something in it is gone; the message says what."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """The set that applies. `body` is its JSON, ready to be sent.

    `layer` is where it was found, `candidate` whether it is the one of a rollout, `stale` whether it could not be
    refreshed although it is due. `etag` names what is on there, whichever of the two it is.
    """

    layer: Layer
    revision: int
    candidate: bool
    stale: bool
    clock: int
    body: bytes
    etag: str

    def json(self) -> dict[str, Any]:
        parsed: dict[str, Any] = orjson.loads(self.body)
        return parsed


@dataclass(frozen=True, slots=True)
class Found:
    """A version of a resource as the service answers it, or with another status than 200 the error.

    `headers` are those of an error. `clock` is the organisation's when the service looked.
    """

    status: int
    body: bytes
    stale: bool
    headers: Mapping[str, str] = field(default_factory=dict)
    clock: int = 0

    def json(self) -> dict[str, Any]:
        parsed: dict[str, Any] = orjson.loads(self.body)
        return parsed


@dataclass(frozen=True, slots=True)
class _Look:
    """What the entries of the scopes hold: the first set, or with `entry` None that there is none."""

    entry: Entry | None
    layer: Layer
    fresh: bool


class _Seen:
    """The newest clock this process has seen, by key."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def passes(self, key: str, clock: int, changed_at: float) -> bool:
        """Whether an entry is not older than the newest seen, which it then becomes."""
        before, read_at = self._seen.get(key, (0, 0.0))
        if clock < before:
            return False
        now = time.time()
        if clock > before and read_at < changed_at and now - read_at < WATCHED_SECONDS:
            PROPAGATION_SECONDS.observe(max(0.0, now - changed_at))
        self._seen[key] = (clock, now)
        self._seen.move_to_end(key)
        if len(self._seen) > MAX_SEEN:
            self._seen.popitem(last=False)
        return True


class _User(NamedTuple):
    """Whose set: a user's in a project, or without either a default."""

    org_id: str
    project_id: str
    user_id: str


class _Wanted(NamedTuple):
    """Which version of a resource, None the latest."""

    org_id: str
    kind: Kind
    id: str
    version: int | None


class ActiveSets:
    """Which set applies to a user in a project."""

    def __init__(self, cache: Resp, requester: Requester) -> None:
        self._cache = cache
        self._requester = requester
        self._refresh: Refresh[list[bytes]] = Refresh("set")
        self._seen = _Seen()

    async def resolve(
        self, org_id: str, project_id: str, user_id: str = "", *, wait: float = FILL_SECONDS
    ) -> Resolved | None:
        """The set that applies, None where no layer has one. `wait` bounds a read of what is not cached (seconds).

        Raises BusUnavailableError while the cache is away, or what is not in it cannot be had; BrokenSetError.
        """
        with labelled(RESOLVE_SECONDS, "set").time():
            user = _User(org_id, project_id, user_id)
            keys = scope_keys(*user)
            look = self._look(keys, await _read(self._cache, "MGET", *keys))
            stale = False
            if look is None:
                _count("set", "miss")
                look = await self._fill(keys, user, wait)
            elif look.fresh:
                _count("set", "hit")
            else:
                look, stale = await self._refreshed(look, keys, user)
            return _chosen(look, user, stale=stale)

    def failing(self, org_id: str) -> bool:
        """Whether the service did not answer the last query about an organisation."""
        return self._refresh.failing(org_id)

    async def close(self) -> None:
        """End the queries in flight."""
        await self._refresh.close()

    def _look(self, keys: Sequence[str], values: Sequence[bytes | None]) -> _Look | None:
        """What the scopes hold; None where one that matters is unknown."""
        now, fresh = time.time(), True
        for key, value, layer in zip(keys, values, LAYERS[-len(keys) :], strict=True):
            if value is None:
                return None
            entry = Entry.unpack(value)
            if not self._seen.passes(key, entry.clock, entry.changed_at):
                return None
            fresh = fresh and now < entry.fresh_until
            if not entry.empty:
                return _Look(entry, layer, fresh)
        return _Look(None, LAYERS[-1], fresh)

    async def _fill(self, keys: Sequence[str], user: _User, wait: float) -> _Look:
        until = time.monotonic() + wait
        for _ in range(FILL_TRIES):
            left = max(0.0, until - time.monotonic())
            values = await self._refresh.get(user, user.org_id, partial(self._ask, user), left)
            if values is None:
                break
            look = self._look(keys, values)
            if look is not None:
                return look
        raise BusUnavailableError("the active set cannot be read at the moment: nobody answers for what is not cached")

    async def _refreshed(self, look: _Look, keys: Sequence[str], user: _User) -> tuple[_Look, bool]:
        """What the scopes hold now, or the stale `look` where the service does not answer."""
        values = None
        if self._refresh.failing(user.org_id):
            self._refresh.retry(user, user.org_id, partial(self._ask, user))
        else:
            values = await self._refresh.get(user, user.org_id, partial(self._ask, user), STALE_WAIT_SECONDS)
        refreshed = None if values is None else self._look(keys, values)
        _count("set", "stale" if refreshed is None else "miss")
        return refreshed or look, refreshed is None

    async def _ask(self, user: _User) -> list[bytes] | None:
        """The entries of the scopes as they are in the cache now, in the order of their keys."""
        query = ActiveResolveRequested(key_id="", **user._asdict())
        try:
            reply = await self._requester.ask(ACTIVE_RESOLVE_REQUESTED, query, timeout=FILL_SECONDS)
        except Refused:
            return None
        return [entry.encode() for entry in reply.body.entries]


class Versions:
    """Single versions of resources."""

    def __init__(self, cache: Resp, requester: Requester) -> None:
        self._cache = cache
        self._requester = requester
        self._refresh: Refresh[Found] = Refresh("version", failed=lambda found: found.status >= 500)

    async def get(
        self, org_id: str, kind: Kind, id: str, version: int | None = None, *, wait: float = FILL_SECONDS
    ) -> Found:
        """One version, None the latest; what there is not is a `Found` with its error and status.

        So is what the service refuses or cannot say (any other status), where nothing is cached to go on with.
        Raises BusUnavailableError while the cache is away, or nobody answers for what is not in it.
        """
        with labelled(RESOLVE_SECONDS, "version").time():
            wanted = _Wanted(org_id, kind, id, version)
            cached, _ = await self._cached(wanted)
            if cached is not None and time.time() < cached.fresh_until:
                _count("version", "hit")
                return Found(cached.status, cached.body, stale=False)
            return await self._fill(cached, wanted, wait)

    async def close(self) -> None:
        """End the queries in flight."""
        await self._refresh.close()

    async def _cached(self, wanted: _Wanted) -> tuple[Version | None, int]:
        """The version, and the clock of the last change that its resource had."""
        key = version_key(wanted.org_id, wanted.kind, wanted.id)
        value, floor = await _read(self._cache, "HMGET", key, version_field(wanted.version), FLOOR)
        return None if value is None else Version.unpack(value), int(floor or 0)

    async def _fill(self, cached: Version | None, wanted: _Wanted, wait: float) -> Found:
        org_id, query = wanted.org_id, partial(self._ask, wanted)
        until = time.monotonic() + (wait if cached is None else STALE_WAIT_SECONDS)
        if cached is not None and self._refresh.failing(org_id):
            self._refresh.retry(wanted, org_id, query)
            return _stale(cached)
        for _ in range(FILL_TRIES):
            found = await self._refresh.get(wanted, org_id, query, max(0.0, until - time.monotonic()))
            if found is None:
                break
            if found.status not in (200, 404):
                if cached is None:
                    return found
                break
            current = await self._current(found, wanted)
            if current is not None:
                _count("version", "miss")
                return current
        if cached is None:
            message = f"the {wanted.kind} cannot be read at the moment: nobody answers for what is not cached"
            raise BusUnavailableError(message)
        return _stale(cached)

    async def _current(self, found: Found, wanted: _Wanted) -> Found | None:
        """An answer, or what is cached since; None for one that a change of the resource overtook on its way.

        The cache need not have taken it: a full one takes nothing.
        """
        taken, floor = await self._cached(wanted)
        if taken is not None and taken.clock >= found.clock and time.time() < taken.fresh_until:
            return Found(taken.status, taken.body, stale=False)
        return found if found.clock >= floor else None

    async def _ask(self, wanted: _Wanted) -> Found:
        query = ResourceGetRequested(key_id="", user_id="", **wanted._asdict())
        try:
            reply = await self._requester.ask(RESOURCE_GET_REQUESTED, query, timeout=FILL_SECONDS)
        except Refused as refused:
            return _found(refused.status, refused.body(), refused.headers)
        return _found(reply.status, content(reply.body), reply.headers)


def _stale(cached: Version) -> Found:
    _count("version", "stale")
    return Found(cached.status, cached.body, stale=True)


def _found(status: int, body: Any, headers: Mapping[str, str]) -> Found:
    own = dict(headers)
    clock = int(own.pop(CLOCK_HEADER, 0))
    return Found(status, orjson.dumps(body), stale=False, headers=own, clock=clock)


def _chosen(look: _Look, user: _User, *, stale: bool) -> Resolved | None:
    """The current set of the scope, or its candidate for users whom the rollout has reached."""
    entry = look.entry
    if entry is None:
        return None
    tag = etag(entry.revision, entry.candidate_revision, entry.percent)
    # A candidate that cannot be served reaches nobody, and a current set that cannot is no concern of who is reached.
    if entry.candidate and in_candidate(*user, entry.percent):
        return Resolved(look.layer, entry.candidate_revision or 0, True, stale, entry.clock, entry.candidate, tag)
    if entry.problem is not None:
        raise BrokenSetError(entry.problem)
    return Resolved(look.layer, entry.revision or 0, False, stale, entry.clock, entry.current, tag)


def _count(kind: str, outcome: str) -> None:
    labelled(CACHE_READS, kind, outcome).inc()


async def _read(cache: Resp, *command: str) -> Any:
    try:
        return await cache.execute(*command)
    except UNAVAILABLE as error:
        raise BusUnavailableError(f"the cache does not answer: {error}") from error


@dataclass(frozen=True, slots=True)
class ResourceClient:
    """What a process that reads resources holds."""

    sets: ActiveSets
    versions: Versions


@asynccontextmanager
async def open_resource_client(redis_url: str, requester: Requester) -> AsyncIterator[ResourceClient]:
    """Active sets and versions over one connection of their own, opened by the first read."""
    cache = Resp(redis_url, timeout=CACHE_SECONDS)
    client = ResourceClient(ActiveSets(cache, requester), Versions(cache, requester))
    try:
        yield client
    finally:
        await client.sets.close()
        await client.versions.close()
        cache.close()
