"""Single flight: work that many ask for at the same time is done once, and all get what came of it."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from common.kernel.tasks import end

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class SingleFlight(Generic[K, T]):
    """Work in flight, by key. Whoever leaves does not end one for the others."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._flights: dict[K, asyncio.Task[T]] = {}

    def begin(self, key: K, work: Callable[[], Coroutine[Any, Any, T]]) -> "asyncio.Task[T]":
        """The flight under this key, begun now unless it is in flight; its task is not to be cancelled."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = asyncio.create_task(work(), name=f"{self._name} {key!r}"[:100])
            flight.add_done_callback(lambda done: self._landed(key, done))
        return flight

    async def run(self, key: K, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What `work` returns or raises."""
        return await asyncio.shield(self.begin(key, work))

    def forget(self, key: K) -> None:
        """What is in flight is out of date: the next caller begins another."""
        self._flights.pop(key, None)

    def current(self, key: K) -> bool:
        """For `work` itself: whether it was not forgotten meanwhile."""
        return self._flights.get(key) is asyncio.current_task()

    async def close(self) -> None:
        """End what is in flight; those who wait get CancelledError."""
        await end(*self._flights.values())

    def _landed(self, key: K, flight: "asyncio.Task[T]") -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if not flight.cancelled():
            # Retrieved, where everybody who waited has left.
            flight.exception()
