"""JSON of a stranger: parsed as leniently as clients do, and its scalars made what they should have been."""

import json
import math
from typing import Any, TypeAlias

import orjson

JsonObject: TypeAlias = dict[str, Any]

# What a column `integer` of PostgreSQL holds; a larger count is no count.
MAX_COUNT = 2**31 - 1
# orjson reads deeper nesting than it writes.
MAX_WRITABLE_DEPTH = 250
# Every level takes two bytes at least.
ALWAYS_WRITABLE_BYTES = 2 * MAX_WRITABLE_DEPTH
MAX_NAME_CHARACTERS = 200
# What one step of the loop can make and write again. An answer with more is none: the largest completions, of 128
# choices with the likelihood of each token, have about as many.
MAX_CONTAINERS = 100_000
# What only the lenient parser reads is read in Python, at a tenth of the speed.
MAX_LENIENT_BYTES = 512 * 1024
_NOT_OPENING = bytes(set(range(256)) - set(b'[{"'))


def parse(payload: bytes) -> Any:
    """A JSON value that can be written again. Raises ValueError.

    `NaN`, halves of characters and integers of any size are no JSON that everybody reads; Python servers send them,
    and Python clients read them.
    """
    # Each level, and each list or object, is opened by one of these; they also stand in texts.
    opened = payload.count(b"{") + payload.count(b"[") if len(payload) >= ALWAYS_WRITABLE_BYTES else 0
    if opened > MAX_CONTAINERS and _containers(payload) > MAX_CONTAINERS:
        raise ValueError("more lists and objects than an answer has")
    try:
        value = orjson.loads(payload)
    except orjson.JSONDecodeError:
        value = _parse_leniently(payload)
    if opened > MAX_WRITABLE_DEPTH:
        _check_writable(value)
    return value


def _containers(payload: bytes) -> int:
    """How many lists and objects a JSON text opens, without those that only stand in its strings."""
    bare = payload.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _NOT_OPENING)
    return sum(map(len, bare.replace(b'""', b"").split(b'"')[::2]))


def _parse_leniently(payload: bytes) -> Any:
    if len(payload) > MAX_LENIENT_BYTES:
        raise ValueError("no JSON, and too long to be read leniently")
    text = payload.decode("utf-8", "replace")
    try:
        return _clean(json.loads(text, strict=False, parse_constant=lambda _: None, parse_int=_integer))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < 19 else float(digits)


def _clean(value: Any) -> Any:
    """The value without halves of surrogate pairs, which no encoder writes."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_clean(name): _clean(each) for name, each in value.items()}
    return [_clean(each) for each in value] if isinstance(value, list) else value


def _check_writable(value: Any) -> None:
    try:
        orjson.dumps(value)
    except TypeError as error:
        raise ValueError("nested too deeply") from error


def number(value: Any) -> float | None:
    """A finite number, also where it was sent as text."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return value if usable else None


def count(value: Any) -> int | None:
    """A number of tokens; None for what is negative, too large for the database, or no number."""
    if type(value) is int and 0 <= value <= MAX_COUNT:
        return value
    found = number(value)
    return int(found) if found is not None and 0 <= found <= MAX_COUNT else None


def position(value: Any, default: int) -> int:
    """An index of a list; `default` for what is none."""
    found = count(value)
    return default if found is None else found


def name(value: Any) -> str | None:
    """A short text such as a code or a model; a number as its digits, None for anything else and for no text."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)[:MAX_NAME_CHARACTERS]
    return storable(value)[:MAX_NAME_CHARACTERS] or None if isinstance(value, str) else None


def storable(text: str) -> str:
    """The text without the one character that PostgreSQL does not hold."""
    return text.replace("\x00", "")
