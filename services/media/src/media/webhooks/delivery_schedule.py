"""When a delivery is tried again, and when it is given up.

The usual delays are those that Standard Webhooks recommends: eight tries in the course of a good day.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

# Deliveries that failed together do not come back together.
SPREAD = 0.1
# A receiver may ask for more time, but not for more than this.
MAX_WAIT = 24 * 3600.0
GONE = 410


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one request came to: a status, or an error; `retry_after` in seconds, where the receiver said so."""

    status: int | None = None
    error: str | None = None
    retry_after: float | None = None

    @property
    def received(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of the delivery; `wait` in seconds where it stays pending. `gone`: the receiver wants no more."""

    state: Literal["pending", "delivered", "failed"]
    wait: float | None = None
    gone: bool = False


def verdict(outcome: Outcome, tries: int, delays: Sequence[float]) -> Verdict:
    """What follows from the outcome of try number `tries`, counted from 1; `delays` in seconds come between them."""
    if outcome.received:
        return Verdict("delivered")
    if outcome.status == GONE:
        return Verdict("failed", gone=True)
    if tries > len(delays):
        return Verdict("failed")
    wait = delays[tries - 1] * random.uniform(1.0, 1.0 + SPREAD)
    return Verdict("pending", wait=min(MAX_WAIT, max(wait, outcome.retry_after or 0.0)))
