"""The stage that takes a false interruption up: what was generated and not heard is said first, then the model goes on.

An answer that was whole needs no upstream. One that was cut is continued like one that broke: whatever an upstream
repeats of it is dropped.
"""

from collections.abc import Sequence
from typing import Any

import orjson

from common.events.chat import ChatReplyRequested, Usage
from common.events.session_turns import SessionTurn
from llm_stream.answer.finish import FinishedAnswer
from llm_stream.answer.in_progress import AnswerInProgress
from llm_stream.answer.prepare import PreparedRequest
from llm_stream.context.exchanges import INSTRUCTING
from llm_stream.history.session_context import context_of
from llm_stream.history.session_notes import SessionNotes
from llm_stream.history.spoken_text import Message, generated, spoken_text, text_of
from llm_stream.tools.pairs import closed


async def resumed(prepared: PreparedRequest, notes: SessionNotes, answer: AnswerInProgress) -> PreparedRequest:
    """The request that goes on from all that was generated, which is sent as far as it was not heard."""
    said = notes.line[-1]
    whole = said.model_copy(update={"delivered": None, "spoken": None})
    context = closed(context_of([*notes.line[:-1], whole], ""))
    before: Message = context.pop() if _is_speech(context) else {}
    unheard = generated(said.answer)[len(spoken_text(said)) :]
    if not answer.frames.begun and await answer.is_ours():
        _say(unheard, text_of(before), notes, prepared, answer)
    leading = [each for each in prepared.body["messages"] if each.get("role") in INSTRUCTING]
    return prepared._replace(body={**prepared.body, "messages": [*leading, *context]})


def _is_speech(context: Sequence[Message]) -> bool:
    last = context[-1] if context else {}
    return last.get("role") == "assistant" and not last.get("tool_calls")


def _say(unheard: str, speech: str, notes: SessionNotes, prepared: PreparedRequest, answer: AnswerInProgress) -> None:
    """Send what was not heard; `speech` is the message that the model is to go on with, heard and unheard."""
    frames = answer.frames
    frames.start({})
    _emit({"role": "assistant", "content": ""}, prepared, answer)
    notes.earlier = unheard[: max(0, len(unheard) - len(speech))]
    if notes.earlier:
        # It was said before calls of tools, and the model went on behind them.
        _emit({"content": notes.earlier}, prepared, answer)
        frames.begin_round()
    rest = unheard[len(notes.earlier) :]
    notes.before = speech[: len(speech) - len(rest)]
    frames.go_on_from(notes.before)
    if rest:
        _emit({"content": rest}, prepared, answer)


async def take_up(prepared: PreparedRequest, answer: AnswerInProgress) -> FinishedAnswer | None:
    """The end of an answer of which everything had been generated; None for every other request."""
    request, notes = answer.request, answer.notes.session
    if notes is None or not isinstance(request, ChatReplyRequested):
        return None
    if request.session is None or request.session.continues is None or not is_whole(notes.line[-1]):
        return None
    if not await answer.is_ours():
        return None
    said = notes.line[-1]
    reason = said.finish_reason or "stop"
    answer.frames.delivery.defer()
    _emit({}, prepared, answer, finish_reason=reason)
    answer.frames.emit(b"[DONE]")
    return FinishedAnswer(None, said.upstream_model or request.model, Usage(), 0.0, reason)


def is_whole(turn: SessionTurn) -> bool:
    """Whether the model had said all that it had to say."""
    return turn.outcome == "completed"


def _emit(
    delta: dict[str, Any], prepared: PreparedRequest, answer: AnswerInProgress, finish_reason: str | None = None
) -> None:
    request, text = prepared.request, delta.get("content") or ""
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
    chunk = {
        "id": request.request_id,
        "object": "chat.completion.chunk",
        "created": int(request.received_at),
        "model": request.model,
        "choices": [choice],
    }
    if prepared.wants_usage:
        chunk["usage"] = None
    # No upstream of this turn has said it: failover and receipts count what they say.
    answer.frames.emit(orjson.dumps(chunk), text=text)
