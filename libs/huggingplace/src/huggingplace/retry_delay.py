"""When to try again: backoff with full jitter, and the server's `Retry-After`."""

from __future__ import annotations

import email.utils
import random
import time

FIRST_SECONDS = 0.5
MOST_SECONDS = 60.0
# A server that asks for more is asked again after an hour.
MOST_RETRY_AFTER = 3600.0


def backoff(failures: int) -> float:
    """Seconds to wait after that many failures in a row: anything up to twice as much as the time before."""
    return random.uniform(0.0, min(MOST_SECONDS, FIRST_SECONDS * 2.0 ** min(failures, 20)))


def retry_after(header: str | None) -> float | None:
    """The seconds that a `Retry-After` asks for, as a number or as a date; None where none can be read."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        moment = _moment(header)
        if moment is None:
            return None
        seconds = moment - time.time()
    return min(max(seconds, 0.0), MOST_RETRY_AFTER) if seconds == seconds else None


def _moment(header: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(header).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
