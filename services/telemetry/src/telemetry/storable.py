"""Values as the database can hold them: whatever a fact says has a place there, if need be the nearest one."""

import hashlib
import math
from typing import Any

import orjson

# What every reader of JSON keeps exactly; the sum of very many still fits a numeric column.
MAX_COUNT = 2**53 - 1
# The last second of the year 9998: PostgreSQL and Python both know it.
MAX_SECONDS = 253_370_764_799.0
# Names are as long as callers may give them; three of them fit an index, which takes about 2,700 bytes.
MAX_NAME = 256
MAX_NAME_BYTES = 800
REPLACEMENT = "\ufffd"


def name(text: str) -> str:
    """The text as a name; of a longer one its beginning and its digest, which are as good."""
    if len(text) <= MAX_NAME and text.isascii() and "\0" not in text:
        return text
    encoded = text.replace("\0", REPLACEMENT).encode(errors="replace")
    text = encoded.decode()
    if len(text) <= MAX_NAME and len(encoded) <= MAX_NAME_BYTES:
        return text
    return f"{text[:100]}…{hashlib.sha256(encoded).hexdigest()}"


def count(number: int) -> int:
    """The nearest number that a bigint and every reader of JSON hold."""
    return max(-MAX_COUNT, min(number, MAX_COUNT))


def between(value: float, least: float, most: float) -> float:
    """The nearest value there is a place for; 0 for what is no number."""
    return max(least, min(value, most)) if math.isfinite(value) else 0.0


def json_of(value: Any) -> str | None:
    """As a column of JSON takes it, whatever a stranger's fact holds."""
    if value is None:
        return None
    try:
        written = orjson.dumps(value)
    except orjson.JSONEncodeError:
        written = orjson.dumps(_readable(value))
    # The escape may also be part of a text about escapes; only then is the second pass in vain.
    return (orjson.dumps(_readable(value)) if rb"\u0000" in written else written).decode()


def _readable(value: Any) -> Any:
    """The same without what JSON or PostgreSQL cannot hold: integers past 64 bits, halves of characters, NUL."""
    if isinstance(value, str):
        return value.replace("\0", REPLACEMENT).encode(errors="replace").decode()
    if isinstance(value, int) and not isinstance(value, bool):
        return count(value)
    if isinstance(value, (list, tuple)):
        return [_readable(each) for each in value]
    if isinstance(value, dict):
        return {_readable(name): _readable(each) for name, each in value.items()}
    return value


def without_nul(value: Any) -> Any:
    """The same JSON value with U+FFFD for every NUL, the one character PostgreSQL cannot keep in a text."""
    if isinstance(value, str):
        return value.replace("\0", REPLACEMENT)
    if isinstance(value, list):
        return [without_nul(item) for item in value]
    if isinstance(value, dict):
        return {without_nul(name): without_nul(item) for name, item in value.items()}
    return value
