"""Turns that Sonant answered: from their facts they become interactions as any app reports them, without texts."""

import time
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from common.events.chat import (
    AnswerEnded,
    Attempt,
    ChatReplyEnded,
    ChatReplyFailed,
    ChatReplyInterrupted,
    ToolStep,
)
from common.events.embeddings import EmbeddingsFailed, EmbeddingsInterrupted
from common.events.interaction_ids import day_of, derived_id
from common.events.interaction_items import MAX_AGE_SECONDS, MAX_AHEAD_SECONDS
from common.failures import Park
from telemetry.interactions.item_rows import Terms
from telemetry.interactions.step_rows import Owner, step_row
from telemetry.interactions.terms import TermsOf
from telemetry.masking.masker import BrokenRuleError
from telemetry.metrics import TURNS_REFUSED
from telemetry.ports import Interactions, Outcome
from telemetry.row_shapes import BatchRows, ItemRows, Session, TurnUse, utc
from telemetry.storable import MAX_NAME, MAX_SECONDS, between, count, json_of, name

STATUS = {"completed": "ok", "interrupted": "interrupted", "failed": "error"}
MODE = "prod"
# Beyond any sum of dollars, and far from the end of a float.
MAX_DOLLARS = 1e9
SECONDS_MS = 1000.0
# Under which the ids are known of turns whose own day is past, or far ahead. It never ends.
NO_DAY = date(9998, 12, 31)
# What of a fact has no column of its own.
TOLD_BESIDE = ("stream", "upstream_model", "served_by", "cache", "ended_by", "within_turn")


async def keep(end: AnswerEnded, outcome: Outcome, terms: TermsOf, interactions: Interactions) -> None:
    """Keep a turn with its steps and count it, once, whichever of its facts comes first.

    One that is older than interactions may be, or far ahead, is only counted. Raises `Unavailable` while the store is
    away, `Park` for one that cannot be masked or held.
    """
    id, use, now = derived_id(_moment(end.received_at), end.org_id, end.request_id), _use(end, outcome), time.time()
    if now - MAX_AGE_SECONDS < end.received_at < now + MAX_AHEAD_SECONDS:
        found = await terms.of(use.org_id)
        try:
            item = _rows(end, id, use, found)
        except BrokenRuleError as broken:
            raise Park(f"masking failed: {broken}") from None
    else:
        item = ItemRows(0, id, NO_DAY)
    item.use = use
    await interactions.add(BatchRows("", use.org_id, _moment(end.finished_at), 0, "", 0, [item], ledgered=False))
    if item.outcome == "parked":
        TURNS_REFUSED.inc()
        raise Park(f"the turn does not fit its tables: {item.reason}")


def _use(end: AnswerEnded, outcome: Outcome) -> TurnUse:
    usage = end.usage
    return TurnUse(
        name(end.org_id), utc(_moment(end.finished_at)).date(), name(end.model), name(end.key_id), outcome,
        count(usage.prompt_tokens), count(usage.completion_tokens), count(usage.total_tokens),
        Decimal(repr(between(end.cost_usd, 0.0, MAX_DOLLARS))),
    )  # fmt: skip


def _rows(end: AnswerEnded, id: str, use: TurnUse, terms: Terms) -> ItemRows:
    item, keep = ItemRows(0, id, day_of(id)), terms.keep[MODE]
    chat = end if isinstance(end, ChatReplyEnded) else None
    # Embeddings are no conversation: nothing else has their session, and no list shows it.
    session_id = terms.identity(name(end.request_id if chat is None else chat.session_id))
    user_id = None if end.user_id is None else terms.identity(name(end.user_id))
    owner = Owner(keep, item.day, use.org_id, MODE, id, id, None, session_id, user_id)
    item.rows["chat"] = [_chat_row(end, owner, use, terms)]
    item.rows["prompt_details"] = [_details_row(end, owner, use, terms)]
    if chat is None:
        return item
    if chat.tools:
        item.rows["steps"] = [
            step_row(terms.masker.value(_step(tool)), owner, number, None) for number, tool in enumerate(chat.tools)
        ]
    item.session = Session(
        use.org_id, MODE, session_id, user_id, utc(end.received_at), use.outcome == "failed", max(0, use.total_tokens),
        float(use.cost), use.model,
    )  # fmt: skip
    return item


def _chat_row(end: AnswerEnded, owner: Owner, use: TurnUse, terms: Terms) -> tuple[Any, ...]:
    operation, active, project_id, error = "embeddings", None, None, None
    if isinstance(end, (ChatReplyFailed, EmbeddingsFailed)):
        error = json_of(terms.masker.value(end.error.model_dump()))
    if isinstance(end, ChatReplyEnded):
        operation = "chat"
        active = None if end.active is None else json_of(end.active.model_dump())
        project_id = None if end.project_id is None else name(end.project_id)
    upstream = None if end.upstream is None else name(end.upstream)
    at = utc(end.received_at)
    ended_at = at + timedelta(milliseconds=_milliseconds(end.finished_at - end.received_at))
    return (
        owner.keep, owner.day, use.org_id, owner.id, MODE, "sonant", use.key_id, project_id, owner.session_id,
        owner.user_id, use.model, upstream, None, None, None, None, STATUS[use.outcome], error, None, None, None,
        active, name(end.request_id), at, ended_at, None,
        at, operation,
    )  # fmt: skip


def _details_row(end: AnswerEnded, owner: Owner, use: TurnUse, terms: Terms) -> tuple[Any, ...]:
    first, finish, prosody, context, receipt = None, None, None, None, None
    if isinstance(end, ChatReplyEnded):
        first = None if end.first_token_at is None else _milliseconds(end.first_token_at - end.received_at)
        finish = None if end.finish_reason is None else name(end.finish_reason)[:MAX_NAME]
        prosody = None if end.prosody is None else json_of([each.model_dump() for each in end.prosody])
        context = None if end.context is None else json_of(end.context.model_dump())
    if isinstance(end, (ChatReplyInterrupted, EmbeddingsInterrupted)):
        receipt = json_of(end.receipt.model_dump())
    beside = {field: value for field in TOLD_BESIDE if (value := getattr(end, field, None)) is not None}
    return (
        owner.keep, owner.day, use.org_id, MODE, owner.id, use.prompt_tokens, use.completion_tokens, use.total_tokens,
        None, end.usage.estimated, json_of(beside or None), None, None, None, None, None,
        _milliseconds(end.finished_at - end.received_at), first, use.cost, "upstream", finish,
        json_of(_attempts(end.attempts, terms)), receipt, prosody, context,
    )  # fmt: skip


def _attempts(attempts: Sequence[Attempt], terms: Terms) -> list[dict[str, Any]]:
    """The attempts; upstreams and models are named by whoever runs them, but an error says what the upstream said."""
    told = [dict(attempt) for attempt in attempts]
    for attempt in told:
        if attempt["error"] is not None:
            attempt["error"] = terms.masker.text(attempt["error"])
    return told


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


def _moment(seconds: float) -> float:
    """Unix seconds that a calendar knows."""
    return between(seconds, 0.0, MAX_SECONDS)


def _milliseconds(seconds: float) -> float:
    return between(seconds, 0.0, MAX_AGE_SECONDS) * SECONDS_MS
