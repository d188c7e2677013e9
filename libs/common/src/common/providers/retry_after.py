"""What an answer says about when to come back."""

import contextlib
import datetime
import email.utils
import math
import time
from collections.abc import Mapping


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by `retry-after-ms`, or `retry-after` in seconds or as an HTTP date (RFC 9110, 10.2.3).

    A date is taken against the answer's own `date`: the server's clock need not be ours.
    """
    millis = _number(headers.get("retry-after-ms"))
    if millis is not None:
        return max(0.0, millis / 1000)
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or value is None:
        return None if seconds is None else max(0.0, seconds)
    at = _unix(value)
    if at is None:
        return None
    now = _unix(headers.get("date"))
    return max(0.0, at - (time.time() if now is None else now))


def _unix(date: str | None) -> float | None:
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        at = email.utils.parsedate_to_datetime(date or "")
        # A zone of -0000 says that there is none; HTTP knows UTC alone.
        return (at if at.tzinfo else at.replace(tzinfo=datetime.UTC)).timestamp()
    return None


def _number(value: str | None) -> float | None:
    with contextlib.suppress(ValueError):
        number = float(value or "")
        return number if math.isfinite(number) else None
    return None
