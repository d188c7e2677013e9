"""The fact about the model that was asked for the question of a search: what it cost, under its own alias.

It is a turn's end as any other, so usage counts it for key and organisation. Nobody asked for it but the turn that it
names, and it holds no text.
"""

from typing import Any

from common.events.chat import (
    CHAT_REPLY_COMPLETED,
    CHAT_REPLY_FAILED,
    CHAT_REPLY_INTERRUPTED,
    StopReceipt,
)
from common.events.envelope import Event
from common.events.spec import EventSpec
from common.metrics import labelled
from llm_stream.answer.question_turn import QuestionTurn
from llm_stream.metrics import TOKENS
from llm_stream.turns.turn import Turn
from llm_stream.turns.turn_account import count


def question_fact(asked: QuestionTurn, turn: Turn) -> Event[Any] | None:
    """The fact about what was asked within a turn that has ended; None where no upstream was asked."""
    if not asked.attempts.made:
        return None
    request, cost = asked.request, asked.cost()
    spec, said = _end(asked, turn)
    payload = spec.payload(
        request_id=request.request_id,
        org_id=request.org_id,
        key_id=request.key_id,
        session_id=request.session_id,
        model=request.model,
        stream=request.stream,
        upstream=None if cost.upstream is None else cost.upstream.name,
        upstream_model=cost.model,
        usage=cost.usage,
        cost_usd=cost.cost_usd,
        finish_reason=cost.finish_reason,
        received_at=request.received_at,
        started_at=request.received_at,
        finished_at=asked.ended_at,
        attempts=asked.attempts.records(),
        within_turn=turn.request.request_id,
        **said,
    )
    fact = Event(spec, payload, id=f"{request.request_id}/end")
    count(request.model, fact)
    return fact


def _end(asked: QuestionTurn, turn: Turn) -> tuple[EventSpec[Any], dict[str, Any]]:
    """How it ended: the search, which is its caller, stops listening at its deadline or with the turn."""
    if asked.finished is not None:
        usage = asked.finished.usage
        labelled(TOKENS, asked.request.model, "prompt").inc(usage.prompt_tokens)
        labelled(TOKENS, asked.request.model, "completion").inc(usage.completion_tokens)
        return CHAT_REPLY_COMPLETED, {}
    if asked.error is not None:
        return CHAT_REPLY_FAILED, {"error": asked.error}
    reason = "deadline" if turn.receipt is None else turn.receipt.reason
    return CHAT_REPLY_INTERRUPTED, {"receipt": StopReceipt(reason=reason, signal_at=asked.ended_at)}
