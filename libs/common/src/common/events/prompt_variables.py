"""Variables of prompts and greetings: `{{name}}`, found before a set is active, and filled when a turn needs the text.

Whatever stands in double braces and is no name is text, such as JSON or another template language. A backslash before
the braces has them stand as they are. What a variable is filled with is data: nothing in it is filled again.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from math import isfinite
from typing import Any

# The longest name; models and people read it.
MAX_NAME_CHARS = 64
# Of one value, and of the variables of one request or one config.
MAX_VALUE_CHARS = 10_000
MAX_VARIABLES = 100
# Of a text once it is filled: more than any prompt, and less than what takes long to send.
MAX_FILLED_CHARS = 500_000

NAME = re.compile(rf"[A-Za-z_][A-Za-z0-9_]{{0,{MAX_NAME_CHARS - 1}}}")
# Possessive throughout: whatever does not match costs its length and not its square.
_VARIABLE = re.compile(rf"(\\?)\{{\{{[ \t]{{0,16}}+({NAME.pattern})[ \t]{{0,16}}+\}}\}}")

# Filled by Sonant itself, in every conversation.
BUILT_IN = frozenset({"now", "today", "user_id", "project_id", "session_id"})


class UnknownVariable(Exception):
    """Nothing fills the variable `name`."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Nothing fills the variable '{name}'.")
        self.name = name


class FilledTooLong(Exception):
    """The text would be longer than `MAX_FILLED_CHARS`."""


def variables_in(text: str) -> frozenset[str]:
    """The names of the variables in a text."""
    if "{{" not in text:
        return frozenset()
    return frozenset(found[2] for found in _VARIABLE.finditer(text) if not found[1])


def filled(text: str, values: Mapping[str, str]) -> str:
    """The text with its variables filled. Raises UnknownVariable and FilledTooLong."""
    if "{{" not in text:
        return text
    pieces: list[str] = []
    at = size = 0
    for found in _VARIABLE.finditer(text):
        before = text[at : found.start()]
        at = found.end()
        value = found[0][1:] if found[1] else values.get(found[2])
        if value is None:
            raise UnknownVariable(found[2])
        size += len(before) + len(value)
        if size > MAX_FILLED_CHARS:
            raise FilledTooLong
        pieces += (before, value)
    if size + len(text) - at > MAX_FILLED_CHARS:
        raise FilledTooLong
    return "".join([*pieces, text[at:]])


def given_variables(value: Any) -> dict[str, str]:
    """The variables that a request gives, as they are filled in. Raises ValueError, whose message names the first
    that cannot be."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError("must be an object")
    if len(value) > MAX_VARIABLES:
        raise ValueError(f"must have at most {MAX_VARIABLES} members")
    return {_checked_name(name): _checked_value(name, each) for name, each in value.items()}


def can_be_given(name: Any, value: Any) -> bool:
    """Whether a request may give this."""
    try:
        _checked_value(_checked_name(name), value)
    except ValueError:
        return False
    return True


def _checked_name(name: Any) -> str:
    if not isinstance(name, str) or NAME.fullmatch(name) is None:
        raise ValueError(f"'{str(name)[:MAX_NAME_CHARS]}' is no name of a variable: letters, digits and '_'")
    if name in BUILT_IN:
        raise ValueError(f"'{name}' is filled by Sonant and cannot be given")
    return name


def _checked_value(name: str, value: Any) -> str:
    if not isinstance(value, str | int | float) or (isinstance(value, float) and not isfinite(value)):
        raise ValueError(f"'{name}' must be a text, a number or a boolean")
    text = written(value)
    if len(text) > MAX_VALUE_CHARS:
        raise ValueError(f"'{name}' must have at most {MAX_VALUE_CHARS} characters")
    return text


def written(value: str | float | bool) -> str:
    """A value of a request as it stands in a text: as JSON writes it, texts without their quotation marks."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(value)


def built_in(at: float, *, user_id: str, project_id: str, session_id: str) -> dict[str, str]:
    """What Sonant fills by itself; `at` is unix seconds, and the time is told in UTC."""
    now = datetime.fromtimestamp(at, UTC)
    return {
        "now": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "today": now.strftime("%A, %Y-%m-%d"),
        "user_id": user_id,
        "project_id": project_id,
        "session_id": session_id,
    }
