"""Where a conversation may be cut: before a user's message, and never between a call and its result."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from llm_stream.context.outline import Message, calls_of, says_more

INSTRUCTING = frozenset({"system", "developer"})
RESULTS = frozenset({"tool", "function"})


def exchange_starts(messages: Sequence[Message]) -> list[int]:
    """Where the exchanges begin, in order: the first message, and each of a user that divides no pair.

    What is kept then begins with a user's message, which the templates of many models want.
    """
    inside = _inside_pairs(messages)
    starts = [at for at, message in enumerate(messages) if message.get("role") == "user" and not inside[at]]
    return starts if starts[:1] == [0] else [0, *starts]


def _inside_pairs(messages: Sequence[Message]) -> list[int]:
    """For each message between how many calls and their results a cut before it would come."""
    # Where it is entered and left: a pair from 3 to 5 is divided by a cut before 4 and before 5.
    edges = [0] * (len(messages) + 2)
    called: dict[str, int] = {}
    for at, message in enumerate(messages):
        if message.get("role") in RESULTS:
            call = called.get(_result_id(message))
            if call is not None:
                edges[call + 1] += 1
                edges[at + 1] -= 1
        elif says_more(message):
            called.update((_call_id(call), at) for call in calls_of(message))
    return list(accumulate(edges))


def _call_id(call: Mapping[str, Any]) -> str:
    """What a result names; a call of the older API has no id, and is named by its function."""
    if "id" in call:
        return f"id {call['id']}"
    return f"name {_name(call.get('function'))}"


def _result_id(message: Message) -> str:
    return f"id {message.get('tool_call_id')}" if message["role"] == "tool" else f"name {message.get('name')}"


def _name(function: Any) -> Any:
    return function.get("name") if isinstance(function, dict) else None
