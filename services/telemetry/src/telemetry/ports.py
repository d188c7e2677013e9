"""What telemetry needs from outside: a store of turns, and the sums over them."""

from collections.abc import Sequence
from typing import Literal, Protocol

from common.events.chat import AnswerEnded
from common.events.interactions import InteractionsTallied
from common.events.telemetry import UsageRequested, UsageRow
from telemetry.price_list import Price
from telemetry.rows import BatchRows

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


class Interactions(Protocol):
    """The interactions of all organisations, with the ledger over them."""

    async def add(self, batch: BatchRows) -> None:
        """Keep the items of a batch durably, each id once, and count what became of them.

        A batch that was kept before changes nothing, but for items that were parked and are not any more. Items that
        can never be held become parked. Raises `Unavailable` while the store is away.
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
