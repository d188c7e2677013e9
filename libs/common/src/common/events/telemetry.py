"""Telemetry: queries about what was stored, answered over LIVE."""

from datetime import date
from typing import Literal

from common.events.reply import ReplyBody
from common.events.spec import Payload, Topic, query

TELEMETRY_QUERIES = Topic("telemetry-queries")


class UsageRequested(Payload):
    """Tokens and turns per day, model and key of one organisation; `since` and `until` are inclusive UTC days."""

    org_id: str
    since: date
    until: date
    model: str | None = None
    key_id: str | None = None


class UsageRow(ReplyBody):
    """One day, model and key."""

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


class UsageList(ReplyBody):
    """Rows by day, model and key. `has_more`: rows were left out; ask again from the last day on."""

    object: Literal["list"]
    data: tuple[UsageRow, ...]
    has_more: bool


USAGE_REQUESTED = query(
    type="telemetry.usage.requested",
    payload=UsageRequested,
    reply=UsageList,
    topic=TELEMETRY_QUERIES,
    key=lambda query: query.org_id,
    summary="Answer how much an organisation used; the reply goes to the gateway named in reply-to.",
)
