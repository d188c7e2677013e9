"""The stage that puts what a session remembers in front of a request, or finds in the request what was heard of it.

It does nothing, and costs nothing, where no texts of the session are kept.
"""

from collections.abc import Sequence
from typing import Any

from common.events.chat import ChatReplyRequested, SessionUse
from common.events.session_turns import SessionTurn
from llm_stream.answer.failure import AnswerFailed, bad_request, server_error
from llm_stream.answer.finish import HeardAnswer
from llm_stream.answer.in_progress import AnswerInProgress
from llm_stream.answer.prepare import PreparedRequest
from llm_stream.answer.relay import Relay
from llm_stream.answer.resumed_speech import resumed
from llm_stream.answer.whole import Completion
from llm_stream.context.exchanges import INSTRUCTING
from llm_stream.deps import Deps
from llm_stream.history.sent_history import heard_in, holds_history, new_messages, repeats_calls, talk
from llm_stream.history.session_context import context_of, in_line, is_cut, marked
from llm_stream.history.session_memory import HistoryUnavailable, Remembered
from llm_stream.history.session_notes import SessionNotes, is_named, kept_mode
from llm_stream.history.spoken_text import Message, delivered_text, spoken_text, text_of, was_cut_off
from llm_stream.metrics import SESSION_SPOKEN
from llm_stream.tools.pairs import closed

# Dialects whose platforms send the whole conversation each time, as they have it.
KEEP_NO_HISTORY = frozenset({"openai", "responses"})
DEFAULT_USE = SessionUse()


async def with_past(prepared: PreparedRequest, answer: AnswerInProgress, deps: Deps) -> PreparedRequest:
    """The request as its session wants it asked. Raises AnswerFailed (404, 503)."""
    request, notes = answer.request, answer.notes
    if not isinstance(request, ChatReplyRequested):
        return prepared
    if request.session is None and not prepared.session_rules and not is_named(request):
        return prepared
    if notes.session is None:
        mode = kept_mode(request, prepared.session_rules, deps.sessions.most)
        notes.session = SessionNotes(mode)
        if mode == "full":
            answer.frames.backlog.needs_texts = True
            notes.session = await _begun(request, answer.deadline, deps)
    if notes.session.mode != "full":
        return prepared
    mark = prepared.session_rules.get("interruption_mark", deps.session_mark)
    use = request.session or DEFAULT_USE
    if use.continues is not None:
        return await resumed(prepared, notes.session, answer)
    if _is_stored(request, use, notes.session.line):
        return _in_front(prepared, notes.session, mark)
    return await _sent(prepared, notes.session, mark, deps)


def note_said(heard: HeardAnswer, answer: AnswerInProgress) -> None:
    """Note how an answer ends, where that is kept and is not the text that was sent alone."""
    notes = answer.notes.session
    if notes is None or notes.mode != "full":
        return
    if isinstance(heard, Completion):
        notes.said = heard.message()
    elif isinstance(heard, Relay) and (calls := heard.calls_of_client()):
        made = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in calls
        ]
        notes.said = {"tool_calls": made}


async def _begun(request: ChatReplyRequested, until: float, deps: Deps) -> SessionNotes:
    """What is known of the session before this turn. Raises AnswerFailed."""
    use = request.session or DEFAULT_USE
    waits = use.history != "sent" and not _sends_all(request)
    try:
        remembered = await deps.sessions.begin(request, until, waits=waits)
    except HistoryUnavailable:
        if not waits and use.continues is None:
            # The caller has it too: an answer is worth more than a mark in it.
            return SessionNotes("full", messages=talk(request.body["messages"]))
        message = "What this session remembers cannot be read at the moment: come back, or send the whole conversation."
        raise _unavailable(message) from None
    line = _line(remembered, use)
    return SessionNotes("full", line=line, fresh=not is_named(request), summary=remembered.summary)


def _line(remembered: Remembered, use: SessionUse) -> list[SessionTurn]:
    """The turns that lead to this one. Raises AnswerFailed (404) where the one it is to follow is not among them."""
    last = use.continues or use.previous
    if last == "":
        return []
    line = in_line(remembered.turns, last)
    if last is not None and not line:
        raise bad_request(
            404,
            f"Previous response with id 'resp_{last.removeprefix('chatcmpl-')}' not found.",
            param="previous_response_id",
            code="previous_response_not_found",
        )
    return line


def _unavailable(message: str) -> AnswerFailed:
    failure = server_error(503, message, "history_unavailable")
    failure.retry_after = 1.0
    return failure


def _sends_all(request: ChatReplyRequested) -> bool:
    return request.dialect is not None and request.dialect.name not in KEEP_NO_HISTORY


def _is_stored(request: ChatReplyRequested, use: SessionUse, line: Sequence[SessionTurn]) -> bool:
    """Whether what the session remembers is to stand in front."""
    if use.previous:
        return True
    if use.previous == "" or not line:
        return False
    if use.history is not None:
        return use.history == "stored"
    return not _sends_all(request) and not holds_history(request.body["messages"], line)


# -- the session's history in front ----------------------------------------------------------------------------------


def _in_front(prepared: PreparedRequest, notes: SessionNotes, mark: str) -> PreparedRequest:
    """Behind the instructions comes what was said and heard, then what is new."""
    line, messages = notes.line, prepared.body["messages"]
    sent = talk(prepared.request.body["messages"])
    repeated = repeats_calls(sent, line)
    sent = sent[repeated:]
    notes.messages = sent
    # Results without their calls were taken for orphans before: the calls are in the session.
    results = _results(sent)
    leading, rest = _divided(messages)
    rest = rest[repeated:]
    rest = rest[len(_results(rest)) :]
    if is_cut(line, sent) and not results:
        rest = marked(rest, mark)
    return _with_messages(prepared, closed([*leading, *context_of(line, mark, sent), *results, *rest]))


def _results(messages: Sequence[Message]) -> list[Message]:
    """The results of calls with which the messages begin."""
    count = next((at for at, message in enumerate(messages) if message.get("role") != "tool"), len(messages))
    return list(messages[:count])


def _divided(messages: Sequence[Message]) -> tuple[list[Message], list[Message]]:
    """The instructions at the beginning, and what follows."""
    count = next((at for at, each in enumerate(messages) if each.get("role") not in INSTRUCTING), len(messages))
    return list(messages[:count]), list(messages[count:])


def _with_messages(prepared: PreparedRequest, messages: list[Message]) -> PreparedRequest:
    body: dict[str, Any] = {**prepared.body, "messages": messages}
    return prepared._replace(body=body)


# -- a history that the caller sends ---------------------------------------------------------------------------------


async def _sent(prepared: PreparedRequest, notes: SessionNotes, mark: str, deps: Deps) -> PreparedRequest:
    """What was heard shows in what the caller sends; what was not is taken out of it."""
    sent = prepared.request.body["messages"]
    for turn, heard in heard_in(sent, notes.line):
        SESSION_SPOKEN.labels("history").inc()
        noted = await _noted(turn, heard, prepared, deps)
        notes.line = [noted if each.id == turn.id else each for each in notes.line]
    notes.messages = new_messages(sent, notes.line)
    if not notes.line:
        return prepared
    leading, rest = _divided(prepared.body["messages"])
    rest = _as_heard(rest, notes.line)
    if is_cut(notes.line, notes.messages):
        at = len(rest) - len(notes.messages)
        rest = [*rest[:at], *marked(rest[at:], mark)] if at >= 0 else rest
    return _with_messages(prepared, [*leading, *rest])


async def _noted(turn: SessionTurn, heard: int, prepared: PreparedRequest, deps: Deps) -> SessionTurn:
    try:
        return await deps.sessions.note_spoken(prepared.request.org_id, turn, heard, "history")
    except HistoryUnavailable:
        # For this request it holds all the same.
        return turn.model_copy(update={"spoken": heard, "spoken_by": "history"})


def _as_heard(messages: Sequence[Message], line: Sequence[SessionTurn]) -> list[Message]:
    """The messages, where an answer that was cut off says no more than was heard of it."""
    unheard = {delivered_text(turn).strip(): spoken_text(turn) for turn in line if was_cut_off(turn)}
    found = []
    for message in messages:
        text = text_of(message).strip() if message.get("role") == "assistant" else ""
        if not text or text not in unheard or message.get("tool_calls"):
            found.append(message)
        elif unheard[text].strip():
            found.append({**message, "content": unheard[text]})
    return found
