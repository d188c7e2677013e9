"""Where a page ended, as callers carry it to the next one: a text that says nothing to them."""

import base64
import binascii
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson

from common.failures import Refused

MAX_CHARACTERS = 4_000


def cursor(*values: Any) -> str:
    """What names the last row of a page; moments are kept to the microsecond."""
    written = [value.isoformat() if isinstance(value, datetime) else value for value in values]
    return base64.urlsafe_b64encode(orjson.dumps(written)).decode()


def behind(text: str | None, *kinds: type) -> tuple[Any, ...] | None:
    """The values of a cursor, None without one. Raises Refused 400 for what is none."""
    if text is None:
        return None
    try:
        values = orjson.loads(base64.urlsafe_b64decode(text[:MAX_CHARACTERS]))
        return tuple(_read(value, kind) for value, kind in zip(values, kinds, strict=True))
    except (ValueError, TypeError, OverflowError, binascii.Error):
        raise Refused(400, "Invalid 'after': it is no 'next' of an earlier page.", "invalid_value", "after") from None


def _read(value: Any, kind: type) -> Any:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError
    if kind is datetime:
        return datetime.fromisoformat(value).astimezone(UTC)
    return str(UUID(value)) if kind is UUID else value
