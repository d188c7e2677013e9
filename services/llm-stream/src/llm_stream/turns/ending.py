"""The one end of a turn: how it ended is stored, the last frames are sent, the one fact is published."""

import asyncio
import time
from typing import Any, NamedTuple, TypeAlias

import orjson
import structlog

from common.bus.port import BusUnavailableError
from common.events.chat import (
    ANSWER_ABANDONED,
    CHAT_REPLY_COMPLETED,
    CHAT_REPLY_FAILED,
    CHAT_REPLY_INTERRUPTED,
    AnswerAbandoned,
    AnswerEnd,
    AnswerError,
    ChatReplyEnded,
    ChatReplyRequested,
    ReplyError,
    TokenCounts,
)
from common.events.embeddings import (
    EMBEDDINGS_COMPLETED,
    EMBEDDINGS_FAILED,
    EMBEDDINGS_INTERRUPTED,
    EmbeddingsRequested,
)
from common.events.envelope import Event
from common.events.model_json import to_json
from common.events.record import Record
from common.events.spec import EventSpec
from common.failures import Refused
from common.metrics import labelled
from llm_stream.answer.failure import AnswerFailed, server_error
from llm_stream.answer.finish import FinishedAnswer
from llm_stream.answer.question_turn import QuestionTurn
from llm_stream.answer.usage import estimated
from llm_stream.deps import Deps
from llm_stream.metrics import TOKENS
from llm_stream.retrieval.spoken_memory import to_remember
from llm_stream.turns.claim import Ended, RequestEvent
from llm_stream.turns.kept_turn import kept_texts
from llm_stream.turns.question_fact import question_fact
from llm_stream.turns.summing_up import ask_for_summary, summary_made
from llm_stream.turns.turn import Turn
from llm_stream.turns.turn_account import count, tell

log = structlog.get_logger(__name__)

# While the log is away: often enough to be back within a second, seldom enough not to spin.
AWAY_SECONDS = 0.2

# Of a payload with the usage of the answer.
Fact: TypeAlias = Event[Any]


class _Ends(NamedTuple):
    """The three facts, one of which a turn ends with. Their payloads take what they know of what is said here."""

    completed: EventSpec[Any]
    interrupted: EventSpec[Any]
    failed: EventSpec[Any]


CHAT_ENDS = _Ends(CHAT_REPLY_COMPLETED, CHAT_REPLY_INTERRUPTED, CHAT_REPLY_FAILED)
EMBEDDINGS_ENDS = _Ends(EMBEDDINGS_COMPLETED, EMBEDDINGS_INTERRUPTED, EMBEDDINGS_FAILED)


async def finish(turn: Turn, outcome: FinishedAnswer | AnswerFailed | None, deps: Deps) -> None:
    """End a turn; `outcome` is None where it was stopped."""
    if turn.withdrawn:
        deps.claims.note_withdrawn(turn.request.request_id)
        deps.sessions.queue_left(turn.request)
        return
    turn.delivery.defer()
    turn.notes.kept = kept_texts(turn, deps.sessions)
    turn.notes.summary = summary_made(turn, outcome)
    fact = _fact(turn, outcome)
    if isinstance(outcome, AnswerFailed) and turn.frames.begun and turn.request.stream:
        turn.frames.emit_error(orjson.dumps(_refusal(outcome.error).body()))
    turn.frames.end(_end(fact, outcome))
    record = _keep(turn, fact, deps)
    await _publish_settled(turn, fact, record, deps)
    await ask_for_summary(turn, deps)


async def abandon(turn: Turn, deps: Deps) -> None:
    """End a turn whose answerer died after the client had heard something: say so, and begin nothing anew."""
    if turn.withdrawn:
        deps.claims.note_withdrawn(turn.request.request_id)
        return
    turn.delivery.defer()
    failure = server_error(503, "The service restarted while it answered.", "worker_restarted")
    turn.notes.kept = kept_texts(turn, deps.sessions)
    deps.sessions.queue_left(turn.request)
    # An attempt that was begun here beside the claim does not count.
    fact = _event(turn, _ends(turn).failed, attempts=(), error=failure.error)
    turn.frames.refuse(_refusal(failure.error))
    record = _keep(turn, fact, deps)
    # Through which gateway the client listens by now, only the dead one knew.
    deps.live.queue_signal(ANSWER_ABANDONED, AnswerAbandoned(request_id=turn.request.request_id))
    await _publish_settled(turn, fact, record, deps)


async def repeat(event: RequestEvent, ended: Ended, deps: Deps) -> None:
    """The answerer died after the end: the frames may not have gone out, the fact may not have been published."""
    if event.reply_to is not None:
        for frame in ended.frames:
            deps.live.send(event.reply_to, frame)
    await _publish(ended.fact, deps)


def _keep(turn: Turn, fact: Fact, deps: Deps) -> Record:
    """Store how the turn ended, and send its last frames behind that; returns the fact's record."""
    record = fact.record()
    if isinstance(fact.payload, ChatReplyEnded):
        # Before the last frames: whoever has read them finds the turn in its session.
        deps.sessions.queue_ended(fact.payload, fresh=turn.notes.session is not None and turn.notes.session.fresh)
        if (summary := fact.payload.summary) is not None and summary.text:
            deps.sessions.queue_summary(summary, fact.payload.org_id)
    deps.claims.note_ended(turn.request, turn.backlog, record)
    turn.backlog.send_rest()
    turn.delivery.flush()
    return record


async def _publish_settled(turn: Turn, fact: Fact, record: Record, deps: Deps) -> None:
    """Publish the fact once the live store has it: else a crash in between would lead to a second, other fact."""
    await deps.live.settled()
    if turn.spending is not None:
        await turn.spending.settle(fact.payload.usage, fact.payload.cost_usd)
    count(turn.request.model, fact)
    tell(turn, fact)
    await _publish(record, deps)
    if turn.notes.remembers and (memory := to_remember(fact.payload)) is not None:
        await _publish(memory, deps)
    if (asked := turn.notes.question) is not None:
        await _settle_question(asked, turn, deps)


async def _settle_question(asked: QuestionTurn, turn: Turn, deps: Deps) -> None:
    """Tell what the model cost that wrote the question of the turn's search, where one was asked."""
    if asked.spending is not None:
        cost = asked.cost()
        await asked.spending.settle(cost.usage, cost.cost_usd)
    if (fact := question_fact(asked, turn)) is not None:
        await _publish(fact.record(), deps)


async def _publish(record: Record, deps: Deps) -> None:
    """The fact must get out, however long the log is away: the turn's key keeps it over a crash meanwhile."""
    while True:
        try:
            await deps.facts.put(record)
        except BusUnavailableError as error:
            log.warning("fact waits for the log", event_id=record.headers["event-id"], error=str(error))
            await asyncio.sleep(AWAY_SECONDS)
        else:
            return


# -- the fact ---------------------------------------------------------------------------------------------------


def _fact(turn: Turn, outcome: FinishedAnswer | AnswerFailed | None) -> Fact:
    if isinstance(outcome, FinishedAnswer):
        return _completed(turn, outcome)
    return _interrupted(turn) if outcome is None else _failed(turn, outcome)


def _completed(turn: Turn, finished: FinishedAnswer) -> Fact:
    usage = finished.usage
    labelled(TOKENS, turn.request.model, "prompt").inc(usage.prompt_tokens)
    labelled(TOKENS, turn.request.model, "completion").inc(usage.completion_tokens)
    return _event(
        turn,
        _ends(turn).completed,
        upstream=None if finished.upstream is None else finished.upstream.name,
        upstream_model=finished.model,
        usage=usage,
        cost_usd=finished.cost_usd,
        finish_reason=finished.finish_reason,
    )


def _interrupted(turn: Turn) -> Fact:
    return _event(turn, _ends(turn).interrupted, **_spent(turn), receipt=turn.receipt)


def _failed(turn: Turn, failure: AnswerFailed) -> Fact:
    # An answer that the deadline ended has cost what was sent until then.
    return _event(turn, _ends(turn).failed, **_spent(turn), error=failure.error)


def _ends(turn: Turn) -> _Ends:
    return EMBEDDINGS_ENDS if isinstance(turn.request, EmbeddingsRequested) else CHAT_ENDS


def _event(turn: Turn, spec: EventSpec[Any], **said: Any) -> Fact:
    return Event(spec, spec.payload(**{**_common(turn), **said}), id=_fact_id(turn))


def _fact_id(turn: Turn) -> str:
    """One id per turn, so that a fact published twice is recognised."""
    return f"{turn.request.request_id}/end"


def _common(turn: Turn) -> dict[str, Any]:
    request = turn.request
    common: dict[str, Any] = {
        "request_id": request.request_id,
        "org_id": request.org_id,
        "key_id": request.key_id,
        "session_id": request.session_id,
        "user_id": request.user_id,
        "model": request.model,
        "stream": request.stream,
        "received_at": request.received_at,
        "started_at": turn.started_at,
        "first_token_at": turn.frames.first_token_at,
        "finished_at": time.time(),
        "attempts": turn.attempts.records(),
        **turn.notes.said(),
    }
    if turn.rounds.steps:
        common["tools"] = turn.rounds.records()
    if isinstance(request, ChatReplyRequested) and request.prosody is not None:
        common["prosody"] = request.prosody
    return common


def _spent(turn: Turn) -> dict[str, Any]:
    """What the attempt cost that was under way at a stop, and the rounds before it; nothing where there was neither."""
    attempt, rounds = turn.attempts.billed, turn.rounds
    if attempt is not None and attempt is not rounds.settled:
        rounds.settle(attempt, estimated(attempt.prepared.body, attempt.estimated_tokens))
    last = rounds.settled
    if last is None:
        return {}
    return {
        "upstream": last.upstream.name,
        "upstream_model": last.upstream.model,
        "usage": rounds.usage,
        "cost_usd": rounds.cost_usd,
    }


def _end(fact: Fact, outcome: FinishedAnswer | AnswerFailed | None) -> bytes:
    """The END frame, an `AnswerEnd`, as it is sent to the gateway."""
    how = fact.spec.type.rpartition(".")[2]
    used = fact.payload.usage
    usage = {name: getattr(used, name) for name in TokenCounts.model_fields}
    if not isinstance(outcome, AnswerFailed):
        # Plain names and numbers, which a model would only make dearer.
        return orjson.dumps({"outcome": how, "usage": usage})
    error = AnswerError(**outcome.error.model_dump(), retry_after=outcome.retry_after)
    return to_json(AnswerEnd(outcome=how, usage=TokenCounts(**usage), error=error), exclude_unset=True)


def _refusal(error: ReplyError) -> Refused:
    return Refused(error.status, error.message, error.code, error.param, error.type)
