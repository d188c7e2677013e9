"""JSON of whatever callers put into metadata: never an exception for a strange value, never an endless one."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import math
import pathlib
import uuid
from collections.abc import Mapping
from typing import Any

from huggingplace.errors import ValidationError

MAX_DEPTH = 32
# The encoder looks at each character; of texts from here on that is what `log` costs.
LONG_CHARS = 8 * 1024
# What JSON escapes beside the quote and the backslash, and a NUL as U+FFFD.
_ESCAPES = (
    (b"\0", "\ufffd".encode()),
    *((bytes([code]), json.dumps(chr(code))[1:-1].encode()) for code in range(1, 32)),
)
# Longer ones are written slowly, and read by nobody.
MAX_INTEGER_BITS = 1024
# As JSON writes a NUL, which no database text can hold.
_NUL = "\\u0000"


def encode(item: Mapping[str, Any]) -> bytes:
    """The item as UTF-8 JSON on one line.

    Values that JSON has no shape for are written as close as can be (see `plain`). Lone surrogates become `?`, a NUL
    becomes U+FFFD.

    Raises ValidationError: it is nested more than 32 deep, or contains itself.
    """
    # Fields of ours have plain names; what else there is goes the usual way.
    long = {
        name: text
        for name, text in item.items()
        if type(text) is str and len(text) > LONG_CHARS and str(name).isidentifier()
    }
    if not long:
        return _encoded(item)
    parts = [_encoded({name: value for name, value in item.items() if name not in long})[:-1]]
    for name, text in long.items():
        parts += (b"," if len(parts[-1]) > 1 else b"", _ENCODER.encode(str(name)).encode(), b":", _quoted(text))
    return b"".join((*parts, b"}"))


def _encoded(item: Mapping[str, Any]) -> bytes:
    try:
        text = _ENCODER.encode(item)
    except (TypeError, ValueError, RecursionError):
        text = _ENCODER.encode(plain(item))
    # No value is nested deeper than there are brackets, so that most texts need no second look.
    if _NUL in text or text.count("{") + text.count("[") > MAX_DEPTH:
        text = _ENCODER.encode(plain(item))
    return text.encode("utf-8", "replace")


def _quoted(text: str) -> bytes:
    """A long text as JSON: the bytes as they are, but for what JSON escapes. Several times as fast as the encoder."""
    raw = text.encode("utf-8", "replace").replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    for plain_byte, escaped in _ESCAPES:
        if plain_byte in raw:
            raw = raw.replace(plain_byte, escaped)
    return b"".join((b'"', raw, b'"'))


def decode(body: bytes) -> Any:
    """The value of a JSON text; raises ValueError."""
    return json.loads(body)


def plain(value: Any, depth: int = 0) -> Any:
    """The value with nothing in it but what JSON has; NaN and infinities become null."""
    if depth > MAX_DEPTH:
        raise ValidationError(f"It is nested more than {MAX_DEPTH} deep, or contains itself.")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and not isinstance(value, enum.Enum):
        return value if value.bit_length() <= MAX_INTEGER_BITS else f"<an integer of {value.bit_length()} bits>"
    if isinstance(value, str) and not isinstance(value, enum.Enum):
        return value.replace("\x00", "\ufffd")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_key(key): plain(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(inner, depth + 1) for inner in value]
    return plain(_known(value), depth + 1)


def _key(key: Any) -> str:
    if isinstance(key, enum.Enum):
        key = key.value
    return str(key).replace("\x00", "\ufffd")


def _known(value: Any) -> Any:
    """What stands for a value that is no JSON; its kind, where we know nothing better.

    Never its `repr`: that of a client or a settings object may hold a password.
    """
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, (uuid.UUID, decimal.Decimal, pathlib.PurePath)):
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"<{len(value)} bytes>"
    if isinstance(value, (set, frozenset)):
        return list(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    for method in ("model_dump", "tolist"):  # pydantic, numpy
        found = getattr(value, method, None)
        if callable(found) and not isinstance(value, type):
            return _called(found, value)
    return f"<{type(value).__module__}.{type(value).__qualname__}>"


def _called(method: Any, value: Any) -> Any:
    try:
        return method()
    except Exception:  # noqa: BLE001 - it is the caller's code, and a log line must not fail by it
        return f"<{type(value).__module__}.{type(value).__qualname__}>"


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_known)
