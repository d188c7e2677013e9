"""How a provider is called: time limits, tries, breaker, a limit of calls at once and metrics, in one object."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from common.deadlines import within
from common.events.backoff import Backoff
from common.failures import ProviderDown, Refused
from common.providers import metrics
from common.providers.breaker import Breaker
from common.providers.provider_registry import ProviderRecord, ProviderRegistry

T = TypeVar("T")

# What an error of a client library means; None where it is no failure of a call but a bug.
Verdict = Callable[[Exception], Refused | ProviderDown | None]

# With less time left another try could not end.
MIN_TRY_SECONDS = 0.2
# Whatever a Retry-After says, the provider is called again after this long.
MAX_REST_SECONDS = 300.0
# The statuses below 500 that the provider may take back.
TRANSIENT = frozenset({408, 425, 429})
RETRIES = Backoff(attempts=2, first=0.1, ceiling=1.0)
UNCONFIGURED = "No key for this provider is configured."


class BreakerOpen(ProviderDown):
    """The breaker is open: nobody need wait for it, and one who did would meet the same provider."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimits:
    """How long a provider may take, in seconds, how often it is tried, and how many calls are in flight at once.

    The policy keeps the total, over all tries of an operation. The others are for the client library: they end a
    try early enough for another one.
    """

    connect_seconds: float = 1.0
    first_byte_seconds: float = 3.0
    total_seconds: float = 5.0
    concurrency: int = 16
    retries: Backoff = RETRIES


@dataclass(slots=True)
class Budget:
    """The time one operation may still take, over all its calls."""

    deadline: float

    @classmethod
    def full(cls, seconds: float) -> "Budget":
        """A budget of `seconds` from now."""
        return cls(time.monotonic() + seconds)

    def left(self) -> float:
        """Seconds that are left; negative when it is overdrawn."""
        return self.deadline - time.monotonic()

    def delay(self, backoff: Backoff, attempt: int, down: ProviderDown) -> float:
        """Seconds to wait after failed try number `attempt` (from 1); raises `down` when no other would help.

        A Retry-After of the provider is kept, with the jitter of `backoff` on top: callers that got the same one must
        not come back in the same moment.
        """
        delay = backoff.delay(attempt)
        if delay is not None and down.retry_after is not None:
            delay += down.retry_after
        if delay is None or _lasting(down) or self.left() - delay < MIN_TRY_SECONDS:
            raise down
        return delay

    async def pause(self, backoff: Backoff, attempt: int, down: ProviderDown) -> None:
        """Wait until the next try; raises `down` when no other would help."""
        await asyncio.sleep(self.delay(backoff, attempt, down))


class Policy:
    """Every call for one account at a provider goes through here; with `configured` False none leaves.

    `account` is its name in the metrics, `unconfigured` the message to a caller where there is none.
    """

    def __init__(
        self,
        provider: str,
        verdict: Verdict,
        *,
        account: str = "",
        configured: bool = True,
        unconfigured: str = UNCONFIGURED,
        limits: CallLimits | None = None,
        breaker: Breaker | None = None,
        registry: ProviderRegistry | None = None,
    ) -> None:
        self.provider = provider
        self.limits = limits or CallLimits()
        self.record = ProviderRecord(provider, account, configured=configured, breaker=breaker)
        if registry is not None:
            registry.add(self.record)
        self._verdict = verdict
        self._unconfigured = unconfigured
        self._breaker = self.record.breaker
        self._slots = asyncio.Semaphore(self.limits.concurrency)
        breaker = self._breaker
        # Asked at each scrape: a breaker goes by the clock, also while nobody calls.
        metrics.API_BREAKER_OPEN.labels(provider, account).set_function(lambda: breaker.keeps_away)

    def unconfigured(self) -> Refused:
        """The refusal (503) of what needs an account at the provider where there is none."""
        return Refused(503, self._unconfigured, "provider_unconfigured", type="api_error")

    def begin(
        self, seconds: float | None = None, *, at_most: float | None = None, deadline: float | None = None
    ) -> Budget:
        """The time of a new operation.

        It is `seconds`, or the limit of the policy; no more than `at_most` seconds, and nothing after `deadline`
        (unix seconds), when nobody waits for the outcome any more.
        """
        limits = [self.limits.total_seconds if seconds is None else seconds]
        limits += [] if at_most is None else [at_most]
        limits += [] if deadline is None else [deadline - time.time()]
        return Budget.full(min(limits))

    async def read(self, budget: Budget, operation: str, send: Callable[[], Awaitable[T | None]]) -> T:
        """What `send` gives; repeated after failures, so it must change nothing, or the same thing again.

        Raises `Refused` and `ProviderDown`.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self.once(budget, operation, send)
            except ProviderDown as down:
                await budget.pause(self.limits.retries, attempt, down)

    async def once(self, budget: Budget, operation: str, send: Callable[[], Awaitable[T | None]]) -> T:
        """What one call of `send` gives. Raises `Refused`, and `ProviderDown` when it is unknown what was done."""
        async with self.call(budget, operation):
            answer = await send()
            if answer is None:
                raise ProviderDown("The provider answered without saying anything.")
            return answer

    @asynccontextmanager
    async def call(self, budget: Budget, operation: str) -> AsyncIterator[None]:
        """One call, from here to its end. A stream is read inside: one that breaks off is a failure.

        Raises `Refused` and `ProviderDown`: those raised inside, and what the verdict makes of other errors.
        """
        self._enter(budget)
        began, sent = time.monotonic(), None
        metrics.API_CALLS.labels(self.provider, operation).inc()
        try:
            async with within(max(0.0, budget.left())), self._slots:
                sent = time.monotonic()
                with metrics.API_IN_FLIGHT.labels(self.provider).track_inprogress(), self.record.call():
                    yield
            self._answered(sent)
        except Exception as error:
            failure = self._judged(error)
            if failure is None:
                self._breaker.left()
                raise
            self._failed(operation, failure, error, sent)
            if failure is error:
                raise
            raise failure from error
        except BaseException:
            # The caller left: nobody knows what the provider would have done.
            self._breaker.left()
            raise
        finally:
            metrics.API_SECONDS.labels(self.provider, operation).observe(time.monotonic() - began)

    def _enter(self, budget: Budget) -> None:
        if not self.record.configured:
            raise self.unconfigured()
        if budget.left() <= 0:
            raise no_answer(TimeoutError())
        if not self._breaker.try_enter():
            # At least a moment: while a single caller probes there is no time to name.
            wait = max(1.0, self._breaker.opens_in())
            message = "The provider is being left alone after failures."
            broken = self._breaker.state != "closed"
            raise (BreakerOpen if broken else ProviderDown)(message, retry_after=round(wait, 1))

    def _judged(self, error: Exception) -> Refused | ProviderDown | None:
        if isinstance(error, Refused | ProviderDown):
            return error
        return no_answer(error) if isinstance(error, TimeoutError) else self._verdict(error)

    def _answered(self, sent: float) -> None:
        self._breaker.succeeded()
        self.record.answered(time.monotonic() - sent)

    def _failed(self, operation: str, failure: Refused | ProviderDown, error: Exception, sent: float | None) -> None:
        """Count it, and let the breaker know whose fault it was."""
        metrics.API_ERRORS.labels(self.provider, operation, _reason(failure)).inc()
        if sent is None:
            # All slots were taken until time was up: the provider knows nothing of this call.
            self._breaker.left()
            return
        if isinstance(failure, Refused):
            # It answers, but what a request itself causes is no verdict.
            self._breaker.left()
            self.record.answered(time.monotonic() - sent)
        elif failure.status == 429 and failure.retry_after is not None:
            self._breaker.rest(min(failure.retry_after, MAX_REST_SECONDS))
        else:
            self._breaker.failed()
        self.record.failed(failure, error)


def no_answer(error: Exception) -> ProviderDown:
    """What it means when nothing came, or nothing that can be understood."""
    return ProviderDown(f"The provider did not answer properly: {type(error).__name__}.")


def _reason(failure: Refused | ProviderDown) -> str:
    if isinstance(failure, Refused):
        return f"status {failure.details.get('provider_status', failure.status)}"
    return "no answer" if failure.status is None else f"status {failure.status}"


def _lasting(down: ProviderDown) -> bool:
    """Whether it would only say so again, as a service does that is gone for good (410), or should have its rest."""
    if isinstance(down, BreakerOpen):
        return True
    return down.status is not None and down.status < 500 and down.status not in TRANSIENT
