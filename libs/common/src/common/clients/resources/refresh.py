"""Refreshes of the cache: one query however many wait, and no wait while the service does not answer."""

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

# A service that did not answer gets the next query this much later, where a stale answer serves meanwhile.
RETRY_SECONDS = 1.0
# Organisations remembered as failing; past this the oldest is tried again a little early.
MAX_FAILING = 1_000


class Refresh(Generic[T]):
    """Queries in flight, by key. A query yields None when nobody answered it.

    `failed` says whether an answer is no better than a stale one.
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
        """Try from time to time whether the service answers again."""
        if time.monotonic() >= self._failing.get(org_id, 0.0):
            self._failing[org_id] = time.monotonic() + RETRY_SECONDS
            self._begin(key, org_id, query)

    async def get(self, key: Hashable, org_id: str, query: Query[T], wait: float) -> T | None:
        """The answer, or None when there was none within `wait` seconds; the query goes on."""
        flight = self._begin(key, org_id, query)
        await asyncio.wait({flight}, timeout=wait)
        return flight.result() if flight.done() and not flight.cancelled() else None

    async def close(self) -> None:
        """End the queries in flight."""
        await self._flights.close()

    def _begin(self, key: Hashable, org_id: str, query: Query[T]) -> "asyncio.Task[T | None]":
        return self._flights.begin(key, partial(self._answer, org_id, query))

    async def _answer(self, org_id: str, query: Query[T]) -> T | None:
        answer = None
        try:
            answer = await query()
        except (TimeoutError, BusUnavailableError):
            # Those who wait see that the answer is missing.
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
