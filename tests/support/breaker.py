"""A circuit breaker under test, and the time it goes by."""

import pytest

from common.providers.breaker import Breaker


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    """It opens after three failures in a row, for five seconds."""
    return Breaker(failures=3, open_seconds=5.0, clock=clock)
