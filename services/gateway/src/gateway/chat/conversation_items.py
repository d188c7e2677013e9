"""The turns of a session as items of a conversation, as OpenAI's clients read them; what was heard, and no more."""

from collections.abc import Iterator
from typing import Any

from common.events.session_turns import ShownTurn

PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fco"}


def items_of(turn: ShownTurn) -> list[dict[str, Any]]:
    """The items of one turn in order. Their ids are those of the turn with a number behind."""
    key = turn.id.removeprefix("chatcmpl-")
    found = [item for message in turn.messages for item in _items(message)]
    found += [item for message in _heard(turn) for item in _items(message)]
    return [{**item, "id": f"{PREFIXES[item['type']]}_{key}_{at}"} for at, item in enumerate(found)]


def _heard(turn: ShownTurn) -> Iterator[dict[str, Any]]:
    """The messages of the answer, with as much of their texts as was spoken."""
    left = turn.spoken or ""
    for message in turn.answer:
        content = message.get("content")
        if message.get("role") != "assistant" or not isinstance(content, str):
            yield message
            continue
        said, left = left[: len(content)], left[len(content) :]
        if said.strip() or message.get("tool_calls"):
            yield {**message, "content": said or None}


def _items(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    role, content = message.get("role"), message.get("content")
    if role == "tool":
        call_id = message.get("tool_call_id")
        yield {"type": "function_call_output", "call_id": call_id, "output": _text(content), "status": "completed"}
        return
    if parts := _parts(content, said="output_text" if role == "assistant" else "input_text"):
        yield {"type": "message", "role": role, "content": parts, "status": "completed"}
    for call in message.get("tool_calls") or ():
        function = call.get("function") or {}
        named = {"name": function.get("name"), "arguments": function.get("arguments") or "{}"}
        yield {"type": "function_call", "call_id": call.get("id"), **named, "status": "completed"}


def _parts(content: Any, said: str) -> list[dict[str, Any]]:
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
    return [_part(part, said) for part in parts if isinstance(part, dict)]


def _part(part: dict[str, Any], said: str) -> dict[str, Any]:
    if part.get("type") == "text":
        beside: dict[str, Any] = {"annotations": [], "logprobs": []} if said == "output_text" else {}
        return {"type": said, "text": part.get("text", ""), **beside}
    if part.get("type") == "image_url":
        image = part.get("image_url") or {}
        return {"type": "input_image", "image_url": image.get("url"), "detail": image.get("detail", "auto")}
    return {"type": said, "text": f"({part.get('type')})"}


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(str(part.get("text") or "") for part in parts if isinstance(part, dict))
