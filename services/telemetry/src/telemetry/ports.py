"""What telemetry needs from outside: a store of turns, and the sums over them."""

from collections.abc import Sequence
from typing import Literal, Protocol

from common.events.chat import AnswerEnded
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

Outcome = Literal["completed", "interrupted", "failed"]


class Turns(Protocol):
    """The turns of all organisations."""

    async def add(self, end: AnswerEnded, outcome: Outcome) -> None:
        """Keep a turn durably; one whose `request_id` is known changes nothing.

        Raises `Unavailable` while the store is away, `Park` for a turn it can never hold.
        """
        ...


class Sessions(Protocol):
    """What sessions keep of their turns. Everything raises `Unavailable` while the store is away."""

    async def add(self, org_id: str, turn: SessionTurn) -> None:
        """Keep a turn durably; one that is known changes nothing, and neither does one of a deleted session."""
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
