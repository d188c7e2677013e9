"""What tests of calls to providers share."""

from tests.support.breaker import breaker, clock

__all__ = ["breaker", "clock"]
