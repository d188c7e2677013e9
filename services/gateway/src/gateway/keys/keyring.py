"""API keys in use: checked at every request, issued, replaced, and revoked everywhere at once."""

import asyncio
import hmac
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import structlog
from aiohttp import web

from common.bus.port import BusUnavailableError
from common.failures import Refused, StoreUnavailableError
from common.kernel.tasks import Tasks
from gateway.http import errors
from gateway.keys.api_key import KEY_ID, KEY_PATTERN, IssuedKey, digest, issue
from gateway.keys.known_keys import KnownKeys
from gateway.metrics import KEYS_REFUSED
from gateway.ports import Caller, KeyLimits, KeyRecord, KeyStore

log = structlog.get_logger(__name__)

# Coarse on purpose: one statement a minute instead of one a request.
NOTE_SECONDS = 60.0

# How often the database is asked which keys changed: an announcement that was lost is made up for within a second.
CHANGES_SECONDS = 0.5
# How far each look reaches back behind the one before: a change is stamped before it is committed.
OVERLAP_SECONDS = 5.0
# A look that hangs is given up, and the next one reaches back further.
LOOK_SECONDS = 2.0

Announce = Callable[[str], Awaitable[None]]


class Keys:
    """Issues, checks and ends keys.

    `announce` lets every process (this one included) know that a key has changed; each then calls `changed`.
    """

    def __init__(self, store: KeyStore, announce: Announce) -> None:
        self._store = store
        self._announce = announce
        self._known = KnownKeys(store)
        self._used: dict[str, datetime] = {}
        self._listeners: list[Callable[[str], None]] = []

    async def identify(self, request: web.Request) -> Caller:
        """The caller of a request, by `Authorization: Bearer` or `x-api-key`; raises as `authenticate`."""
        return await self.authenticate(bearer(request))

    async def authenticate(self, key: str) -> Caller:
        """The caller a key stands for. Raises Refused 401, or 503 when it cannot be looked up now."""
        named = KEY_PATTERN.fullmatch(key)
        record = await self._known.get(named[1]) if named else None
        if record is None or not hmac.compare_digest(record.digest, digest(key)):
            raise refused("Incorrect API key provided.")
        now = datetime.now(UTC)
        if not record.live(now):
            raise refused("This API key was revoked." if record.revoked_at else "This API key has expired.")
        self._used[record.id] = now
        return record.caller()

    def evict(self, key_id: str) -> None:
        """Forget what is cached of a key: it was revoked or changed."""
        self._known.evict(key_id)

    def on_change(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with the id of every key that changes from now on; with some more than once."""
        self._listeners.append(listener)

    def changed(self, key_id: str) -> None:
        """A key was revoked or replaced, here or elsewhere."""
        self.evict(key_id)
        for listener in self._listeners:
            listener(key_id)

    async def live(self, key_id: str) -> bool:
        """Whether the key of this id works now; raises Refused 503 while that is not known."""
        record = await self._known.get(key_id)
        return record is not None and record.live(datetime.now(UTC))

    async def watch_changes(self) -> None:
        """Learn of changes whose announcement was lost: one indexed look at the database, twice a second."""
        looked = time.monotonic()
        while True:
            await asyncio.sleep(CHANGES_SECONDS)
            started = time.monotonic()
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    changed = await self._store.changed(started - looked + OVERLAP_SECONDS)
            except (StoreUnavailableError, TimeoutError):
                continue
            looked = started
            for key_id in changed:
                self.changed(key_id)

    async def create(
        self,
        name: str,
        org_id: str,
        scopes: frozenset[str],
        limits: KeyLimits | None = None,
        expires_in: float | None = None,
        *,
        made_by: bytes | None = None,
    ) -> IssuedKey:
        """Issue a key; `expires_in` is in seconds.

        `made_by` names the request: raises Refused 409 where that made a key before, even if nobody got to see it.
        """
        now = datetime.now(UTC)
        lifetime = None if expires_in is None else timedelta(seconds=expires_in)
        issued = issue(name, org_id, scopes, limits or KeyLimits(), now, lifetime)
        _made_now(issued, await self._store.add(issued.record, made_by))
        return issued

    async def list(self, org_id: str | None, limit: int, after: str | None = None) -> tuple[Sequence[KeyRecord], bool]:
        """A page of keys, newest first, and whether there are more. `org_id` None: of all organisations.

        Raises Refused 404 when `after` is not one of these keys.
        """
        if after is not None and await self._find(after, org_id) is None:
            raise no_such_key(after, "after")
        found = await self._store.page(org_id, limit + 1, after)
        return found[:limit], len(found) > limit

    async def revoke(self, key_id: str, org_id: str | None = None) -> KeyRecord:
        """End a key at once in every process. Raises Refused 404 when there is none (in `org_id`, where given)."""
        if await self._find(key_id, org_id) is None:
            raise no_such_key(key_id)
        record = await self._store.revoke(key_id, datetime.now(UTC))
        if record is None:
            raise no_such_key(key_id)
        await self._announce_change(key_id)
        return record

    async def rotate(
        self, key_id: str, overlap: float, org_id: str | None = None, *, made_by: bytes | None = None
    ) -> IssuedKey:
        """A new key with the same rights and lifetime; the old one ends `overlap` seconds from now at the latest.

        Raises Refused 404 as `revoke`, 409 when the old key has ended or was rotated already, and as `create`.
        """
        old = await self._find(key_id, org_id)
        if old is None:
            raise no_such_key(key_id)
        now = datetime.now(UTC)
        lifetime = None if old.expires_at is None else old.expires_at - old.created_at
        # It goes on with the budget of the old one: a rotation is no gift.
        budget_id = old.budget_id or old.id
        issued = issue(old.name, old.org_id, old.scopes, old.limits, now, lifetime, budget_id=budget_id)
        made = await self._store.replace(key_id, issued.record, now + timedelta(seconds=overlap), made_by)
        if made is None:
            raise errors.conflict("This API key has ended or was rotated already.", "key_not_active")
        _made_now(issued, made)
        await self._announce_change(key_id)
        return issued

    async def find(self, key_id: str, org_id: str | None = None) -> KeyRecord:
        """The key of this id. Raises Refused 404 when there is none (in `org_id`, where given)."""
        record = await self._find(key_id, org_id)
        if record is None:
            raise no_such_key(key_id)
        return record

    async def _find(self, key_id: str, org_id: str | None) -> KeyRecord | None:
        record = await self._store.get(key_id) if KEY_ID.fullmatch(key_id) else None
        return record if record and org_id in (None, record.org_id) else None

    async def _announce_change(self, key_id: str) -> None:
        self.changed(key_id)
        try:
            await self._announce(key_id)
        except BusUnavailableError as error:
            # Stored all the same: the others learn of it when they next look for changes.
            log.warning("key change not announced", key=key_id, error=str(error))

    async def note_use(self) -> None:
        """Write down for good, every minute, when keys were last used."""
        while True:
            await asyncio.sleep(NOTE_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Write down now when keys were last used; what cannot be written is kept for the next time."""
        used, self._used = self._used, {}
        if not used:
            return
        try:
            await self._store.touch(used)
        except StoreUnavailableError:
            self._used = {**used, **self._used}

    async def close(self) -> None:
        """End lookups under way and write down what is left to write."""
        await self._known.close()
        await self.flush()


@asynccontextmanager
async def keeper(store: KeyStore, announce: Announce, tasks: Tasks) -> AsyncIterator[Keys]:
    """Keys with their bookkeeping running."""
    keys = Keys(store, announce)
    chores = [tasks.spawn(keys.note_use(), "keys-last-used"), tasks.spawn(keys.watch_changes(), "keys-changed")]
    try:
        yield keys
    finally:
        for chore in chores:
            chore.cancel()
        await keys.close()


def already_created(key_id: str) -> Refused:
    """409: this request made a key before."""
    message = f"This request created the API key '{key_id}' before; its text was shown then."
    return errors.conflict(message, "already_created")


def _made_now(issued: IssuedKey, made: str) -> None:
    if made != issued.record.id:
        raise already_created(made)


def bearer(request: web.Request) -> str:
    """The API key a request carries; raises Refused 401."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    if key := request.headers.get("x-api-key", "").strip():
        return key
    raise refused("No API key provided: send it as 'Authorization: Bearer YOUR_KEY' or 'x-api-key: YOUR_KEY'.")


def refused(message: str) -> Refused:
    """401, counted."""
    KEYS_REFUSED.inc()
    return errors.unauthorized(message)


def no_such_key(key_id: str, param: str = "key_id") -> Refused:
    """404 for a key that is not there, or not for this caller."""
    return errors.not_found(f"There is no API key '{key_id}'.", param, "key_not_found")
