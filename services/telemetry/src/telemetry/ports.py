"""What telemetry needs from outside: stores of interactions, of sessions and of what was used."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, Literal, NamedTuple, Protocol

from common.events.interaction_queries import PolicyState, PriceRow
from common.events.interaction_queries import SessionListRequested as InteractionSessionsRequested
from common.events.interactions import InteractionsTallied
from common.events.session_summary import RollingSummary
from common.events.session_turns import (
    ReplySpoken,
    SessionDeleted,
    SessionHistory,
    SessionListRequested,
    SessionPolicy,
    SessionRow,
    SessionTurn,
)
from common.events.telemetry import UsageRequested, UsageRow
from common.events.telemetry_policy import TelemetryPolicy
from telemetry.price_list import Price
from telemetry.row_shapes import BatchRows

# A row as the store gives it, by column.
Row = Mapping[str, Any]
Outcome = Literal["completed", "interrupted", "failed"]


class Sessions(Protocol):
    """What sessions keep of their turns. Everything raises `Unavailable` while the store is away."""

    async def add(self, org_id: str, turn: SessionTurn) -> None:
        """Keep a turn durably; one that is known changes nothing, and neither does one of a deleted session."""
        ...

    async def keep_summary(self, org_id: str, summary: RollingSummary) -> None:
        """Keep the summary of a session; one that was asked for later stands, and so does a deletion since."""
        ...

    async def note_spoken(self, spoken: ReplySpoken) -> None:
        """Keep how much of an answer was heard; what was known later stands."""
        ...

    async def delete(self, deleted: SessionDeleted) -> None:
        """Forget it, and what of it comes late."""
        ...

    async def history(self, org_id: str, session_id: str) -> SessionHistory:
        """The turns of a session in order, none where it has expired."""
        ...

    async def turn(self, org_id: str, request_id: str) -> SessionTurn | None:
        """One turn."""
        ...

    async def page(self, query: SessionListRequested) -> Sequence[SessionRow]:
        """One session more than `query.limit` at most, those last used first."""
        ...

    async def policy(self, org_id: str) -> SessionPolicy:
        """For how many days sessions are kept."""
        ...

    async def set_days(self, org_id: str, days: int | None) -> None:
        """Set that; None is as everywhere else."""
        ...

    async def expire(self, most: int) -> int:
        """Let go of up to `most` sessions that have expired, and about as many that are too much; returns how many."""
        ...


class Usage(Protocol):
    """Sums over the turns."""

    async def by_day(self, query: UsageRequested, limit: int) -> Sequence[UsageRow]:
        """At most `limit` rows, ordered by day, model and key; raises `Unavailable` while the store is away."""
        ...


class Interactions(Protocol):
    """The interactions of all organisations, with the ledger over them."""

    async def add(self, batch: BatchRows) -> None:
        """Keep the items of a batch durably, each id once, and count what became of them.

        A batch that was kept before changes nothing, but for items that were parked and are not any more. Items that
        can never be held become parked; of a turn of our own nothing is kept then. Raises `Unavailable` while the store
        is away.
        """
        ...

    async def tally(self, tally: InteractionsTallied) -> None:
        """Note what a gateway has accepted; raises `Unavailable` while the store is away."""
        ...


class Policies(Protocol):
    """What organisations say about their telemetry. Every method raises `Unavailable` while the store is away."""

    async def policy(self, org_id: str) -> bytes | None:
        """The policy as JSON, None where there is none."""
        ...

    async def prices(self, org_id: str) -> Sequence[Price]:
        """All prices that hold for an organisation, with their history."""
        ...

    async def state(self, org_id: str) -> PolicyState | None:
        """The policy with who changed it when, None where there is none."""
        ...


class PolicyWrites(Protocol):
    """What an organisation changes of it, in a unit of work."""

    async def state(self) -> PolicyState | None:
        """The policy as it is, None where there is none."""
        ...

    async def change(self, policy: TelemetryPolicy, revision: int | None) -> PolicyState | None:
        """Replace the policy; None, and nothing done, where it is at another revision than the one given."""
        ...

    async def price(self, model: str, valid_from: float) -> Price | None:
        """The price of a model that was set for exactly this moment."""
        ...

    async def set_price(self, price: PriceRow, most: int) -> bool:
        """Set a price, or replace that of the same model and moment; False where there are `most` already."""
        ...


class Kept(NamedTuple):
    """There are rows of an organisation and mode that are kept for so many days."""

    org_id: str
    mode: str
    keep: int


class Deletion(NamedTuple):
    """A user who is to be deleted."""

    id: str
    org_id: str
    user_id: str
    requested_at: datetime
    done_at: datetime | None
    rows: int


class Retention(Protocol):
    """What goes out of the store. Every method raises `Unavailable` while the store is away."""

    async def kept(self) -> Sequence[Kept]:
        """What there is, by organisation, mode and retention."""
        ...

    async def make_ahead(self, keeps: Sequence[int]) -> None:
        """Make room for the next days, for these retentions."""
        ...

    async def drop_expired(self) -> int:
        """Drop what is past its retention; how many partitions."""
        ...

    async def move(self, kept: Kept, keep: int) -> int:
        """Keep those rows for so many days from now on, and drop those that are past it; how many there were."""
        ...

    async def drop_sessions(self, org_id: str, mode: str, before: datetime) -> None:
        """Forget the sessions in which nothing happened since."""
        ...

    async def note_deletion(self, id: str, org_id: str, user_id: str, key_id: str) -> Deletion:
        """Note that a user is to be deleted; the same id again notes nothing."""
        ...

    async def deletion(self, org_id: str, id: str) -> Deletion | None:
        """One of them."""
        ...

    async def open_deletions(self) -> Sequence[Deletion]:
        """Those that are not done, the oldest first."""
        ...

    async def note_pass(self, id: str, rows: int, *, done: bool) -> None:
        """So many rows were deleted."""
        ...

    async def delete_user(self, org_id: str, names: Sequence[str]) -> int:
        """Delete everything of a user that is there; how many rows."""
        ...


class ExportWanted(NamedTuple):
    """Which interactions of an organisation; None is any. Times are unix seconds, `until` is not among them."""

    org_id: str
    mode: str | None
    since: float | None
    until: float | None
    sessions: Sequence[str] | None
    users: Sequence[str] | None
    model: str | None
    project_id: str | None


class ExportLeaf(NamedTuple):
    """A part of the interactions that is read by itself: a retention and the UTC day of their ids."""

    keep: int
    day: date


class Exports(Protocol):
    """Interactions as an export reads them. Every method raises `Unavailable` while the store is away."""

    async def leaves(self, wanted: ExportWanted) -> Sequence[ExportLeaf]:
        """The parts in which there may be some, the oldest first."""
        ...

    async def page(self, wanted: ExportWanted, leaf: ExportLeaf, behind: str | None) -> Sequence[Row]:
        """The next ones of a part behind an id, in the order of their ids, with steps and scores; few megabytes."""
        ...


class InteractionSessions(Protocol):
    """Sessions, interactions and their steps. Every method raises `Unavailable` while the store is away."""

    async def page(
        self,
        query: InteractionSessionsRequested,
        users: Sequence[str] | None,
        limit: int,
        behind: tuple[datetime, str, str] | None,
    ) -> Sequence[Row]:
        """At most `limit` sessions, the latest first, behind the one that `behind` names; of one of these users."""
        ...

    async def session(self, org_id: str, names: Sequence[str], mode: str | None) -> Row | None:
        """One session of these names, in the mode in which it was seen last where none is named."""
        ...

    async def turns(
        self, org_id: str, session: Row, days: tuple[date, date], limit: int, behind: tuple[datetime, str] | None
    ) -> Sequence[Row]:
        """At most `limit` interactions of a session in their order, behind the one that `behind` names."""
        ...

    async def interaction(self, org_id: str, day: date, id: str) -> Row | None:
        """One interaction."""
        ...

    async def steps(
        self, org_id: str, days: tuple[date, date], ids: Sequence[str], traces: Sequence[str], limit: int
    ) -> Sequence[Row]:
        """Steps of these interactions, and steps of these traces that were reported alone."""
        ...

    async def scores(self, org_id: str, ids: Sequence[str], limit: int) -> Sequence[Row]:
        """Scores of these interactions, the oldest first."""
        ...


class LedgerBook(Protocol):
    """The ledger. Every method raises `Unavailable` while the store is away."""

    async def batch(self, org_id: str, day: date, batch_id: str) -> Row | None:
        """What became of a batch; None where nothing did yet."""
        ...

    async def hours(self, org_id: str | None, first: int, last: int) -> Sequence[Row]:
        """Hours from `first` up to but not including `last`; of all organisations for None."""
        ...

    async def forget(self, before: int) -> None:
        """Drop the hours before this one."""
        ...
