"""The guards around an answer: moderation, the cache of answers, and the budget of a key.

Each is off unless alias, key, flags or request want it, and costs nothing then.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias, TypeVar

from common.events.chat import ChatReplyRequested
from common.metrics import labelled
from llm_stream.answer.failure import AnswerFailed
from llm_stream.answer.finish import FinishedAnswer
from llm_stream.answer.gate import Cut, CutShort, Gate, Guard
from llm_stream.answer.in_progress import AnswerInProgress
from llm_stream.answer.moderation import Moderation, OutputModeration
from llm_stream.answer.own_words import OwnWords
from llm_stream.answer.prepare import PreparedRequest
from llm_stream.answer.response_cache import AnswerCache, cache_mode
from llm_stream.answer.usage import usage_of
from llm_stream.metrics import ANSWERS_CUT

MODERATION_FLAG = "moderation"

R = TypeVar("R")
Make: TypeAlias = Callable[[PreparedRequest, AnswerInProgress], Awaitable[FinishedAnswer | R | None]]


async def guarded(
    prepared: PreparedRequest, answer: AnswerInProgress, moderation: Moderation, cache: AnswerCache, make: Make[R]
) -> FinishedAnswer | R | None:
    """What `make` makes, within the guards that are wanted. Raises AnswerFailed."""
    if moderates(prepared, "input"):
        await moderation.check_input(prepared.body["messages"], answer.notes)
    if (mode := cache_mode(prepared)) is None:
        return await _gated(answer, moderation, make, prepared)
    return await cache.answered(mode, prepared, answer, partial(_gated, answer, moderation, make))


def wants_guards(prepared: PreparedRequest, answer: AnswerInProgress) -> bool:
    """Whether anybody wants any."""
    if answer.spending is not None or prepared.alias.moderation or prepared.flags:
        return True
    return cache_mode(prepared) is not None


def moderates(prepared: PreparedRequest, stage: str) -> bool:
    """Whether the moderator is asked: the alias wants it, or a flag wants it beside. No flag takes it away."""
    if not isinstance(prepared.request, ChatReplyRequested):
        return False
    return stage in prepared.alias.moderation or prepared.flags.get(MODERATION_FLAG) in (True, stage)


async def _gated(
    answer: AnswerInProgress, moderation: Moderation, make: Make[R], prepared: PreparedRequest
) -> FinishedAnswer | R | None:
    """The same with somebody looking at what leaves, where anybody does."""
    output = OutputModeration(moderation, answer.notes) if moderates(prepared, "output") else None
    guards: list[Guard] = [guard for guard in (output, answer.spending) if guard is not None]
    if not guards:
        return await make(prepared, answer)
    attempts = answer.attempts
    gate = Gate(answer.frames, guards, attempts.close_upstream, attempts.hold_upstream)
    if output is not None:
        output.proceed = gate.proceed
        # A sentence is looked at as a whole: nobody can judge half of one.
        prepared = prepared._replace(alias=prepared.alias.model_copy(update={"release": "sentences"}))
    if answer.spending is not None:
        answer.spending.proceed = gate.proceed
    try:
        made = await make(prepared, answer._replace(frames=gate, judge=None if output is None else output.judge))
        await gate.drained()
        return made
    except CutShort as short:
        return _cut_short(short.cut, answer)
    except AnswerFailed:
        await _let_out(gate)
        raise
    finally:
        gate.close()
        for guard in guards:
            guard.close()


async def _let_out(gate: Gate) -> None:
    """What was said before a failure leaves before it is told."""
    try:
        await gate.drained()
    except (CutShort, AnswerFailed):
        return


def _cut_short(cut: Cut, answer: AnswerInProgress) -> FinishedAnswer:
    """End an answer where a guard cut it: as one that is whole, with the reason why it says no more."""
    labelled(ANSWERS_CUT, cut.by).inc()
    answer.notes.ended_by = cut.by
    attempt, rounds = answer.attempts.last, answer.rounds
    prepared = attempt.prepared
    if attempt is not rounds.settled:
        rounds.settle(attempt, usage_of(None, prepared.body, attempt.estimated_tokens))
    usage, cost = rounds.usage, rounds.cost_usd
    words = OwnWords(prepared, answer.frames, attempt.upstream.model)
    mark = {"ended_by": cut.by}
    words.begin(attempt.provider_headers)
    if prepared.request.stream:
        words.end(cut.finish_reason, usage, mark)
    else:
        words.whole("", cut.finish_reason, usage, mark)
    return FinishedAnswer(attempt.upstream, attempt.upstream.model, usage, cost, cut.finish_reason)
