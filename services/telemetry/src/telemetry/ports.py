"""What telemetry needs from outside: a place where turns stay, and the sums over them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal, Protocol

from common.events.chat import ChatReplyEnded
from common.events.telemetry import UsageRequested

Outcome = Literal["completed", "interrupted", "failed"]


class Turns(Protocol):
    """The turns of all organisations."""

    async def add(self, end: ChatReplyEnded, outcome: Outcome) -> None:
        """Keep a turn durably; one whose `request_id` is known changes nothing.

        Raises `Retry` while the store is away, `Park` for a turn it can never hold.
        """
        ...


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What one key used of one model on one UTC day."""

    day: date
    model: str
    key_id: str
    turns: int
    completed: int
    interrupted: int
    failed: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost_usd: float


class Usage(Protocol):
    """Sums over the turns."""

    async def by_day(self, query: UsageRequested, limit: int) -> Sequence[UsageRow]:
        """At most `limit` rows, ordered by day, model and key; raises `Retry` while the store is away."""
        ...
