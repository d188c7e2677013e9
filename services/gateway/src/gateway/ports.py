"""Who calls, and what the gateway needs of the outside: the types that use cases and adapters share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from aiohttp import web


class Scope(StrEnum):
    """What a key may be used for."""

    CHAT = "chat"
    RESOURCES = "resources"
    MEDIA = "media"
    INGEST = "ingest"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """Limits of one key; None is no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_streams: int | None = None

    @property
    def any(self) -> bool:
        """Whether there is anything to enforce."""
        return (self.requests_per_minute, self.tokens_per_minute, self.concurrent_streams) != (None, None, None)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request: the organisation and the key, with what the key allows."""

    org_id: str
    key_id: str
    scopes: frozenset[str]
    limits: KeyLimits = KeyLimits()


# `request[CALLER]` is there on every route that asks for a scope; `request[REQUEST_ID]` on every request, for
# correlation only: callers may send their own and repeat it.
CALLER: web.RequestKey[Caller] = web.RequestKey("caller", Caller)
REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id", str)
# Which answer a request led to, told with every answer and every error it ends in.
COMPLETION: web.RequestKey[str] = web.RequestKey("completion", str)
COMPLETION_HEADER = "x-sonant-completion-id"


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """An API key as it is stored: everything but the key itself. Times are aware, in UTC."""

    id: str
    digest: bytes
    name: str
    org_id: str
    scopes: frozenset[str]
    limits: KeyLimits
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None

    def live(self, now: datetime) -> bool:
        """Whether the key opens anything at `now`."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def caller(self) -> Caller:
        """The one who calls with this key."""
        return Caller(self.org_id, self.id, self.scopes, self.limits)


class KeyStore(Protocol):
    """Where keys are kept. Every method raises `StoreUnavailableError` while the store does not answer."""

    async def get(self, key_id: str) -> KeyRecord | None:
        """The key of this id, live or not."""

    async def add(self, record: KeyRecord) -> None:
        """Store a key, and its organisation if that is new."""

    async def page(self, org_id: str | None, limit: int, after: str | None) -> Sequence[KeyRecord]:
        """Up to `limit` keys of the organisation (None: of all), newest first, behind the key `after`."""

    async def revoke(self, key_id: str, at: datetime) -> KeyRecord | None:
        """End a key at `at`, unless it was revoked before; None if there is none."""

    async def replace(self, old_id: str, new: KeyRecord, old_expires_at: datetime) -> bool:
        """Store `new` and end the old key at the given time or earlier; neither, and False, if that is not live
        or was replaced before.
        """

    async def add_admin(self, record: KeyRecord, wanted: Callable[[bool], bool]) -> bool:
        """Store a key if `wanted`, told whether its organisation has a live one with the scope `admin`; whether it did.

        Processes that start together take turns, so that each is told of what those before it stored.
        """

    async def touch(self, used: Mapping[str, datetime]) -> None:
        """Note when keys were last used."""


class StoreUnavailableError(Exception):
    """The store behind a port does not answer; the same call may work in a moment."""
