"""Asking for what the cache lacks: once however many wait, and without waiting where nobody answers anyway."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from typing import Generic, TypeVar

from common.bus.port import BusUnavailableError
from common.clients.resources.metrics import CACHE_FILLS
from common.kernel.single_flight import SingleFlight

T = TypeVar("T")
Query = Callable[[], Awaitable[T | None]]

# A service that did not answer is asked again this much later by those who have something stale to go on with.
RETRY_SECONDS = 1.0
# Organisations remembered as failing; past this the oldest is asked again a little early.
MAX_FAILING = 1_000


class Refresh(Generic[T]):
    """Queries under way, by key. A query yields None when nobody answered it.

    `failed` tells of an answer whether it is as good as none for those who have something stale to go on with.
    """

    def __init__(self, kind: str, failed: Callable[[T], bool] = lambda _: False) -> None:
        self._kind = kind
        self._failed = failed
        self._flights: SingleFlight[Hashable, T | None] = SingleFlight(f"fill {kind}")
        self._failing: dict[str, float] = {}

    def failing(self, org_id: str) -> bool:
        """Whether the last query about an organisation was not answered."""
        return org_id in self._failing

    def retry(self, key: Hashable, org_id: str, query: Query[T]) -> None:
        """Look from time to time whether somebody answers again."""
        if time.monotonic() >= self._failing.get(org_id, 0.0):
            self._failing[org_id] = time.monotonic() + RETRY_SECONDS
            self._begin(key, org_id, query)

    async def get(self, key: Hashable, org_id: str, query: Query[T], wait: float) -> T | None:
        """The answer, or None when there was none within `wait` seconds; the query goes on."""
        flight = self._begin(key, org_id, query)
        await asyncio.wait({flight}, timeout=wait)
        return flight.result() if flight.done() and not flight.cancelled() else None

    async def close(self) -> None:
        """End the queries under way."""
        await self._flights.close()

    def _begin(self, key: Hashable, org_id: str, query: Query[T]) -> "asyncio.Task[T | None]":
        return self._flights.begin(key, partial(self._answer, org_id, query))

    async def _answer(self, org_id: str, query: Query[T]) -> T | None:
        answer = None
        try:
            answer = await query()
        except (TimeoutError, BusUnavailableError):
            # Whoever waits learns it from the missing answer.
            answer = None
        finally:
            self._note(org_id, answered=answer is not None and not self._failed(answer))
        return answer

    def _note(self, org_id: str, *, answered: bool) -> None:
        CACHE_FILLS.labels(self._kind, "filled" if answered else "failed").inc()
        if answered:
            self._failing.pop(org_id, None)
            return
        if len(self._failing) >= MAX_FAILING:
            del self._failing[next(iter(self._failing))]
        self._failing[org_id] = time.monotonic() + RETRY_SECONDS
