"""What telemetry needs from outside: a store of turns, and the sums over them."""

from collections.abc import Sequence
from typing import Literal, Protocol

from common.events.chat import AnswerEnded
from common.events.telemetry import UsageRequested, UsageRow

Outcome = Literal["completed", "interrupted", "failed"]


class Turns(Protocol):
    """The turns of all organisations."""

    async def add(self, end: AnswerEnded, outcome: Outcome) -> None:
        """Keep a turn durably; one whose `request_id` is known changes nothing.

        Raises `Unavailable` while the store is away, `Park` for a turn it can never hold.
        """
        ...


class Usage(Protocol):
    """Sums over the turns."""

    async def by_day(self, query: UsageRequested, limit: int) -> Sequence[UsageRow]:
        """At most `limit` rows, ordered by day, model and key; raises `Unavailable` while the store is away."""
        ...
