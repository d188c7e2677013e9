"""What the session is to keep of a turn that ends: the texts, as far as they came, every pair of a call closed."""

from typing import Any

import orjson

from common.events.chat import ChatReplyRequested, KeptTexts
from llm_stream.context.exchanges import INSTRUCTING
from llm_stream.history.session_memory import SessionMemory
from llm_stream.history.session_notes import Message, SessionNotes, kept_mode
from llm_stream.history.spoken_text import text_of
from llm_stream.tools.pairs import closed_round
from llm_stream.turns.turn import Turn

METADATA = KeptTexts(mode="metadata")
# What platforms add to a message stands in the turn already, or is worthless later.
BESIDE = frozenset({"models", "time", "type", "turn_id", "timestamp", "interruptable", "metadata"})
# The fields of a request that say what it is about, and not how it is to be answered.
NOT_ASKED = frozenset({"messages", "model", "stream", "stream_options", "store", "sonant_history"})
# What is kept beside the texts of a turn: tools make the most of it.
REQUEST_BYTES = 32 * 1024


def kept_texts(turn: Turn, memory: SessionMemory) -> KeptTexts | None:
    """What is kept of a turn; None for one of which nothing is."""
    request, notes = turn.request, turn.notes.session
    if not isinstance(request, ChatReplyRequested) or memory.most == "off":
        return None
    if notes is None:
        # It ended before anything of its session was looked at.
        return None if kept_mode(request, {}, "metadata") == "off" else METADATA
    if notes.mode != "full":
        return None if notes.mode == "off" else METADATA
    use = request.session
    answer = _answer(turn, notes)
    kept = {
        "messages": [_bare(message) for message in notes.messages],
        "answer": answer,
        "instructions": [message for message in _messages(request) if message.get("role") in INSTRUCTING],
        "request": {name: value for name, value in request.body.items() if name not in NOT_ASKED},
    }
    kept, left_out = _bounded(kept, memory.turn_bytes)
    return KeptTexts(
        mode="full",
        **kept,
        delivered=None if left_out else _delivered(turn, answer),
        previous=use and use.previous,
        continues=use and use.continues,
        project_id=request.project_id,
        dialect=request.dialect,
        left_out=left_out,
    )


def _messages(request: ChatReplyRequested) -> list[Message]:
    messages: list[Message] = request.body.get("messages") or []
    return messages


def _bare(message: Message) -> Message:
    if BESIDE.isdisjoint(message):
        return message
    return {name: value for name, value in message.items() if name not in BESIDE}


def _answer(turn: Turn, notes: SessionNotes) -> list[Message]:
    """The rounds of calls, those of the one under way closed, and what the model said last."""
    rounds = turn.rounds
    for step in rounds.steps:
        step.interrupt()
    answer = list(rounds.messages)
    told = {message["tool_call_id"] for message in answer if message.get("role") == "tool"}
    under_way = [step for step in rounds.steps if step.call.id not in told and step.outcome != "not_run"]
    text = turn.frames.released_text
    if under_way:
        # Its messages are made once its calls have ended.
        answer += closed_round(under_way, text)
    elif notes.said or text:
        answer.append({"role": "assistant", "content": text or None, **notes.said})
    if (notes.before or notes.earlier) and answer:
        said = text_of(answer[0]).removeprefix(notes.before)
        answer[0] = {**answer[0], "content": f"{notes.earlier}{said}"}
    return answer


def _delivered(turn: Turn, answer: list[Message]) -> int | None:
    """How many characters left towards the client; None for all there are."""
    if turn.receipt is None:
        return None
    if not turn.request.stream:
        # It would have been sent in one piece.
        return 0
    delivered = turn.frames.characters_up_to(turn.left_at)
    said = sum(len(text_of(message)) for message in answer if message.get("role") == "assistant")
    return None if delivered >= said else delivered


def _bounded(kept: dict[str, Any], most: int) -> tuple[dict[str, Any], bool]:
    """As much of it as there is room for: the texts whole, else none of them, and the request if it is not too long."""
    if _size(kept["request"]) > REQUEST_BYTES:
        kept = {**kept, "request": None}
    if _size([kept["messages"], kept["answer"], kept["instructions"]]) <= most:
        return kept, False
    kept = {**kept, "messages": [_light(message) for message in kept["messages"]], "instructions": []}
    if _size([kept["messages"], kept["answer"]]) <= most:
        return kept, False
    return {"messages": [], "answer": [], "instructions": [], "request": None}, True


def _light(message: Message) -> Message:
    """A message without its images, recordings and files."""
    content = message.get("content")
    if not isinstance(content, list):
        return message
    texts = [part for part in content if isinstance(part, dict) and part.get("type") == "text"]
    left_out = {"type": "text", "text": "(Something that was shown here is not kept.)"}
    return {**message, "content": texts if len(texts) == len(content) else [*texts, left_out]}


def _size(value: Any) -> int:
    try:
        return len(orjson.dumps(value))
    except orjson.JSONEncodeError:
        # Halves of characters, and numbers of more than 64 bits.
        return len(repr(value))
