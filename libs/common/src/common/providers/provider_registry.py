"""The providers of one process: which are configured, how they are doing, and which of several to ask."""

import re
import statistics
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Literal, cast

from pydantic import BaseModel, Field

from common.failures import ProviderDown, Refused
from common.providers.breaker import Breaker
from common.redaction import REDACTED, redact_text

# Whether all may call, nobody, or one.
BreakerState = Literal["closed", "open", "probing"]
# Calls in the median of the latency: enough for a median, few enough to follow a change.
LATENCIES = 100
MAX_ERROR_TEXT = 200
# A key of most providers: long, without a space, and with a digit. Ids look the same and go as well.
OPAQUE = re.compile(r"(?=[\w+/=~.-]*\d)[\w+/=~.-]{16,}")
QUERY = re.compile(r"\?\S+")


class LastError(BaseModel):
    """The last failure that was the provider's, or our account's there."""

    error: str = Field(description="Its class.")
    text: str = Field(description=f"What it says, without secrets, at most {MAX_ERROR_TEXT} characters.")
    at: datetime


class ProviderStatus(BaseModel):
    """One provider as this process sees it, for one account there."""

    name: str
    account: str = Field(description="Whose account it is: an organisation, or `-` for all others.")
    configured: bool = Field(description="Whether there is a key; without one nothing is asked.")
    healthy: bool | None = Field(description="Whether the last call was answered; null before the first.")
    breaker: BreakerState
    retry_in_seconds: float = Field(description="After how many seconds it may be asked again; 0 for now.")
    in_flight: int = Field(description="Calls under way.")
    latency_p50_seconds: float | None = Field(
        description=f"Median of the last {LATENCIES} calls that were answered; null before the first."
    )
    last_error: LastError | None


class ProviderRecord:
    """What is known about one account at one provider; its policy keeps it up to date."""

    def __init__(
        self, name: str, account: str = "", *, configured: bool = True, breaker: Breaker | None = None
    ) -> None:
        self.name = name
        self.account = account
        self.configured = configured
        self.breaker = breaker or Breaker()
        self._healthy: bool | None = None
        self._in_flight = 0
        self._latencies: deque[float] = deque(maxlen=LATENCIES)
        self._last_error: LastError | None = None

    @property
    def usable(self) -> bool:
        """Whether a call made now might go through: there is a key, and the breaker is closed or wants a probe."""
        return self.configured and self.breaker.would_enter()

    @contextmanager
    def call(self) -> Iterator[None]:
        """A call in flight."""
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1

    def answered(self, seconds: float) -> None:
        """A call was answered after `seconds`, be it with a refusal."""
        self._healthy = True
        self._latencies.append(seconds)

    def failed(self, failure: Refused | ProviderDown, error: BaseException) -> None:
        """A call failed with `error`, which means `failure`."""
        if isinstance(failure, ProviderDown):
            self._healthy = False
        elif failure.status < 500:
            # The caller can correct it; it says nothing about the provider.
            return
        self._last_error = LastError(error=type(error).__name__, text=short(failure.message), at=datetime.now(UTC))

    def status(self) -> ProviderStatus:
        """How it is now."""
        return ProviderStatus(
            name=self.name,
            account=self.account,
            configured=self.configured,
            healthy=self._healthy,
            breaker=cast(BreakerState, self.breaker.state),
            retry_in_seconds=round(self.breaker.opens_in(), 1),
            in_flight=self._in_flight,
            latency_p50_seconds=statistics.median(self._latencies) if self._latencies else None,
            last_error=self._last_error,
        )


class ProviderRegistry:
    """The records of a process, by provider and account."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, str], ProviderRecord] = {}

    def add(self, record: ProviderRecord) -> None:
        """Add a record. Raises ValueError for a second one of an account: its limits would count twice."""
        key = record.name, record.account
        if key in self._records:
            raise ValueError(f"{record.name} is there already for account {record.account!r}.")
        self._records[key] = record

    def snapshot(self) -> list[ProviderStatus]:
        """All of them as they are now, in the order in which they were added."""
        return [record.status() for record in self._records.values()]

    def first_usable(self, names: Iterable[str], account: str = "") -> str | None:
        """The first of these providers that a call made now might reach, None for none.

        Raises KeyError for a name that was never added.
        """
        return next((name for name in names if self._records[name, account].usable), None)


def short(text: str) -> str:
    """A text that may be shown: no key, no token, no query of a URL, no more than `MAX_ERROR_TEXT` characters."""
    plain = QUERY.sub(f"?{REDACTED}", OPAQUE.sub(REDACTED, redact_text(text)))
    return plain if len(plain) <= MAX_ERROR_TEXT else plain[: MAX_ERROR_TEXT - 1] + "…"
