"""What this process knows of API keys: a short cache before the store, and while that is away."""

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass

import structlog

from common.failures import StoreUnavailableError
from common.kernel.single_flight import SingleFlight
from gateway.http.errors import unavailable
from gateway.metrics import KEY_LOOKUPS
from gateway.ports import KeyRecord, KeyStore

log = structlog.get_logger(__name__)

# A revocation is announced at once, and every process looks for changes twice a second besides.
FRESH_SECONDS = 10.0
# A key in use is looked up again so long before that, and nobody waits for it.
AHEAD_SECONDS = 2.0
# An unknown key is looked up once in this time, so that a misconfigured client does not become a database load.
UNKNOWN_SECONDS = 3.0
# While the database is away, what was known keeps working this long.
STALE_SECONDS = 300.0
# While the database is away, a key is looked up again this often.
AWAY_SECONDS = 2.0
# No request waits longer than this for a key to be looked up.
LOOKUP_SECONDS = 2.0
CACHED_KEYS = 10_000
# Ids that were never seen may be invented: so many are looked up at a time, and connections are left for keys in use.
STRANGERS_AT_ONCE = 2


@dataclass(slots=True)
class Entry:
    """What is known of a key id, until when it is trusted, and when it was read (monotonic seconds).

    Who asks after `due_at` has it looked up again, without waiting for that.
    """

    record: KeyRecord | None
    fresh_until: float
    read_at: float
    due_at: float


class KnownKeys:
    """Looks keys up by id, each once however many wait."""

    def __init__(self, store: KeyStore) -> None:
        self._store = store
        # Apart, so that a flood of invented ids pushes no real key out.
        self._known: OrderedDict[str, Entry] = OrderedDict()
        self._unknown: OrderedDict[str, Entry] = OrderedDict()
        self._lookups: SingleFlight[str, Entry | None] = SingleFlight("key-lookup")
        self._strangers = asyncio.Semaphore(STRANGERS_AT_ONCE)

    async def get(self, key_id: str) -> KeyRecord | None:
        """The key of this id, live or not. Raises Refused 503 while that is not known."""
        entry = self._known.get(key_id) or self._unknown.get(key_id)
        now = time.monotonic()
        if entry is None or now >= entry.fresh_until:
            entry = await self._lookups.run(key_id, lambda: self._look_up(key_id)) or self._stale(key_id)
        elif now >= entry.due_at:
            # Once: where the store is away, whoever comes behind `fresh_until` finds out.
            entry.due_at = entry.fresh_until
            self._lookups.begin(key_id, lambda: self._look_up(key_id))
        return entry.record

    async def _look_up(self, key_id: str) -> Entry | None:
        """What the store says; None while it is away."""
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                record = await self._asked(key_id)
        except (StoreUnavailableError, TimeoutError) as error:
            KEY_LOOKUPS.labels("unavailable").inc()
            log.warning("key lookup failed", error=str(error) or "timed out")
            return None
        KEY_LOOKUPS.labels("found" if record else "unknown").inc()
        now = time.monotonic()
        fresh_until = now + (FRESH_SECONDS if record else UNKNOWN_SECONDS)
        entry = Entry(record, fresh_until, now, fresh_until - AHEAD_SECONDS if record else fresh_until)
        # Evicted meanwhile: what was read may be older than the change.
        if self._lookups.current(key_id):
            self._remember(key_id, entry)
        return entry

    async def _asked(self, key_id: str) -> KeyRecord | None:
        if key_id in self._known:
            return await self._store.get(key_id)
        async with self._strangers:
            return await self._store.get(key_id)

    def _remember(self, key_id: str, entry: Entry) -> None:
        keep, drop = (self._known, self._unknown) if entry.record else (self._unknown, self._known)
        drop.pop(key_id, None)
        keep[key_id] = entry
        keep.move_to_end(key_id)
        if len(keep) > CACHED_KEYS:
            keep.popitem(last=False)

    def _stale(self, key_id: str) -> Entry:
        entry, now = self._known.get(key_id), time.monotonic()
        if entry is None or now > entry.read_at + STALE_SECONDS:
            raise unavailable("API keys cannot be checked right now.")
        KEY_LOOKUPS.labels("stale").inc()
        entry.fresh_until = entry.due_at = now + AWAY_SECONDS
        return entry

    def evict(self, key_id: str) -> None:
        """Forget what is cached of a key: it was revoked or changed."""
        self._known.pop(key_id, None)
        self._lookups.forget(key_id)

    async def close(self) -> None:
        """End the lookups under way."""
        await self._lookups.close()
