"""Backoff as a pure value (attempt number in, delay in seconds or None out), and what an upstream says about it."""

import contextlib
import email.utils
import math
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential delays with jitter.

    `attempts` counts retries after the first try. Source: AWS Architecture Blog, "Exponential
    Backoff And Jitter" (jitter spreads a crowd of retries).
    """

    attempts: int = 0
    first: float = 0.1
    ceiling: float = 10.0

    def delay(self, attempt: int) -> float | None:
        """Seconds to wait after failed try number `attempt` (from 1), or None when tries are used up."""
        if attempt > self.attempts:
            return None
        backoff: float = min(self.ceiling, self.first * 2.0 ** min(attempt - 1, 30))
        return random.uniform(0.5, 1.0) * backoff


NEVER = Backoff(attempts=0)
A_FEW_TIMES = Backoff(attempts=3, first=0.05, ceiling=1.0)
# Transient failures say nothing about the record: go on until what is away is back.
PATIENTLY = Backoff(attempts=1_000_000, first=0.1, ceiling=5.0)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by `retry-after-ms`, or `retry-after` in seconds or as an HTTP date (RFC 9110, 10.2.3)."""
    millis = _number(headers.get("retry-after-ms"))
    if millis is not None:
        return max(0.0, millis / 1000)
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or value is None:
        return None if seconds is None else max(0.0, seconds)
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    return None


def _number(value: str | None) -> float | None:
    with contextlib.suppress(ValueError):
        number = float(value or "")
        return number if math.isfinite(number) else None
    return None
