"""The circuit breaker of one upstream or provider, scored when a call or stream ends rather than when it opens.

Several libraries were tried (see the decision record): they count an opened stream as success, let every
caller through while probing, or take a client's cancel for a verdict.
"""

import time
from collections.abc import Callable

FAILURES_TO_OPEN = 5
OPEN_SECONDS = 5.0
# A breaker that lets somebody try and is asked by nobody for so long keeps nobody away any more.
UNASKED_SECONDS = 60.0


class Breaker:
    """Closed, open, or probing with a single caller; beside that, resting for as long as the upstream demands."""

    def __init__(
        self,
        *,
        failures: int = FAILURES_TO_OPEN,
        open_seconds: float = OPEN_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._threshold = failures
        self._open_seconds = open_seconds
        self._clock = clock
        self._failures = 0
        self._open_until = 0.0
        self._probing = False
        self._rests_until = 0.0
        self._rate_limited = False

    @property
    def state(self) -> str:
        """`closed`, `open` or `probing`; the last as soon as one may try."""
        if self._failures < self._threshold:
            return "closed"
        return "probing" if self._probing or self._clock() >= self._open_until else "open"

    @property
    def keeps_away(self) -> bool:
        """Whether callers meet it open or probing now; no more once nobody has called for `UNASKED_SECONDS`."""
        asked = self._probing or self._clock() < self._open_until + UNASKED_SECONDS
        return asked and self._failures >= self._threshold

    def would_enter(self) -> bool:
        """Whether a call that came now might go through; nothing is taken."""
        if self._failures < self._threshold:
            return self.rests_for() == 0
        return not self._probing and self.opens_in() == 0

    def try_enter(self) -> bool:
        """Whether a call may go through; while recovering only one may."""
        if not self.would_enter():
            return False
        self._probing = self._failures >= self._threshold
        return True

    def opens_in(self) -> float:
        """Seconds until a call may go through, 0 if now."""
        broken_for = 0.0 if self._failures < self._threshold else self._open_until - self._clock()
        return max(0.0, broken_for, self.rests_for())

    def rests_for(self) -> float:
        """Seconds for which the upstream wants no calls."""
        return max(0.0, self._rests_until - self._clock())

    def succeeded(self) -> None:
        self._failures, self._probing = 0, False

    def failed(self) -> None:
        self._failures += 1
        self._probing = False
        if self._failures >= self._threshold:
            self._open_until = self._clock() + self._open_seconds

    def left(self) -> None:
        """The call ended without a verdict (the caller cancelled): somebody else may probe."""
        self._probing = False

    @property
    def rate_limited(self) -> bool:
        """Whether it rests because of a rate limit."""
        return self._rate_limited and self.rests_for() > 0

    def rest(self, seconds: float, *, rate_limited: bool = True) -> None:
        """The upstream says when to come back: leave it alone until then, and then let everybody back."""
        self._rests_until = max(self._rests_until, self._clock() + seconds)
        self._rate_limited = rate_limited
        self._probing = False
