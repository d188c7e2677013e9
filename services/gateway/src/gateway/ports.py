"""Who calls, and what the gateway needs of the outside: the types that use cases and adapters share.

Every method of a store raises `StoreUnavailableError` while the store does not answer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum
from typing import Literal, Protocol

from common.bus.live.frames import Frame
from common.events.keys import KeyBudget
from common.jobs.glance import Glance

# When a slot for an answer becomes free cannot be foreseen: the wait to name where there is none.
SLOT_RETRY_MS = 1_000


class Scope(StrEnum):
    """What a key may be used for."""

    CHAT = "chat"
    RESOURCES = "resources"
    MEDIA = "media"
    INGEST = "ingest"
    ADMIN = "admin"


class Work(StrEnum):
    """Kinds of work that routes have others do."""

    ANSWER = "answer"
    DRAFT = "draft"
    WRITE = "write"
    INGEST = "ingest"
    READ = "read"
    UPLOAD = "upload"
    DELIVERY = "delivery"


@dataclass(frozen=True, slots=True)
class BudgetLimits:
    """What a key may spend in a day or a month of UTC: tokens, USD, or both."""

    period: Literal["day", "month"]
    tokens: int | None = None
    usd: float | None = None


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """Limits of one key; None is no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_streams: int | None = None
    budget: BudgetLimits | None = None

    @property
    def any(self) -> bool:
        """Whether there is anything to enforce within the minute. A budget is enforced by whoever spends it."""
        return (self.requests_per_minute, self.tokens_per_minute, self.concurrent_streams) != (None, None, None)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request: the organisation and the key, with what the key allows."""

    org_id: str
    key_id: str
    scopes: frozenset[str]
    limits: KeyLimits = KeyLimits()
    budget: KeyBudget | None = None


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """An API key as it is stored: everything but the key itself. Times are aware, in UTC.

    What it spends is counted under `budget_id`: that of the first key in a row of replacements, None for its own id.
    """

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
    budget_id: str | None = None

    @property
    def budget(self) -> KeyBudget | None:
        """What it may spend, as it travels."""
        limit = self.limits.budget
        if limit is None:
            return None
        return KeyBudget(id=self.budget_id or self.id, period=limit.period, tokens=limit.tokens, usd=limit.usd)

    def live(self, now: datetime) -> bool:
        """Whether the key opens anything at `now`."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def caller(self) -> Caller:
        """The one who calls with this key."""
        return Caller(self.org_id, self.id, self.scopes, self.limits, self.budget)


class KeyStore(Protocol):
    """Where keys are kept."""

    async def get(self, key_id: str) -> KeyRecord | None:
        """The key of this id, live or not."""

    async def add(self, record: KeyRecord, made_by: bytes | None = None) -> str:
        """Store a key, and its organisation if that is new; returns its id.

        `made_by` names the request that wants it: where it made a key within the last day, that key's id is returned
        and nothing stored.
        """

    async def changed(self, seconds: float) -> Sequence[str]:
        """The ids of keys that were revoked or replaced within so many seconds."""

    async def page(self, org_id: str | None, limit: int, after: str | None) -> Sequence[KeyRecord]:
        """Up to `limit` keys of the organisation (None: of all), newest first, behind the key `after`."""

    async def revoke(self, key_id: str, at: datetime) -> KeyRecord | None:
        """End a key at `at`, unless it was revoked before; None if there is none."""

    async def replace(
        self, old_id: str, new: KeyRecord, old_expires_at: datetime, made_by: bytes | None = None
    ) -> str | None:
        """Store `new` and end the old key at the given time or earlier; neither, and None, if that is not live
        or was replaced before. Returns the id of the key that is there now, as `add` does.
        """

    async def add_first_admin(self, record: KeyRecord, hand_over: Callable[[], None]) -> bool:
        """Hand a key over and store it, unless that was done before in the life of this store; whether it did.

        Processes that start together take turns, so that each sees what those before it stored.
        """

    async def touch(self, used: Mapping[str, datetime]) -> None:
        """Note when keys were last used."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A token bucket after a decision: what is left, and milliseconds until there is enough and until it is full."""

    wait: int
    remaining: int
    reset: int


@dataclass(frozen=True, slots=True)
class Admission:
    """What the limits of a key allow a request; `slot_wait` is milliseconds until another answer may run.

    `taken` are the tokens that were reserved.
    """

    requests: Bucket
    tokens: Bucket
    slot_wait: int
    taken: int = 0

    @property
    def granted(self) -> bool:
        """Whether everything was reserved; otherwise nothing was."""
        return not (self.requests.wait or self.tokens.wait or self.slot_wait)


class SlotState(Enum):
    """What became of the slot of an answer that is resumed."""

    TAKEN = "taken"
    HELD = "held"
    FULL = "full"


class LimitStore(Protocol):
    """Counts for all gateways together what the keys use. Slots end by themselves after `ttl` seconds."""

    async def count(self, caller: Caller) -> Bucket:
        """Take one request, where there is one: before anything of the request but its head is read."""

    async def admit(
        self, caller: Caller, request_id: str, tokens: int, most: int, ttl: float, *, counted: bool
    ) -> Admission:
        """Reserve one request, `tokens` and a slot: all of them or none.

        Where there are more, up to `most` tokens and up to a quarter of what is left are reserved. One that is
        `counted` has its request, and gives it back where the others are refused.
        """

    async def resume(self, caller: Caller, request_id: str, ttl: float) -> SlotState:
        """A slot for an answer that is resumed, unless it has one or none is free."""

    async def settle(self, caller: Caller, request_id: str, tokens: int) -> None:
        """Free the slot, and take `tokens` in addition to what was reserved; a negative number is given back."""


class QuotaStore(Protocol):
    """Counts for all gateways together the bytes that organisations put on the log."""

    async def grant(self, org_id: str, capacity: int, least: int, most: int) -> tuple[int, int]:
        """Take between `least` and `most` of what is left of `capacity` bytes a minute.

        Returns bytes, 0 where there are too few, and then milliseconds until there are enough.
        """


class IdempotencyStore(Protocol):
    """Which idempotency keys are in use, and the answers they led to. `mark` says who holds a key."""

    async def take(self, name: str, mark: bytes, lease: float) -> bytes | None:
        """Hold `name` for `lease` seconds; None where that worked, otherwise the mark or record that is there."""

    async def keep(self, name: str, owner: str, mark: bytes, record: bytes, seconds: int) -> int:
        """Replace the mark with `record`, unless somebody else holds the key by now.

        What is kept for one `owner` has a quota: returns how many of its oldest records were dropped for this one.
        """

    async def release(self, name: str, mark: bytes) -> None:
        """Give the key up, unless there is a record or somebody else holds it."""


class DeliveryState(Enum):
    """What is known of a webhook's delivery."""

    NEW = "new"
    UNDER_WAY = "under way"
    DONE = "done"


class ReplayStore(Protocol):
    """Which deliveries of webhooks were published."""

    async def take(self, key: str, lease: int) -> DeliveryState:
        """What was known of the delivery; one that is new is held for `lease` seconds."""

    async def keep(self, key: str, seconds: int) -> None:
        """Note that it was published."""

    async def release(self, key: str) -> None:
        """Forget it: it was not published."""


class JobGlances(Protocol):
    """What the live store knows of jobs at this moment."""

    async def glances(self, job_ids: Sequence[str]) -> Sequence[Glance | None]:
        """How far the jobs are, where that is known; in the same order."""

    async def full(self, kind: str, org_id: str) -> bool:
        """Whether no more jobs of this kind are taken, of anybody or of this organisation."""


class AnswerStore(Protocol):
    """What is kept of answers beside their way to the client. Raises BusUnavailableError while it does not answer."""

    async def frames(self, request_id: str, audience: str) -> list[Frame]:
        """Every frame of an answer that has ended; none where it has not, or is not for this audience."""

    async def begun(self, request_id: str) -> bool:
        """Whether anybody has begun to answer."""
