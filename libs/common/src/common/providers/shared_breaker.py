"""A breaker that many callers share: it opens for one by that one's failures, and for all once several fail.

What a caller's own requests provoke looks like a broken upstream from outside. So failures count by caller. Only when
most of the callers seen lately fail, and at least two of them, is it the upstream that is left alone.
"""

import time
from collections.abc import Callable

from common.providers.breaker import FAILURES_TO_OPEN, OPEN_SECONDS, Breaker

# Of the callers with a verdict within this many seconds, so large a share must fail, and so many of them at least.
RECENT_SECONDS = 10.0
FAILING_SHARE = 0.75
FAILING_CALLERS = 2
# Callers that are remembered; the one without a verdict for the longest time is forgotten first.
MAX_CALLERS = 1_000


class SharedBreaker:
    """The breakers of one upstream: one for all, and one for each caller."""

    def __init__(
        self,
        *,
        failures: int = FAILURES_TO_OPEN,
        open_seconds: float = OPEN_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.open_seconds = open_seconds
        self.clock = clock
        self.for_all = Breaker(failures=1, open_seconds=open_seconds, clock=clock)
        self._failures = failures
        self._callers: dict[str, CallerBreaker] = {}

    def seen_by(self, caller: str) -> "CallerBreaker":
        """The breaker as this caller meets it."""
        found = self._callers.get(caller)
        if found is None:
            found = self._callers[caller] = CallerBreaker(self, self._failures)
            if len(self._callers) > MAX_CALLERS:
                del self._callers[next(iter(self._callers))]
        return found

    @property
    def keeps_all_away(self) -> bool:
        """Whether the upstream is left alone, whoever asks, as far as anybody did lately."""
        if self.for_all.keeps_away:
            return True
        latest = max(self._callers.values(), key=lambda each: each.judged_at, default=None)
        return latest is not None and latest.keeps_away and len(self.recent()) <= 1

    def recent(self) -> "list[CallerBreaker]":
        """Those of the callers with a verdict lately."""
        now = self.clock()
        return [each for each in self._callers.values() if now - each.judged_at <= RECENT_SECONDS]

    def most_fail(self) -> bool:
        """Whether so many of the callers fail that it is not their doing."""
        recent = self.recent()
        failing = [each.failures_in_a_row for each in recent if each.failures_in_a_row]
        enough = len(failing) >= FAILING_CALLERS and sum(failing) >= self._failures
        return enough and len(failing) >= FAILING_SHARE * len(recent)


class CallerBreaker(Breaker):
    """A breaker as one caller meets it: open where its own or the one for all is."""

    def __init__(self, shared: SharedBreaker, failures: int) -> None:
        super().__init__(failures=failures, open_seconds=shared.open_seconds, clock=shared.clock)
        self._shared = shared
        self._all = shared.for_all
        self.failures_in_a_row = 0
        self.judged_at = float("-inf")
        self._probes_at = float("-inf")

    @property
    def state(self) -> str:
        return super().state if self._all.state == "closed" else self._all.state

    def would_enter(self) -> bool:
        if self._all.state != "closed" and self._clock() < self._probes_at:
            return False
        return self._all.would_enter() and super().would_enter()

    def try_enter(self) -> bool:
        return self.would_enter() and super().try_enter() and self._all.try_enter()

    def opens_in(self) -> float:
        probes_in = 0.0 if self._all.state == "closed" else self._probes_at - self._clock()
        return max(self._all.opens_in(), super().opens_in(), probes_in)

    def rests_for(self) -> float:
        return max(self._all.rests_for(), super().rests_for())

    def succeeded(self) -> None:
        super().succeeded()
        self._all.succeeded()
        self.failures_in_a_row, self.judged_at = 0, self._clock()

    def failed(self) -> None:
        super().failed()
        self.failures_in_a_row, self.judged_at = self.failures_in_a_row + 1, self._clock()
        if self._all.state != "closed":
            # A failed probe. Before this caller probes again, another one may.
            self._probes_at = self._clock() + 2 * self._shared.open_seconds
            self._all.failed()
        elif self._shared.most_fail():
            self._all.failed()

    def left(self) -> None:
        super().left()
        self._all.left()

    @property
    def rate_limited(self) -> bool:
        return self._all.rate_limited

    def rest(self, seconds: float, *, rate_limited: bool = True) -> None:
        super().left()
        self._all.rest(seconds, rate_limited=rate_limited)
