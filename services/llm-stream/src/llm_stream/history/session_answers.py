"""What callers ask about sessions: their turns, one of them, what was heard of an answer, and to forget them."""

from collections.abc import Sequence
from typing import Any

import orjson

from common.events.chat import AnswerDialect
from common.events.reply import Reply
from common.events.session_turns import (
    SessionDeleteRequested,
    SessionExtended,
    SessionExtendRequested,
    SessionGone,
    SessionHistory,
    SessionRequested,
    SessionTurn,
    ShownSession,
    ShownSummary,
    ShownTurn,
    Spoken,
    SpokenReported,
    TurnFound,
    TurnRequested,
)
from common.failures import Refused
from llm_stream.history.session_context import context_of, in_line
from llm_stream.history.session_memory import HistoryUnavailable, Remembered, SessionMemory, merged
from llm_stream.history.session_variables import SessionVariables
from llm_stream.history.spoken_text import delivered_text, generated, heard_characters, spoken_text, was_cut_off
from llm_stream.metrics import SESSION_SPOKEN
from llm_stream.ports import CacheUnavailable
from llm_stream.tools.pairs import closed

# Who has written what is no turn of a model.
CONVERSATION = "conversation"
AWAY = Refused(
    503,
    "What sessions remember cannot be read at the moment.",
    "history_unavailable",
    type="server_error",
    headers={"retry-after": "1"},
)


async def show(asked: SessionRequested, memory: SessionMemory, mark: str) -> Reply[ShownSession]:
    """200, or 404 for a session of which nothing is kept."""
    try:
        hot = await memory.read(asked.org_id, asked.session_id)
        history = merged(await memory.archived(asked.org_id, asked.session_id), hot)
    except HistoryUnavailable:
        raise AWAY from None
    gone = history.deleted_at or 0.0
    turns = tuple(turn for turn in history.turns if turn.received_at > gone)
    if not turns:
        raise _no_session(asked.session_id)
    shown = ShownSession(
        id=asked.session_id,
        object="session",
        turns=tuple(_shown(turn) for turn in turns),
        cut=history.cut,
        messages=tuple(closed(context_of(in_line(turns), mark))),
        summary=_shown_summary(history),
        metadata=_metadata(turns),
    )
    return Reply(shown)


async def find_turn(asked: TurnRequested, memory: SessionMemory) -> Reply[TurnFound]:
    """200 with the turn of that id or the last of that session, or 404."""
    try:
        session_id = asked.session_id
        if asked.request_id is not None:
            session_id = await memory.session_of(asked.org_id, asked.request_id)
        if session_id is None:
            raise _no_turn(asked.request_id or "")
        remembered = await memory.read(asked.org_id, session_id, waits_before=_EVER)
    except HistoryUnavailable:
        raise AWAY from None
    turn = _turn(remembered, asked.request_id, session_id)
    return Reply(TurnFound(turn=turn, open_ended=turn.outcome == "interrupted" or was_cut_off(turn)))


async def report_spoken(asked: SpokenReported, memory: SessionMemory) -> Reply[Spoken]:
    """200 with what counts as spoken. Refuses (404) where there is no such turn, (409) what was never delivered."""
    try:
        remembered = await memory.read(asked.org_id, asked.session_id, waits_before=_EVER)
        turn = _turn(remembered, asked.request_id, asked.session_id)
        characters = heard_characters(delivered_text(turn), asked.heard)
        if characters is None:
            message = "What was heard is not how this answer begins."
            raise Refused(409, message, "not_what_was_said", "heard")
        turn = await memory.note_spoken(asked.org_id, turn, characters, "platform")
    except HistoryUnavailable:
        raise AWAY from None
    SESSION_SPOKEN.labels("platform").inc()
    return Reply(Spoken(id=turn.id, spoken=spoken_text(turn), characters=characters))


async def extend(asked: SessionExtendRequested, memory: SessionMemory) -> Reply[SessionExtended]:
    """200 once it is kept. Refuses (413) what no turn has room for."""
    if len(orjson.dumps(asked.messages)) > memory.turn_bytes:
        message = f"These items are too long: a session keeps {memory.turn_bytes} bytes at a time."
        raise Refused(413, message, "items_too_long", "items")
    told = {} if asked.metadata is None else {"metadata": asked.metadata}
    turn = SessionTurn(
        id=asked.request_id,
        session_id=asked.session_id,
        outcome="completed",
        kept="full",
        model="",
        stream=False,
        received_at=asked.at,
        finished_at=asked.at,
        messages=asked.messages,
        dialect=AnswerDialect(name=CONVERSATION, told=told),
    )
    try:
        await memory.extend(asked.org_id, turn, fresh=asked.fresh)
    except HistoryUnavailable:
        raise AWAY from None
    return Reply(SessionExtended(id=turn.id))


def _metadata(turns: Sequence[SessionTurn]) -> dict[str, Any] | None:
    """What was noted of the session last."""
    noted = [turn.dialect.told for turn in turns if turn.dialect is not None and turn.dialect.name == CONVERSATION]
    return next((told["metadata"] for told in reversed(noted) if "metadata" in told), None)


async def forget(
    asked: SessionDeleteRequested, memory: SessionMemory, variables: SessionVariables
) -> Reply[SessionGone]:
    """200, whether there was anything or not: what of it ends later is not kept either."""
    try:
        await memory.delete(asked.org_id, asked.session_id, asked.request_id, asked.at)
        if asked.request_id is None:
            await variables.forget(asked.org_id, asked.session_id)
    except (HistoryUnavailable, CacheUnavailable):
        raise AWAY from None
    return Reply(SessionGone(id=asked.request_id or asked.session_id, deleted=True))


def _shown_summary(history: SessionHistory) -> ShownSummary | None:
    summary = history.summary
    if summary is None:
        return None
    return ShownSummary(**summary.model_dump(include=set(ShownSummary.model_fields)))


def _shown(turn: SessionTurn) -> ShownTurn:
    told = {name: getattr(turn, name) for name in ShownTurn.model_fields.keys() & SessionTurn.model_fields.keys()}
    full = turn.kept == "full" and not turn.left_out
    said = (generated(turn.answer), delivered_text(turn), spoken_text(turn)) if full else (None, None, None)
    texts = dict(zip(("generated", "delivered", "spoken"), said, strict=True))
    return ShownTurn(**{**told, **texts, "cut_off": full and was_cut_off(turn)})


# Every turn that runs was received before this.
_EVER = 1e15


def _turn(remembered: Remembered, request_id: str | None, session_id: str) -> SessionTurn:
    turns = [turn for turn in remembered.turns if request_id in (None, turn.id)]
    if not turns:
        raise _no_session(session_id) if request_id is None else _no_turn(request_id)
    return max(turns, key=lambda turn: (turn.received_at, turn.id))


def _no_session(session_id: str) -> Refused:
    return Refused(404, f"Nothing is kept of the session '{session_id}'.", "session_not_found", "session_id")


def _no_turn(request_id: str) -> Refused:
    return Refused(404, f"Nothing is kept of the answer '{request_id}'.", "turn_not_found", "id")
