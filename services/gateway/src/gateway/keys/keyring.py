"""API keys: issued once, stored as a digest, checked from a short cache, revoked everywhere at once."""

import asyncio
import hashlib
import hmac
import os
import re
import secrets
import string
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from aiohttp import web

from common.bus.port import BusUnavailableError
from common.kernel.tasks import Tasks
from gateway.http import errors
from gateway.metrics import KEY_LOOKUPS, KEYS_REFUSED
from gateway.ports import Caller, KeyLimits, KeyRecord, KeyStore, Scope, StoreUnavailableError

log = structlog.get_logger(__name__)

# The operator's own organisation: its admins manage the keys of all.
OPERATOR = "default"
KEY_ID = re.compile(r"[A-Za-z0-9]{12}")
KEY_PATTERN = re.compile(rf"sk-sonant-({KEY_ID.pattern})-[A-Za-z0-9_-]{{43}}")
KEY_ID_CHARS = string.ascii_letters + string.digits
KEY_ID_LENGTH = 12
SECRET_BYTES = 32  # 43 characters in URL-safe base64

# A revocation is announced at once; this bounds the delay where the announcement was lost.
FRESH_SECONDS = 10.0
# An unknown key is asked about once in this time, so that a misconfigured client does not become a database load.
UNKNOWN_SECONDS = 3.0
# While the database is away, what was known keeps working this long.
STALE_SECONDS = 300.0
# While the database is away, it is asked again this often for a key.
AWAY_SECONDS = 2.0
# No request waits longer than this for a key to be looked up.
LOOKUP_SECONDS = 2.0
CACHED_KEYS = 10_000
# Coarse on purpose: one statement a minute instead of one a request.
NOTE_SECONDS = 60.0

Announce = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key: the only moment its text is known."""

    record: KeyRecord
    key: str


@dataclass(slots=True)
class _Entry:
    """What is known of a key id, until when it is trusted, and when it was read (monotonic seconds)."""

    record: KeyRecord | None
    fresh_until: float
    read_at: float


class Keys:
    """Issues, checks and ends keys.

    `announce` tells every process (this one included) that a key has changed; each answers with `evict`.
    """

    def __init__(self, store: KeyStore, announce: Announce) -> None:
        self._store = store
        self._announce = announce
        # Apart, so that a flood of invented ids pushes no real key out.
        self._known: OrderedDict[str, _Entry] = OrderedDict()
        self._unknown: OrderedDict[str, _Entry] = OrderedDict()
        self._loading: dict[str, asyncio.Task[_Entry | None]] = {}
        self._used: dict[str, datetime] = {}

    async def identify(self, request: web.Request) -> Caller:
        """The caller of a request, by `Authorization: Bearer` or `x-api-key`; raises as `authenticate`."""
        return await self.authenticate(bearer(request))

    async def authenticate(self, key: str) -> Caller:
        """The caller a key stands for. Raises ApiError 401, or 503 when it cannot be looked up now."""
        named = KEY_PATTERN.fullmatch(key)
        entry = await self._entry(named[1]) if named else None
        record = entry.record if entry else None
        if record is None or not hmac.compare_digest(record.digest, digest(key)):
            raise refused("Incorrect API key provided.")
        now = datetime.now(UTC)
        if not record.live(now):
            raise refused("This API key was revoked." if record.revoked_at else "This API key has expired.")
        self._used[record.id] = now
        return record.caller()

    async def _entry(self, key_id: str) -> _Entry:
        entry = self._known.get(key_id) or self._unknown.get(key_id)
        if entry is not None and time.monotonic() < entry.fresh_until:
            return entry
        return await self._load(key_id) or self._stale(key_id)

    async def _load(self, key_id: str) -> _Entry | None:
        """What the store says, asked once however many wait; None while it is away."""
        loading = self._loading.get(key_id)
        if loading is None:
            loading = self._loading[key_id] = asyncio.create_task(self._ask(key_id), name="key-lookup")
        # Shielded: the one who leaves first must not end it for the others.
        return await asyncio.shield(loading)

    async def _ask(self, key_id: str) -> _Entry | None:
        me = asyncio.current_task()
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                record = await self._store.get(key_id)
        except (StoreUnavailableError, TimeoutError) as error:
            KEY_LOOKUPS.labels("unavailable").inc()
            log.warning("key lookup failed", error=str(error) or "timed out")
            return None
        else:
            KEY_LOOKUPS.labels("found" if record else "unknown").inc()
            now = time.monotonic()
            entry = _Entry(record, now + (FRESH_SECONDS if record else UNKNOWN_SECONDS), now)
            # Evicted meanwhile: what was read may be older than the change.
            if self._loading.get(key_id) is me:
                self._remember(key_id, entry)
            return entry
        finally:
            if self._loading.get(key_id) is me:
                del self._loading[key_id]

    def _remember(self, key_id: str, entry: _Entry) -> None:
        keep, drop = (self._known, self._unknown) if entry.record else (self._unknown, self._known)
        drop.pop(key_id, None)
        keep[key_id] = entry
        keep.move_to_end(key_id)
        if len(keep) > CACHED_KEYS:
            keep.popitem(last=False)

    def _stale(self, key_id: str) -> _Entry:
        entry, now = self._known.get(key_id), time.monotonic()
        if entry is None or now > entry.read_at + STALE_SECONDS:
            raise errors.unavailable("API keys cannot be checked right now.")
        KEY_LOOKUPS.labels("stale").inc()
        entry.fresh_until = now + AWAY_SECONDS
        return entry

    def evict(self, key_id: str) -> None:
        """Forget what is cached of a key: it was revoked or changed."""
        self._known.pop(key_id, None)
        self._loading.pop(key_id, None)

    async def create(
        self,
        name: str,
        org_id: str,
        scopes: frozenset[str],
        limits: KeyLimits | None = None,
        expires_in: float | None = None,
    ) -> IssuedKey:
        """Issue a key; `expires_in` is in seconds."""
        now = datetime.now(UTC)
        lifetime = None if expires_in is None else timedelta(seconds=expires_in)
        issued = issue(name, org_id, scopes, limits or KeyLimits(), now, lifetime)
        await self._store.add(issued.record)
        return issued

    async def list(self, org_id: str | None, limit: int, after: str | None = None) -> tuple[Sequence[KeyRecord], bool]:
        """A page of keys, newest first, and whether there are more. `org_id` None: of all organisations.

        Raises ApiError 404 when `after` is not one of these keys.
        """
        if after is not None and await self._find(after, org_id) is None:
            raise no_such_key(after, "after")
        found = await self._store.page(org_id, limit + 1, after)
        return found[:limit], len(found) > limit

    async def revoke(self, key_id: str, org_id: str | None = None) -> KeyRecord:
        """End a key at once in every process. Raises ApiError 404 when there is none (in `org_id`, where given)."""
        if await self._find(key_id, org_id) is None:
            raise no_such_key(key_id)
        record = await self._store.revoke(key_id, datetime.now(UTC))
        if record is None:
            raise no_such_key(key_id)
        await self._tell(key_id)
        return record

    async def rotate(self, key_id: str, overlap: float, org_id: str | None = None) -> IssuedKey:
        """A new key with the same rights and lifetime; the old one ends `overlap` seconds from now at the latest.

        Raises ApiError 404 as `revoke`, 409 when the old key has ended or was rotated already.
        """
        old = await self._find(key_id, org_id)
        if old is None:
            raise no_such_key(key_id)
        now = datetime.now(UTC)
        lifetime = None if old.expires_at is None else old.expires_at - old.created_at
        issued = issue(old.name, old.org_id, old.scopes, old.limits, now, lifetime)
        if not await self._store.replace(key_id, issued.record, now + timedelta(seconds=overlap)):
            raise errors.conflict("This API key has ended or was rotated already.", "key_not_active")
        await self._tell(key_id)
        return issued

    async def _find(self, key_id: str, org_id: str | None) -> KeyRecord | None:
        record = await self._store.get(key_id) if KEY_ID.fullmatch(key_id) else None
        return record if record and org_id in (None, record.org_id) else None

    async def _tell(self, key_id: str) -> None:
        self.evict(key_id)
        try:
            await self._announce(key_id)
        except BusUnavailableError as error:
            # Stored all the same: the others learn of it when their copy is no longer fresh.
            log.warning("key change not announced", key=key_id, error=str(error))

    async def ensure_admin(self, file: Path) -> None:
        """See to it that the operator has an admin key: a new one goes to `file` if that holds none or none is live."""
        issued = issue("first admin", OPERATOR, frozenset(Scope), KeyLimits(), datetime.now(UTC), None)

        def wanted(live: bool) -> bool:
            if live and holds_key(file):
                return False
            # Before it is stored: a key that nobody was told of must not live.
            write_private(file, issued.key + "\n")
            return True

        if await self._store.add_admin(issued.record, wanted):
            log.info("admin key written", file=str(file))

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
        for loading in list(self._loading.values()):
            loading.cancel()
        await self.flush()


@asynccontextmanager
async def keeper(store: KeyStore, announce: Announce, tasks: Tasks) -> AsyncIterator[Keys]:
    """Keys with their bookkeeping running."""
    keys = Keys(store, announce)
    noting = tasks.spawn(keys.note_use(), "keys-last-used")
    try:
        yield keys
    finally:
        noting.cancel()
        await keys.close()


def bearer(request: web.Request) -> str:
    """The API key a request carries; raises ApiError 401."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    if key := request.headers.get("x-api-key", "").strip():
        return key
    raise refused("No API key provided: send it as 'Authorization: Bearer YOUR_KEY' or 'x-api-key: YOUR_KEY'.")


def refused(message: str) -> errors.ApiError:
    """401, counted."""
    KEYS_REFUSED.inc()
    return errors.unauthorized(message)


def no_such_key(key_id: str, param: str = "key_id") -> errors.ApiError:
    """404 for a key that is not there, or not for this caller."""
    return errors.not_found(f"There is no API key '{key_id}'.", param, "key_not_found")


def digest(key: str) -> bytes:
    """What is stored of a key.

    A fast hash is right here: the secret has 256 random bits, so there is no dictionary to try, and a slow
    hash would only slow down every request.
    """
    return hashlib.sha256(key.encode()).digest()


def issue(
    name: str, org_id: str, scopes: frozenset[str], limits: KeyLimits, now: datetime, lifetime: timedelta | None
) -> IssuedKey:
    """A new key, not stored yet."""
    key_id = "".join(secrets.choice(KEY_ID_CHARS) for _ in range(KEY_ID_LENGTH))
    key = f"sk-sonant-{key_id}-{secrets.token_urlsafe(SECRET_BYTES)}"
    expires_at = None if lifetime is None else now + lifetime
    return IssuedKey(KeyRecord(key_id, digest(key), name, org_id, scopes, limits, now, expires_at), key)


def holds_key(file: Path) -> bool:
    """Whether the file is there and holds the text of a key."""
    return file.exists() and KEY_PATTERN.fullmatch(file.read_text().strip()) is not None


def write_private(file: Path, text: str) -> None:
    """Write a file only its owner can read, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(opened.fileno())
    draft.replace(file)
