"""What the reading halves share: a request understood, and the turns of a conversation put in order."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

JsonObject: TypeAlias = dict[str, Any]

# What stands for a user who said nothing: many templates want a user to speak last, and refuse an empty text.
GO_ON = "Go on."
# Ids that platforms send as numbers.
Id: TypeAlias = str | int


@dataclass(frozen=True, slots=True)
class Understood:
    """A request as its dialect means it.

    `body` is the chat request in OpenAI's words; fields of the platform stay in it, for upstreams that want them. The
    ids are those that the platform sends, None where it sends none. `newest_wins`: a session says one thing at a time,
    so this request stops what is being said in it. `told` is what the writing half needs to know.
    """

    body: JsonObject
    session_id: str | None = None
    user_id: str | None = None
    project_id: str | None = None
    newest_wins: bool = False
    told: JsonObject = field(default_factory=dict)


def member(value: Any, *path: str) -> Any:
    """What stands at `path` inside of nested objects; None where anything on the way is missing or no object."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def named(*candidates: Any) -> str | None:
    """The first of these that can be an id."""
    for candidate in candidates:
        if isinstance(candidate, str) and candidate:
            return candidate
        if type(candidate) is int:
            return str(candidate)
    return None


def given_elsewhere(body: JsonObject, *elsewhere: Any) -> JsonObject:
    """The `variables` of a request, where it has some of its own or its platform puts any elsewhere."""
    if "variables" in body:
        return {}
    found = next((each for each in elsewhere if isinstance(each, dict)), None)
    return {} if found is None else {"variables": found}


def in_order(messages: Any) -> Any:
    """A spoken conversation as a model can answer it; what is no list of messages is left to the validation.

    User messages that say nothing are left out, and so is one that is sent twice. Where the assistant spoke last, a
    user's `GO_ON` follows.
    """
    if not isinstance(messages, list) or not messages:
        return messages
    ordered: list[Any] = []
    for message in messages:
        if _is_empty(message):
            continue
        if ordered and _is_repeated(ordered[-1], message):
            # The later one has the newest measures.
            ordered[-1] = message
        else:
            ordered.append(message)
    return [*ordered, {"role": "user", "content": GO_ON}] if _wants_user(ordered) else ordered


def _is_empty(message: Any) -> bool:
    if not isinstance(message, dict) or message.get("role") != "user":
        return False
    content = message.get("content")
    return content in (None, []) or (isinstance(content, str) and not content.strip())


def _is_repeated(former: Any, message: Any) -> bool:
    """Whether a user message came twice: the same words, at the same time where both say when."""
    if not isinstance(former, dict) or not isinstance(message, dict):
        return False
    if (former.get("role"), message.get("role")) != ("user", "user") or former.get("content") != message.get("content"):
        return False
    times = [each.get("time") for each in (former, message)]
    return None in times or times[0] == times[1]


def _wants_user(messages: Sequence[Any]) -> bool:
    last = messages[-1] if messages else None
    if last is None:
        return True
    return isinstance(last, dict) and last.get("role") == "assistant" and not last.get("tool_calls")
