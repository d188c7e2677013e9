"""What chat templates refuse: each rule takes the messages, and returns the words of its refusal or None."""

from collections.abc import Sequence
from typing import Any, TypeAlias

Messages: TypeAlias = Sequence[dict[str, Any]]
ALTERNATING = "Conversation roles must alternate user/assistant/user/assistant/..."


def known_roles(messages: Messages) -> str | None:
    """Only the roles that models were trained on."""
    unknown = next((each["role"] for each in messages if each["role"] in ("developer", "function")), None)
    return unknown and f"Unexpected message role: {unknown}."


def system_first(messages: Messages) -> str | None:
    """One system message, and before all others."""
    late = any(each["role"] == "system" for each in messages[1:])
    return "System message must be at the beginning." if late else None


def alternating(messages: Messages) -> str | None:
    """User and assistant in turns, behind a system message; tool calls and results stand apart."""
    turns = [each["role"] for each in messages if each["role"] in ("user", "assistant") and not each.get("tool_calls")]
    expected = ["user", "assistant"] * len(turns)
    tools = any(each["role"] == "tool" for each in messages)
    return None if tools or turns == expected[: len(turns)] else ALTERNATING


def user_or_tool_last(messages: Messages) -> str | None:
    """Nobody but the user or a tool speaks last."""
    last = messages[-1]["role"]
    if last in ("user", "tool"):
        return None
    return f"Expected last role User or Tool (or Assistant with prefix True) for serving but got {last}"
