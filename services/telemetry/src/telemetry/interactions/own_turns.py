"""Turns that Sonant answered: from their facts they become interactions as any app reports them, without texts."""

import hashlib
import math
import time
from datetime import timedelta
from decimal import Decimal
from typing import Any

from common.events.chat import ChatReplyEnded, ChatReplyFailed, ChatReplyInterrupted, ToolStep
from common.events.interaction_ids import day_of, derived_id
from common.events.interaction_items import MAX_AGE_SECONDS, MAX_AHEAD_SECONDS
from common.failures import Park
from telemetry.interactions.item_rows import Terms
from telemetry.interactions.step_rows import Owner, json_text, step_row
from telemetry.interactions.terms import TermsOf
from telemetry.masking.masker import BrokenRuleError
from telemetry.ports import Interactions, Outcome
from telemetry.row_shapes import BatchRows, ItemRows, Session, utc

STATUS = {"completed": "ok", "interrupted": "interrupted", "failed": "error"}
# Facts are of any length; names are as long as callers may give them.
MAX_NAME = 256
MAX_COUNT = 2**53 - 1
MAX_DOLLARS = 1e9
SECONDS_MS = 1000.0


async def keep(end: ChatReplyEnded, outcome: Outcome, terms: TermsOf, interactions: Interactions) -> None:
    """Keep a turn with its steps, once. Raises `Unavailable` while the store is away, `Park` where it cannot be masked.

    One that is older than ids are known is kept among the turns alone.
    """
    now = time.time()
    if not now - MAX_AGE_SECONDS < end.received_at < now + MAX_AHEAD_SECONDS:
        return
    found = await terms.of(end.org_id)
    try:
        item = _rows(end, outcome, found)
    except BrokenRuleError as broken:
        raise Park(f"masking failed: {broken}") from None
    await interactions.add(BatchRows("", _name(end.org_id), end.finished_at, 0, "", 0, [item], ledgered=False))


def _rows(end: ChatReplyEnded, outcome: Outcome, terms: Terms) -> ItemRows:
    id = derived_id(end.received_at, end.org_id, end.request_id)
    item, keep, org_id = ItemRows(0, id, day_of(id)), terms.keep["prod"], _name(end.org_id)
    session_id = terms.identity(_name(end.session_id))
    user_id = None if end.user_id is None else terms.identity(_name(end.user_id))
    at, status = utc(end.received_at), STATUS[outcome]
    took = _milliseconds(end.finished_at - end.received_at)
    first = None if end.first_token_at is None else _milliseconds(end.first_token_at - end.received_at)
    error = terms.masker.value(end.error.model_dump()) if isinstance(end, ChatReplyFailed) else None
    receipt = end.receipt.model_dump() if isinstance(end, ChatReplyInterrupted) else None
    served = None if end.active is None else end.active.model_dump()
    project_id = None if end.project_id is None else _name(end.project_id)
    upstream = None if end.upstream is None else _name(end.upstream)
    item.rows["chat"] = [
        (
            keep, item.day, org_id, id, "prod", "sonant", _name(end.key_id), project_id, session_id, user_id,
            _name(end.model), upstream, None, None, None, None, status, _json(error), None, None, None, _json(served),
            _name(end.request_id), at, at + timedelta(milliseconds=took), None, utc(end.received_at),
        )
    ]  # fmt: skip
    usage = end.usage
    prosody = None if end.prosody is None else [each.model_dump() for each in end.prosody]
    item.rows["prompt_details"] = [
        (
            keep, item.day, org_id, "prod", id, _count(usage.prompt_tokens), _count(usage.completion_tokens),
            _count(usage.total_tokens), None, usage.estimated, None, None, None, None, None, None, took, first,
            Decimal(repr(_dollars(end.cost_usd))), "upstream", _label(end.finish_reason),
            _json(terms.masker.value([attempt.model_dump() for attempt in end.attempts])), _json(receipt),
            _json(prosody),
            None if end.context is None else _json(end.context.model_dump()),
        )
    ]  # fmt: skip
    owner = Owner(keep, item.day, org_id, "prod", id, id, None, session_id, user_id)
    if end.tools:
        item.rows["steps"] = [
            step_row(terms.masker.value(_step(tool)), owner, number, None) for number, tool in enumerate(end.tools)
        ]
    item.session = Session(
        org_id, "prod", session_id, user_id, at, outcome == "failed", max(0, _count(usage.total_tokens)),
        _dollars(end.cost_usd), _name(end.model),
    )  # fmt: skip
    return item


def _step(tool: ToolStep) -> dict[str, Any]:
    return {
        "id": tool.id,
        "name": tool.name,
        "type": "tool",
        "started_at": tool.started_at,
        "duration_ms": tool.duration_ms,
        "input": tool.arguments,
        "output": tool.result,
        "status": "ok" if tool.outcome == "done" else "error",
        "metadata": {"outcome": tool.outcome, "kind": tool.kind, "round": tool.round},
    }


def _name(text: str) -> str:
    """The text as a name; of a longer one its beginning and its digest, which are as good."""
    text = text.replace("\0", "\ufffd").encode(errors="replace").decode()
    if len(text) <= MAX_NAME:
        return text
    return f"{text[:100]}…{hashlib.sha256(text.encode()).hexdigest()}"


def _label(text: str | None) -> str | None:
    return None if text is None else _name(text)[:MAX_NAME]


def _count(count: int) -> int:
    return max(-MAX_COUNT, min(count, MAX_COUNT))


def _dollars(cost: float) -> float:
    return max(0.0, min(cost, MAX_DOLLARS)) if math.isfinite(cost) else 0.0


def _milliseconds(seconds: float) -> float:
    return max(0.0, min(seconds, MAX_AGE_SECONDS)) * SECONDS_MS if math.isfinite(seconds) else 0.0


def _json(value: Any) -> str | None:
    """As a column of JSON takes it, whatever a stranger's fact holds."""
    return json_text(_storable(value))


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode(errors="replace").decode()
    if isinstance(value, int) and not isinstance(value, bool):
        return _count(value)
    if isinstance(value, (list, tuple)):
        return [_storable(each) for each in value]
    if isinstance(value, dict):
        return {_storable(name): _storable(each) for name, each in value.items()}
    return value
