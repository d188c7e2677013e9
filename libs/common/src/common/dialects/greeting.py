"""Whether a request wants the greeting of a conversation in which nobody has spoken yet."""

from collections.abc import Sequence
from typing import Any

from common.dialects.hume import GREETING
from common.dialects.reading import GO_ON

INSTRUCTING = frozenset({"system", "developer"})


def asks_for_greeting(messages: Sequence[Any], *, spoken: bool) -> bool:
    """Whether nobody has said anything: there are instructions alone, or beside them the platform's own request.

    `spoken`: the conversation is a voice platform's, where a user who said nothing is written as `GO_ON`.
    """
    said = [each for each in messages if not (isinstance(each, dict) and each.get("role") in INSTRUCTING)]
    if not said:
        return True
    if len(said) > 1 or not isinstance(said[0], dict) or said[0].get("role") != "user":
        return False
    content = said[0].get("content")
    if not isinstance(content, str):
        return False
    return GREETING.fullmatch(content) is not None or (spoken and content == GO_ON)
