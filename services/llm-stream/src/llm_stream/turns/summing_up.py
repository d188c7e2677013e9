"""The rolling summary of a session: asked for once an answer is out, as a turn of its own that nobody hears.

So it has all that turns have: it is on the log, whoever lives answers it, it fails over, and its fact tells what it
cost. A turn is never later or worse for it: what cannot be asked for now is asked for by a later turn.
"""

import hashlib
import time

import structlog

from common.bus.port import BusUnavailableError
from common.events.chat import CHAT_REPLY_REQUESTED, ChatReplyRequested
from common.events.envelope import Event
from common.events.session_summary import RollingSummary
from llm_stream.answer.failure import AnswerFailed
from llm_stream.answer.finish import FinishedAnswer
from llm_stream.answer.whole import Completion
from llm_stream.deps import Deps
from llm_stream.history.rolling_summary import MAX_CHARACTERS, ToSumUp, request_of, wanted_summary
from llm_stream.history.session_memory import HistoryUnavailable
from llm_stream.metrics import SESSION_SUMMARIES
from llm_stream.turns.turn import Turn

log = structlog.get_logger(__name__)

# Nobody waits for it; an upstream that is slow may be.
DEADLINE_SECONDS = 120.0


async def ask_for_summary(turn: Turn, deps: Deps) -> None:
    """Have what a turn found too long for its window summed up, unless somebody is at it."""
    request, session = turn.request, turn.notes.session
    wanted = None if session is None else session.to_sum_up
    if wanted is None or not isinstance(request, ChatReplyRequested):
        return
    alias = deps.aliases.aliases.get(wanted.alias)
    if alias is None or alias.serves != "chat":
        SESSION_SUMMARIES.labels("no_alias").inc()
        log.warning("no summary: its config names no alias that answers", alias=wanted.alias)
        return
    try:
        if await deps.sessions.begin_summary(request.org_id, request.session_id):
            await deps.facts.put(_asked(request, wanted, alias.context_tokens).record())
            SESSION_SUMMARIES.labels("asked").inc()
    except (HistoryUnavailable, BusUnavailableError) as error:
        SESSION_SUMMARIES.labels("failed").inc()
        log.warning("no summary was asked for", session_id=request.session_id, error=str(error))


def _asked(request: ChatReplyRequested, wanted: ToSumUp, window: int | None) -> Event[ChatReplyRequested]:
    summary, text = wanted_summary(wanted, request.session_id, time.time(), window)
    digest = hashlib.blake2b(f"{request.request_id}/summary".encode(), digest_size=16).hexdigest()
    request_id = f"chatcmpl-{digest}"
    asked = ChatReplyRequested(
        request_id=request_id,
        org_id=request.org_id,
        key_id=request.key_id,
        # A session of its own: an interruption of the user's does not stop it.
        session_id=request_id,
        model=wanted.alias,
        stream=False,
        received_at=summary.asked_at,
        body=request_of(text, wanted.alias, wanted.tokens),
        # Told in the word that its upstream knows.
        answer_tokens=wanted.tokens,
        budget=request.budget,
        summary=summary,
    )
    return Event(CHAT_REPLY_REQUESTED, asked, id=request_id, deadline=summary.asked_at + DEADLINE_SECONDS)


def summary_made(turn: Turn, outcome: FinishedAnswer | AnswerFailed | None) -> RollingSummary | None:
    """The summary that a turn was for, with its text where it came to one; None for every other turn."""
    request = turn.request
    if not isinstance(request, ChatReplyRequested) or request.summary is None:
        return None
    heard = outcome.heard if isinstance(outcome, FinishedAnswer) else None
    said = heard.message().get("content") if isinstance(heard, Completion) else None
    text = said.strip() if isinstance(said, str) else ""
    SESSION_SUMMARIES.labels("made" if text else "failed").inc()
    if not text:
        return request.summary
    return request.summary.model_copy(update={"text": text[:MAX_CHARACTERS], "made_at": time.time()})
