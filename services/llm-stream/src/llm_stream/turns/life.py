"""The main job: answer a chat request, streaming, and say exactly once how it ended."""

import asyncio
import math
import time
from dataclasses import dataclass
from typing import Any

import orjson
import structlog

from common.bus.batching import Batcher
from common.bus.live.writer import LiveWriter
from common.bus.port import BusUnavailableError
from common.clients.resources.client import ActiveSets
from common.events import chat
from common.events.chat import (
    ANSWER_ABANDONED,
    CHARACTERS_PER_TOKEN,
    AnswerAbandoned,
    AnswerEnd,
    AnswerError,
    ChatReplyRequested,
    ReplyError,
    TokenCounts,
    Usage,
)
from common.events.envelope import Event
from common.events.record import Record
from common.failures import Refused
from common.kernel.tasks import end
from common.metrics import labelled
from llm_stream.aliases import Alias, AliasTable, Upstream
from llm_stream.answer.active_set import with_active_set
from llm_stream.answer.failover import Attempts, Breakers, ReplyFailed, TooLong, merge_request
from llm_stream.answer.relay import Relay, provider_headers
from llm_stream.metrics import TOKENS, TURNS
from llm_stream.ports import ChatModel, Patience, UpstreamBroken
from llm_stream.turns.registry import Ended, Turns
from llm_stream.turns.turn import Turn

log = structlog.get_logger(__name__)

# While an engine is away: often enough to be back within a second, seldom enough not to spin.
AWAY_SECONDS = 0.2
# What was received so recently is hardly a redelivery, so its upstream is asked while the claim is.
NEW_SECONDS = 1.0
# How often a request delivered twice looks whether its other delivery has come to an end.
TAKEN_SECONDS = 0.5


@dataclass(slots=True)
class Deps:
    """What the use case works with; `aliases` is swapped on reload, `facts` go to the log."""

    facts: Batcher[Record]
    live: LiveWriter
    turns: Turns
    chat_model: ChatModel
    breakers: Breakers
    aliases: AliasTable
    active_sets: ActiveSets


@dataclass(frozen=True, slots=True)
class Answered:
    """A whole answer."""

    upstream: Upstream
    model: str
    usage: Usage
    finish_reason: str | None


async def answer(event: Event[ChatReplyRequested], deps: Deps) -> None:
    """Answer one request, or see to it that whoever is at it already comes to an end.

    Returning earlier would let the log forget a request whose answerer may still die.
    """
    while True:
        with deps.turns.answering(event.payload.request_id) as first:
            if first and await _answer(event, deps):
                return
        await asyncio.sleep(TAKEN_SECONDS)


async def _answer(event: Event[ChatReplyRequested], deps: Deps) -> bool:
    """Whether the request is done with; False while another instance answers it."""
    turn = Turn(event, deps.live, lambda: deps.turns.note_released(event.payload.request_id))
    turn.claim = claim = asyncio.create_task(_claim(turn, deps), name=f"claim {event.payload.request_id}")
    with deps.turns.running(turn):
        if time.time() - event.payload.received_at > NEW_SECONDS:
            await asyncio.wait({claim})
        if not claim.done() or claim.result() == "mine":
            await _run(turn, deps)
        if claim.result() == "lost":
            await _give_up(turn, deps)
    answerer = claim.result()
    if isinstance(answerer, Ended):
        await _tell_again(event, answerer, deps)
    return answerer != "taken"


async def _claim(turn: Turn, deps: Deps) -> Ended | str:
    """However long the live store is away: the request was accepted, and the log keeps it meanwhile."""
    while True:
        try:
            return await deps.turns.claim(turn.event)
        except BusUnavailableError as error:
            log.warning("request waits for the live store", event_id=turn.event.id, error=str(error))
            turn.postpone()
            await asyncio.sleep(AWAY_SECONDS)


async def _tell_again(event: Event[ChatReplyRequested], ended: Ended, deps: Deps) -> None:
    """The answerer died after the end: the frames may not have gone out, the fact may not have been published."""
    if event.reply_to is not None:
        for frame in ended.frames:
            deps.live.send(event.reply_to, frame)
    await _publish(ended.fact, deps)


async def _give_up(turn: Turn, deps: Deps) -> None:
    """The answerer died after the client had heard something: say so, and begin nothing anew."""
    await _finish(
        turn, deps, [], _error(503, "The service restarted while it answered.", "worker_restarted"), lost=True
    )


async def _run(turn: Turn, deps: Deps) -> None:
    """Answer, and finish if the claim is ours: that is asked beside the upstream, and known before anything is said."""
    attempts: list[chat.Attempt] = []
    deps.turns.stop_early(turn)
    try:
        await _work(turn, deps, attempts)
        if not turn.claim.done():
            await asyncio.wait({turn.claim})
        if turn.postponed and turn.claimed:
            await _work(turn, deps, attempts)
    except asyncio.CancelledError:
        # Cancelled after the drain budget: the client is told, the fact is published, then we go.
        await end(*(task for task in (turn.work, turn.claim) if task is not None))
        if turn.claimed:
            await _finish(turn, deps, attempts, _outcome(turn))
        raise
    if turn.claimed:
        await _finish(turn, deps, attempts, _outcome(turn))


async def _work(turn: Turn, deps: Deps, attempts: list[chat.Attempt]) -> None:
    """Converse in a task of its own, which a stop cancels; and a claim that is not ours."""
    if turn.receipt is None:
        turn.work = work = asyncio.create_task(_converse(turn, deps, attempts), name=turn.request.request_id)
        turn.claim.add_done_callback(lambda _: turn.claimed or work.cancel())
        await asyncio.wait({work})


def _outcome(turn: Turn) -> Answered | ReplyFailed | None:
    """What the work of a turn came to; None when it was stopped."""
    if turn.work is None or not turn.over:
        if turn.receipt is None:
            return _error(503, "The service is shutting down.", "shutting_down")
        if turn.receipt.reason == "deadline":
            return _error(504, "The answer was not complete before the deadline.", "deadline_exceeded")
        return None
    error = turn.work.exception()
    if isinstance(error, ReplyFailed):
        return error
    if error is not None:
        log.error("turn failed unexpectedly", request_id=turn.request.request_id, exc_info=error)
        return _error(500, "The answer failed inside the service.", "internal_error")
    answered: Answered = turn.work.result()
    return answered


def _error(status: int, message: str, code: str) -> ReplyFailed:
    return ReplyFailed(ReplyError(status=status, message=message, type="server_error", code=code))


# -- conversing -------------------------------------------------------------------------------------------------


async def _converse(turn: Turn, deps: Deps, made: list[chat.Attempt]) -> Answered:
    timer = asyncio.get_running_loop().call_later(
        max(0.0, turn.deadline - time.time()), lambda: turn.stop("deadline", time.time())
    )
    try:
        return await _by_alias(turn, turn.request.model, deps, made)
    finally:
        timer.cancel()


async def _by_alias(turn: Turn, name: str, deps: Deps, made: list[chat.Attempt]) -> Answered:
    alias = deps.aliases.aliases.get(name)
    if alias is None:
        message = f"The model '{name}' does not exist."
        raise ReplyFailed(
            ReplyError(status=404, message=message, type="invalid_request_error", param="model", code="model_not_found")
        )
    turn.request = await with_active_set(turn.event.payload, alias, deps.active_sets)
    attempts = Attempts(
        alias=alias,
        deadline=turn.deadline,
        breakers=deps.breakers,
        # The set's own tools must not cost an answer its failover.
        needs_tools=bool(turn.event.payload.body.get("tools")),
        streams=turn.request.stream,
        made=made,
        may_continue=lambda: _may_continue(turn, alias),
        first_byte_at=lambda: turn.first_byte_at,
    )
    ask = _stream if turn.request.stream else _whole
    try:
        return await attempts.run(lambda upstream, patience: ask(turn, alias, upstream, patience, deps))
    except TooLong:
        return await _by_alias(turn, alias.larger or "", deps, made)


def _may_continue(turn: Turn, alias: Alias) -> bool:
    """After a break somebody may go on where nothing was released, or where it was cut at a sentence."""
    if turn.delivered_tokens == 0:
        return True
    return alias.holds_sentences and bool(turn.released_text) and turn.request.body.get("n", 1) == 1


async def _stream(turn: Turn, alias: Alias, upstream: Upstream, patience: Patience, deps: Deps) -> Answered:
    body = turn.request.body
    options = body.get("stream_options") or {}
    wants_usage = bool(options.get("include_usage"))
    relay = Relay(turn, alias, upstream, include_usage=wants_usage, choices=body.get("n") or 1)
    request = merge_request(body, upstream, stream=True, released=turn.released_text)
    async with deps.chat_model.ask(upstream, request, patience) as incoming:
        turn.answer = incoming
        try:
            await turn.await_claim()
            await incoming.relay(relay.take)
        finally:
            turn.answer = None
    relay.check_whole()
    usage = _usage(relay.usage, body, relay.tokens)
    relay.finish(usage.model_dump(exclude={"estimated"}) if relay.usage is None else relay.usage)
    return Answered(upstream, relay.model, usage, relay.finish_reason)


async def _whole(turn: Turn, alias: Alias, upstream: Upstream, patience: Patience, deps: Deps) -> Answered:
    del alias
    request = merge_request(turn.request.body, upstream, stream=False, released="")
    turn.upstream, turn.attempt_tokens, turn.first_byte_at = upstream, 0, None
    async with deps.chat_model.ask(upstream, request, patience) as incoming:
        turn.answer = incoming
        try:
            body = await incoming.whole()
            await turn.await_claim()
            turn.first_byte_at = time.time()
            completion = _parse_completion(body)
        finally:
            turn.answer = None
    completion["id"] = turn.request.request_id
    completion.pop("system_fingerprint", None)
    model = completion.get("model") or upstream.model
    usage = _usage(completion.get("usage"), turn.request.body, _said_tokens(completion))
    turn.generated_tokens = turn.attempt_tokens = usage.completion_tokens
    turn.start(provider_headers(upstream))
    turn.emit_whole(orjson.dumps(completion), tokens=usage.completion_tokens)
    return Answered(upstream, model, usage, completion["choices"][0].get("finish_reason"))


def _parse_completion(body: bytes) -> dict[str, Any]:
    try:
        completion = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise UpstreamBroken("the upstream sent a body that is not JSON") from error
    choices = completion.get("choices") if isinstance(completion, dict) else None
    if not isinstance(choices, list) or not choices:
        raise UpstreamBroken("the upstream sent an answer without choices")
    if any(not isinstance(c, dict) or c.get("message") is None or c.get("finish_reason") is None for c in choices):
        raise UpstreamBroken("the upstream sent an unfinished answer")
    return dict(completion)


def _said_tokens(completion: dict[str, Any]) -> int:
    texts = [choice["message"].get("content") or "" for choice in completion["choices"]]
    return sum(len(text) for text in texts if isinstance(text, str)) // CHARACTERS_PER_TOKEN


def _usage(reported: dict[str, Any] | None, body: dict[str, Any], completion_tokens: int) -> Usage:
    if reported:
        prompt, completion = _count(reported.get("prompt_tokens")), _count(reported.get("completion_tokens"))
        return Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)
    prompt = prompt_tokens(body)
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion_tokens,
        total_tokens=prompt + completion_tokens,
        estimated=True,
    )


def _count(reported: Any) -> int:
    """A number of tokens as an upstream reports it; what is no number is none."""
    return max(0, int(reported)) if isinstance(reported, (int, float)) and math.isfinite(reported) else 0


def prompt_tokens(body: dict[str, Any]) -> int:
    """An estimate of the tokens in a request's messages."""
    return sum(len(str(message.get("content") or "")) for message in body["messages"]) // CHARACTERS_PER_TOKEN


# -- ending -----------------------------------------------------------------------------------------------------


async def _finish(
    turn: Turn,
    deps: Deps,
    attempts: list[chat.Attempt],
    outcome: Answered | ReplyFailed | None,
    *,
    lost: bool = False,
) -> None:
    """Store how it ended, send the last frames, publish the one fact."""
    if turn.withdrawn:
        deps.turns.note_withdrawn(turn.request.request_id)
        return
    turn.defer()
    common = _common(turn, attempts)
    event: Event[Any]
    if isinstance(outcome, Answered):
        event = _completed(turn, common, outcome)
    elif isinstance(outcome, ReplyFailed):
        event = _failed(turn, common, outcome)
    else:
        event = _interrupted(turn, common)
    if lost:
        turn.refuse(_refusal(event.payload.error))
    else:
        turn.end(_summary(event, outcome))
    fact = event.record()
    deps.turns.note_ended(turn, fact)
    turn.flush()
    if lost:
        # Through which gateway the client listens by now, only the dead one knew.
        deps.live.queue_signal(ANSWER_ABANDONED, AnswerAbandoned(request_id=turn.request.request_id))
    # Told before it is kept, the fact would be contradicted by whoever finds the turn unfinished after a crash.
    await deps.live.settled()
    labelled(TURNS, turn.request.model, event.spec.type.rpartition(".")[2]).inc()
    await _publish(fact, deps)


async def _publish(fact: Record, deps: Deps) -> None:
    """The fact must get out, however long the log is away: the turn's key keeps it over a crash meanwhile."""
    while True:
        try:
            await deps.facts.put(fact)
        except BusUnavailableError as error:
            log.warning("fact waits for the log", event_id=fact.headers["event-id"], error=str(error))
            await asyncio.sleep(AWAY_SECONDS)
        else:
            return


def _common(turn: Turn, attempts: list[chat.Attempt]) -> dict[str, Any]:
    request = turn.request
    return {
        "request_id": request.request_id,
        "org_id": request.org_id,
        "key_id": request.key_id,
        "session_id": request.session_id,
        "user_id": request.user_id,
        "model": request.model,
        "stream": request.stream,
        "received_at": request.received_at,
        "started_at": turn.started_at,
        "first_token_at": turn.first_token_at,
        "finished_at": time.time(),
        "attempts": tuple(attempts),
    }


def _completed(turn: Turn, common: dict[str, Any], answered: Answered) -> Event[Any]:
    usage = answered.usage
    labelled(TOKENS, turn.request.model, "prompt").inc(usage.prompt_tokens)
    labelled(TOKENS, turn.request.model, "completion").inc(usage.completion_tokens)
    payload = chat.ChatReplyCompleted(
        **common,
        upstream=answered.upstream.name,
        upstream_model=answered.model,
        usage=usage,
        cost_usd=answered.upstream.price.cost(usage.prompt_tokens, usage.completion_tokens),
        finish_reason=answered.finish_reason,
    )
    return _fact(chat.CHAT_REPLY_COMPLETED, turn, payload)


def _spent(turn: Turn, common: dict[str, Any]) -> dict[str, Any]:
    """What the attempt cost that was under way at a stop."""
    last = common["attempts"][-1] if common["attempts"] else None
    if last is not None and last.outcome not in ("stopped", "completed"):
        # Stopped between two attempts: the failed one is not billed.
        last = None
    used = _usage(None, turn.request.body, turn.attempt_tokens) if last else Usage()
    return {
        "upstream": last.upstream if last else None,
        "upstream_model": last.model if last else None,
        "usage": used,
        "cost_usd": turn.upstream.price.cost(used.prompt_tokens, used.completion_tokens) if turn.upstream else 0.0,
    }


def _interrupted(turn: Turn, common: dict[str, Any]) -> Event[Any]:
    payload = chat.ChatReplyInterrupted(**common, **_spent(turn, common), receipt=turn.receipt)
    return _fact(chat.CHAT_REPLY_INTERRUPTED, turn, payload)


def _failed(turn: Turn, common: dict[str, Any], failure: ReplyFailed) -> Event[Any]:
    if turn.begun and turn.request.stream:
        error = failure.error
        turn.emit_error(orjson.dumps(_refusal(error).body()))
    # An answer that the deadline ended has cost what was said until then.
    payload = chat.ChatReplyFailed(**common, **_spent(turn, common), error=failure.error)
    return _fact(chat.CHAT_REPLY_FAILED, turn, payload)


def _refusal(error: ReplyError) -> Refused:
    return Refused(error.status, error.message, error.code, error.param, error.type)


def _fact(spec: Any, turn: Turn, payload: Any) -> Event[Any]:
    # One id per turn, so that a fact published twice is recognised.
    return Event(spec, payload, id=f"{turn.request.request_id}/end")


def _summary(event: Event[Any], outcome: Answered | ReplyFailed | None) -> AnswerEnd:
    """What the END frame tells the gateway."""
    error = None
    if isinstance(outcome, ReplyFailed):
        error = AnswerError(**outcome.error.model_dump(), retry_after=outcome.retry_after)
    usage = TokenCounts(**event.payload.usage.model_dump(exclude={"estimated"}))
    return AnswerEnd(outcome=event.spec.type.rpartition(".")[2], usage=usage, error=error)
