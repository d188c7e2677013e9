"""The life of a turn: from the request to its one end, whatever happens in between."""

import asyncio
import time
from functools import partial

import structlog

from common.bus.port import BusUnavailableError
from common.kernel.tasks import end
from llm_stream.answer import pipeline
from llm_stream.answer.failure import AnswerFailed, server_error, too_late
from llm_stream.answer.finish import FinishedAnswer
from llm_stream.answer.in_progress import AnswerInProgress
from llm_stream.answer.spending import Spending
from llm_stream.deps import Deps
from llm_stream.turns import ending
from llm_stream.turns.claim import Claim, Claimed, Ended, RequestEvent
from llm_stream.turns.stop import Stop
from llm_stream.turns.turn import Turn

log = structlog.get_logger(__name__)

# While the live store is away: often enough to be back within a second, seldom enough not to spin.
AWAY_SECONDS = 0.2
# What was received so recently is hardly a redelivery, so its upstream is asked while the claim is.
NEW_SECONDS = 1.0
# How often a request delivered twice looks whether its other delivery has come to an end.
TAKEN_SECONDS = 0.5


async def answer(event: RequestEvent, deps: Deps, *, refused: AnswerFailed | None = None) -> None:
    """Answer one request, or see to it that whoever is at it already comes to an end.

    One that is `refused` is ended so where nobody answers it yet, and no upstream is asked. Returning earlier would let
    the log forget a request whose answerer may still die.
    """
    while True:
        with deps.turns.answering(event.payload.request_id) as first:
            if first and await _answer(event, deps, refused):
                return
        await asyncio.sleep(TAKEN_SECONDS)


async def _answer(event: RequestEvent, deps: Deps, refused: AnswerFailed | None) -> bool:
    """Whether the request is done with; False while another instance answers it."""
    request_id = event.payload.request_id
    turn = Turn(event, deps.live, partial(deps.claims.note_released, request_id), deps.memory)
    turn.claim = claim = asyncio.create_task(_claim(turn, deps), name=f"claim {request_id}")
    try:
        with deps.turns.running(turn):
            if refused is not None or time.time() - event.payload.received_at > NEW_SECONDS:
                await asyncio.wait({claim})
            if not claim.done() or claim.result() is Claim.OURS:
                await (_run(turn, deps) if refused is None else ending.finish(turn, refused, deps))
            if claim.result() is Claim.LOST:
                await ending.abandon(turn, deps)
    finally:
        # What went wrong in it knows the turn by its frames: both would stay, with the request, until somebody looks.
        turn.work = None
    claimed = claim.result()
    if isinstance(claimed, Ended):
        await ending.repeat(event, claimed, deps)
    return claimed is not Claim.TAKEN


async def _claim(turn: Turn, deps: Deps) -> Claimed:
    """However long the live store is away: the request was accepted, and the log keeps it meanwhile."""
    while True:
        try:
            return await deps.claims.claim(turn.event)
        except BusUnavailableError as error:
            log.warning("request waits for the live store", event_id=turn.event.id, error=str(error))
            _postpone(turn)
            await asyncio.sleep(AWAY_SECONDS)


def _postpone(turn: Turn) -> None:
    """Give the upstream up: it would talk to nobody for as long as the claim has to wait."""
    if turn.work is not None and not turn.work.done():
        turn.postponed = True
        turn.work.cancel()


async def _run(turn: Turn, deps: Deps) -> None:
    """Answer, and end the turn if the claim is ours: that is asked beside the upstream."""
    deps.early_stops.apply(turn)
    if turn.deadline <= time.time():
        # It was read without its body.
        turn.stop(Stop("deadline", time.time()))
    try:
        await _work(turn, deps)
        if not turn.claim.done():
            await asyncio.wait({turn.claim})
        if turn.postponed and turn.ours:
            await _work(turn, deps)
    except asyncio.CancelledError:
        # Cancelled after the drain budget: the client is told, the fact is published, then we go.
        await end(*(task for task in (turn.work, turn.claim) if task is not None))
        if turn.ours:
            await ending.finish(turn, _outcome(turn), deps)
        raise
    if turn.ours:
        await ending.finish(turn, _outcome(turn), deps)


async def _work(turn: Turn, deps: Deps) -> None:
    """Make the answer in a task of its own, which a stop cancels, and a claim that is not ours."""
    if turn.receipt is None:
        turn.work = work = asyncio.create_task(_in_time(turn, deps), name=turn.request.request_id)
        turn.claim.add_done_callback(lambda _: turn.ours or work.cancel())
        await asyncio.wait({work})


async def _in_time(turn: Turn, deps: Deps) -> FinishedAnswer | None:
    """Make the answer; at the deadline the turn is stopped."""
    timer = asyncio.get_running_loop().call_later(
        max(0.0, turn.deadline - time.time()), lambda: turn.stop(Stop("deadline", time.time()))
    )
    budget = turn.request.budget
    turn.spending = None if budget is None else Spending(deps.budgets, budget, turn.request)
    in_progress = AnswerInProgress(
        turn.request,
        turn.deadline,
        turn.frames,
        turn.attempts,
        turn.is_ours,
        deps.turns.whole_answers,
        turn.notes,
        turn.rounds,
        turn.spending,
    )
    try:
        return await pipeline.run(in_progress, deps)
    finally:
        timer.cancel()


def _outcome(turn: Turn) -> FinishedAnswer | AnswerFailed | None:
    """What the work of a turn came to; None when it was stopped."""
    if turn.work is None or not turn.over:
        if turn.receipt is None:
            return server_error(503, "The service is shutting down.", "shutting_down")
        return too_late() if turn.receipt.reason == "deadline" else None
    error = turn.work.exception()
    if isinstance(error, AnswerFailed):
        return error
    if error is not None:
        log.error("turn failed unexpectedly", completion_id=turn.request.request_id, exc_info=error)
        return server_error(500, "The answer failed inside the service.", "internal_error")
    return turn.work.result()
