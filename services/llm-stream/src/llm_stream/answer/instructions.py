"""The instructions at the beginning of a conversation, as any server's template takes them."""

from collections.abc import Sequence
from typing import Any, TypeAlias

Message: TypeAlias = dict[str, Any]

INSTRUCTING = frozenset({"system", "developer"})
# A message that says more than this is somebody's of its own, such as one with a name.
PLAIN_MEMBERS = frozenset({"role", "content"})


def one_leading(messages: Sequence[Message], *, knows_developer: bool) -> list[Message]:
    """The messages with one system message at their beginning, into which all that stood there are merged.

    Where the upstream does not know the role `developer` it is `system` throughout.
    """
    known = [message if knows_developer else _as_system(message) for message in messages]
    count = 0
    while count < len(known) and _is_plain_instruction(known[count]):
        count += 1
    if count < 2:
        return known
    leading = known[:count]
    role = "developer" if any(message["role"] == "developer" for message in leading) else "system"
    return [{"role": role, "content": _joined([message["content"] for message in leading])}, *known[count:]]


def _as_system(message: Message) -> Message:
    return {**message, "role": "system"} if message.get("role") == "developer" else message


def _is_plain_instruction(message: Message) -> bool:
    plain = message.keys() == PLAIN_MEMBERS and isinstance(message["content"], (str, list))
    return plain and message["role"] in INSTRUCTING


def _joined(contents: Sequence[str | list[Any]]) -> str | list[Any]:
    """Texts with an empty line between them; parts, where one is given in parts."""
    texts = [content for content in contents if isinstance(content, str)]
    if len(texts) == len(contents):
        return "\n\n".join(text for text in texts if text)
    parts = [[{"type": "text", "text": each}] if isinstance(each, str) else each for each in contents if each]
    return [part for group in parts for part in group]
