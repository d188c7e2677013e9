"""A conversation as the stand-in reads it: who said what, and where the new turn begins."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

INSTRUCTIONS = frozenset({"system", "developer"})
# How a user asks for the rest of an answer that broke off.
CONTINUE = "Continue the assistant's answer"


def content_text(content: Any) -> str:
    """Return the text of a message's content: a string, a list of parts, or null."""
    if isinstance(content, list):
        return " ".join(part.get("text") or f"[{part.get('type')}]" for part in content)
    return content or ""


@dataclass(frozen=True, slots=True)
class Conversation:
    """What the answer depends on; `prefix` is the begun answer a continuation asks to go on with."""

    instructions: tuple[str, ...]
    users: tuple[str, ...]
    tool_results: tuple[tuple[str, str], ...]
    prefix: str | None
    last_role: str

    @property
    def last(self) -> str:
        """What the user said last."""
        return self.users[-1] if self.users else ""

    @property
    def key(self) -> str:
        """What stays the same between an answer and its continuation."""
        return "\x1f".join((*self.instructions, "\x1e", *self.users, *(text for _, text in self.tool_results)))


def read(messages: Sequence[dict[str, Any]]) -> Conversation:
    """Read validated messages."""
    turns, prefix = _without_begun_answer(messages)
    return Conversation(
        instructions=tuple(content_text(m.get("content")) for m in turns if m["role"] in INSTRUCTIONS),
        users=tuple(content_text(m.get("content")) for m in turns if m["role"] == "user"),
        tool_results=_closing_tool_results(turns),
        prefix=prefix,
        last_role=next((m["role"] for m in reversed(turns) if m["role"] not in INSTRUCTIONS), "system"),
    )


def _without_begun_answer(
    messages: Sequence[dict[str, Any]],
) -> tuple[Sequence[dict[str, Any]], str | None]:
    """Cut off a closing assistant message, with any instruction or request to continue that follows it."""
    end = len(messages)
    while end and (messages[end - 1]["role"] in INSTRUCTIONS or _asks_to_continue(messages[end - 1])):
        end -= 1
    if end and messages[end - 1]["role"] == "assistant" and not messages[end - 1].get("tool_calls"):
        return messages[: end - 1], content_text(messages[end - 1].get("content"))
    return messages, None


def _asks_to_continue(message: dict[str, Any]) -> bool:
    return message["role"] == "user" and content_text(message.get("content")).startswith(CONTINUE)


def _closing_tool_results(turns: Sequence[dict[str, Any]]) -> tuple[tuple[str, str], ...]:
    """Return (tool name, content) of the tool messages that close the conversation."""
    names = {call["id"]: call["function"]["name"] for turn in turns for call in turn.get("tool_calls") or ()}
    results: list[tuple[str, str]] = []
    for turn in reversed([turn for turn in turns if turn["role"] not in INSTRUCTIONS]):
        if turn["role"] != "tool":
            break
        results.append((names.get(turn["tool_call_id"], "tool"), content_text(turn.get("content"))))
    return tuple(reversed(results))
