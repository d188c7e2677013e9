"""What the store takes: the rows of a batch, each with what becomes of it."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal, NamedTuple

Outcome = Literal["stored", "sampled_out", "parked"]
# The tables that are cut by retention and day, with the columns that a row gives, in their order.
CHAT_COLUMNS = (
    "keep", "day", "org_id", "id", "mode", "origin", "key_id", "project_id", "session_id", "user_id", "llm_model",
    "provider", "file_name", "user_prompt", "ai_response", "user_meta_data", "status", "error", "trace_id", "span_id",
    "parent_id", "active_set", "request_id", "at", "ended_at", "batch_id", "accepted_at", "operation",
)  # fmt: skip
DETAILS_COLUMNS = (
    "keep", "day", "org_id", "mode", "id", "prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens",
    "estimated", "metadata", "extra", "tags", "environment", "release", "prompt_version", "response_ms",
    "first_token_ms", "cost_usd", "cost_from", "finish_reason", "attempts", "receipt", "prosody", "context",
)  # fmt: skip
STEP_COLUMNS = (
    "keep", "day", "org_id", "mode", "owner", "position", "interaction_id", "step_id", "parent_id", "trace_id",
    "session_id", "user_id", "name", "type", "at", "duration_ms", "input", "output", "status", "error", "metadata",
)  # fmt: skip
SCORE_COLUMNS = (
    "keep", "day", "org_id", "mode", "interaction_id", "id", "name", "value", "value_text", "comment", "source",
    "user_id", "metadata", "at",
)  # fmt: skip
COLUMNS = {
    "chat": CHAT_COLUMNS,
    "prompt_details": DETAILS_COLUMNS,
    "steps": STEP_COLUMNS,
    "scores": SCORE_COLUMNS,
}


class Session(NamedTuple):
    """What an interaction adds to its session."""

    org_id: str
    mode: str
    session_id: str
    user_id: str | None
    at: datetime
    error: bool
    tokens: int
    cost: float
    model: str | None


class TurnUse(NamedTuple):
    """What a turn of our own adds to the usage of its day."""

    org_id: str
    day: date
    model: str
    key_id: str
    outcome: Literal["completed", "interrupted", "failed"]
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost: Decimal


@dataclass(slots=True)
class ItemRows:
    """One item: its rows by table, or why it has none. `position` is its index in the request."""

    position: int
    id: str
    day: date
    outcome: Outcome = "stored"
    reason: str | None = None
    rows: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    session: Session | None = None
    use: TurnUse | None = None


@dataclass(slots=True)
class BatchRows:
    """A batch that was opened. `hour` is unix seconds // 3600; `source` and `confirmed` are its gateway's tally.

    What was not accepted from a caller, the turns of our own, is not `ledgered`.
    """

    batch_id: str
    org_id: str
    accepted_at: float
    hour: int
    source: str
    confirmed: int
    items: list[ItemRows]
    ledgered: bool = True

    @property
    def parked(self) -> list[ItemRows]:
        """Its items that cannot be stored."""
        return [item for item in self.items if item.outcome == "parked"]


def utc(seconds: float) -> datetime:
    """Unix seconds as a database takes them."""
    return datetime.fromtimestamp(seconds, UTC)
