"""How the provider is called: timeouts, tries, breaker, concurrency limit and metrics, in one object."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import httpx
import pydantic
from hume.core.api_error import ApiError

from common.events.backoff import Backoff
from common.providers import metrics
from common.providers.breaker import Breaker
from common.providers.retry_after import retry_after
from resources.ports import ProviderDown, Refused

T = TypeVar("T")

PROVIDER = "hume"
CONNECT_SECONDS = 1.0
READ_SECONDS = 3.0
# A caller of ours waits for the whole operation, tries and reconciliation included.
TOTAL_SECONDS = 5.0
# A question is given up after 5 s: before that somebody has to have said that the provider is silent.
QUESTION_SECONDS = 4.0
# One who can be answered from the copy waits only this long.
BRIEF_SECONDS = 2.0
CONCURRENCY = 16
# Less than this is left: another try could not end in time.
SHORTEST_TRY_SECONDS = 0.2
# Whatever a Retry-After says, the provider is asked again after this long.
LONGEST_REST_SECONDS = 300.0
# What the provider says about itself is quoted, not repeated at length.
QUOTED = 500
READ_BACKOFF = Backoff(attempts=2, first=0.1, ceiling=1.0)
# A write that is looked up before each try may be tried as often as a read.
WRITE_BACKOFF = Backoff(attempts=2, first=0.1, ceiling=1.0)

TIMEOUT = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
# ValueError is a body that is no JSON, no text or not what the library expects of it.
FAILURES = (ApiError, httpx.HTTPError, ValueError, TimeoutError)


class LeftAlone(ProviderDown):
    """The breaker is open: nobody need wait for it, and one who did would meet the same provider."""


@dataclass(slots=True)
class Budget:
    """The time one operation may still take, over all its calls."""

    deadline: float

    @classmethod
    def full(cls, seconds: float) -> "Budget":
        return cls(time.monotonic() + seconds)

    def left(self) -> float:
        return self.deadline - time.monotonic()

    async def pause(self, backoff: Backoff, attempt: int, down: ProviderDown) -> None:
        """Wait after failed try number `attempt` (from 1); raises `down` when no other would help."""
        delay = backoff.delay(attempt)
        if delay is not None and down.retry_after is not None:
            delay = down.retry_after
        if delay is None or _lasting(down) or self.left() - delay < SHORTEST_TRY_SECONDS:
            raise down
        await asyncio.sleep(delay)


class Policy:
    """Every call for one account goes through here; with `configured` False none leaves.

    `account` is its name in the metrics.
    """

    def __init__(
        self,
        *,
        account: str = "",
        configured: bool = True,
        total_seconds: float = TOTAL_SECONDS,
        concurrency: int = CONCURRENCY,
        breaker: Breaker | None = None,
    ) -> None:
        self._configured = configured
        self._total_seconds = total_seconds
        self._slots = asyncio.Semaphore(concurrency)
        self._breaker = breaker or Breaker()
        self._open = metrics.API_BREAKER_OPEN.labels(PROVIDER, account)
        self._open.set(0)

    def begin(self, seconds: float | None = None) -> Budget:
        """The time of a new operation, for which somebody waits longer than usual where `seconds` are given."""
        return Budget.full(seconds or self._total_seconds)

    def begin_question(self) -> Budget:
        """The time of an operation that changes nothing."""
        return Budget.full(min(QUESTION_SECONDS, self._total_seconds))

    def begin_brief(self) -> Budget:
        """The time of an operation that can do without the provider."""
        return Budget.full(min(BRIEF_SECONDS, self._total_seconds))

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
                await budget.pause(READ_BACKOFF, attempt, down)

    async def once(self, budget: Budget, operation: str, send: Callable[[], Awaitable[T | None]]) -> T:
        """What `send` gives, asked once. Raises `Refused`, and `ProviderDown` when it is unknown what was done."""
        self._enter()
        began = time.monotonic()
        metrics.API_CALLS.labels(PROVIDER, operation).inc()
        try:
            answer = await self._sent(budget, send)
        except FAILURES as error:
            raise self._failed(operation, verdict(error)) from error
        except BaseException:
            self._breaker.left()
            raise
        finally:
            metrics.API_SECONDS.labels(PROVIDER, operation).observe(time.monotonic() - began)
            self._show()
        if answer is None:
            raise self._failed(operation, ProviderDown("The provider answered without saying anything."))
        self._breaker.succeeded()
        self._show()
        return answer

    def _enter(self) -> None:
        if not self._configured:
            raise unconfigured()
        if not self._breaker.try_enter():
            # At least a moment: while a single caller probes there is no time to name.
            wait = max(1.0, self._breaker.opens_in())
            message = "The provider is being left alone after failures."
            broken = self._breaker.state != "closed"
            raise (LeftAlone if broken else ProviderDown)(message, retry_after=round(wait, 1))

    async def _sent(self, budget: Budget, send: Callable[[], Awaitable[T | None]]) -> T | None:
        async with asyncio.timeout(max(0.0, budget.left())):
            async with self._slots:
                with metrics.API_IN_FLIGHT.labels(PROVIDER).track_inprogress():
                    return await send()

    def _failed(self, operation: str, failure: Refused | ProviderDown) -> Refused | ProviderDown:
        """Count it, and let the breaker know whose fault it was."""
        metrics.API_ERRORS.labels(PROVIDER, operation, _reason(failure)).inc()
        if isinstance(failure, Refused):
            self._breaker.succeeded()
        elif failure.status == 429 and failure.retry_after is not None:
            self._breaker.rest(min(failure.retry_after, LONGEST_REST_SECONDS))
        else:
            self._breaker.failed()
        self._show()
        return failure

    def _show(self) -> None:
        self._open.set(self._breaker.state != "closed")


def _reason(failure: Refused | ProviderDown) -> str:
    if isinstance(failure, Refused):
        return f"status {failure.details.get('provider_status', failure.status)}"
    return "no answer" if failure.status is None else f"status {failure.status}"


def unconfigured() -> Refused:
    """The refusal (503) of what needs an account at the provider where there is none."""
    message = "No key for an account at the voice provider is configured for this organisation."
    return Refused(503, message, "provider_unconfigured", type="api_error")


# -- what an error of the client library means ---------------------------------------------------------------------

# The request as such was understood and refused; another try would only repeat it.
OURS = {400: 400, 404: 404, 409: 409, 422: 400}
# The statuses below 500 that the provider may take back.
TRANSIENT = frozenset({408, 425, 429})
# Our account is at fault, which the caller can do nothing about.
ACCOUNT = frozenset({401, 402, 403})
CODES = {400: "provider_refused", 404: "not_found", 409: "conflict"}


def verdict(error: BaseException) -> Refused | ProviderDown:
    """What is to be done about it; `details` hold the provider's status and code."""
    if not isinstance(error, ApiError):
        return ProviderDown(f"The provider did not answer properly: {type(error).__name__}.")
    status, body = error.status_code or 0, _document(error.body)
    if status < 300:
        return ProviderDown("The provider did not answer with JSON.")
    if status in ACCOUNT:
        message = f"The provider does not accept our account: {_text(body) or status}."
        return Refused(502, message, "provider_refused_us", type="api_error", details=_details(status, body))
    # Without the API's own document somebody else answered, such as a proxy, or what is left of a service.
    if status in OURS and body:
        own = OURS[status]
        message = f"The provider says: {_text(body) or status}"
        return Refused(own, message, CODES[own], details=_details(status, body))
    wait = retry_after(error.headers or {})
    return ProviderDown(f"The provider failed with status {status}.", status=status, retry_after=wait)


def _lasting(down: ProviderDown) -> bool:
    """Whether it would only say so again, as a service does that is gone for good (410), or should have its rest."""
    if isinstance(down, LeftAlone):
        return True
    return down.status is not None and down.status < 500 and down.status not in TRANSIENT


def _document(body: object) -> dict[str, object]:
    if isinstance(body, pydantic.BaseModel):
        return body.model_dump(exclude_none=True)
    return body if isinstance(body, dict) else {}


def _text(body: dict[str, object]) -> str:
    fault = body.get("fault")
    said = body.get("message") or body.get("error") or (fault.get("faultstring") if isinstance(fault, dict) else None)
    return str(said or body.get("detail") or "")[:QUOTED]


def _details(status: int, body: dict[str, object]) -> dict[str, object]:
    code = body.get("code")
    return {"provider_status": status} | ({"provider_code": code} if isinstance(code, str) else {})
