"""Backoff as a pure value: attempt number in, delay in seconds or None out."""

import random
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
