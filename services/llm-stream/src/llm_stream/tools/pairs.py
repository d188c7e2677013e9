"""Calls and their results in a conversation: each call has one result behind it, and no result stands alone.

A model's server refuses a conversation of another shape. Voice platforms send such ones after an interruption.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from llm_stream.tools.tool import Step
from llm_stream.upstream.values import JsonObject

MISSING = "There is no result: the call was cancelled."


def closed_round(steps: Sequence[Step], said: str) -> list[JsonObject]:
    """The messages of a round whose calls have all ended; `said` is what was heard of the answer before them."""
    calls = {"role": "assistant", "content": said or None, "tool_calls": [step.told() for step in steps]}
    return [calls, *(step.result() for step in steps)]


def closed(messages: Sequence[JsonObject]) -> list[JsonObject]:
    """The conversation with every pair closed.

    A call without a result gets one that says so, behind those its message has. A result without a call is left out,
    and so is a second one.
    """
    found: list[JsonObject] = []
    open_calls: dict[str, bool] = {}
    for message in messages:
        if message.get("role") == "tool":
            id = message.get("tool_call_id")
            if isinstance(id, str) and open_calls.pop(id, False):
                found.append(message)
            continue
        found.extend(_missing(open_calls))
        open_calls = dict.fromkeys(_ids(message), True)
        found.append(message)
    found.extend(_missing(open_calls))
    return found


def _ids(message: JsonObject) -> Iterator[str]:
    calls: Any = message.get("tool_calls") if message.get("role") == "assistant" else None
    for call in calls if isinstance(calls, list) else ():
        id = call.get("id") if isinstance(call, dict) else None
        if isinstance(id, str):
            yield id


def _missing(ids: Iterable[str]) -> list[JsonObject]:
    return [{"role": "tool", "tool_call_id": id, "content": MISSING} for id in ids]
