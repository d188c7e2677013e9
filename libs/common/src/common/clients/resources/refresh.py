"""Asking for what the cache lacks: once however many wait, and without waiting where nobody answers anyway."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Any

from common.bus.port import BusUnavailableError
from common.clients.resources.metrics import CACHE_FILLS
from common.kernel.tasks import Tasks

# A service that did not answer is asked again this much later by those who have something stale to go on with.
RETRY_SECONDS = 1.0
# Organisations remembered as failing; past this the oldest is asked again a little early.
MOST_FAILING = 1_000


class Fills:
    """Questions under way, by name. A question yields None when nobody answered it.

    `failed` tells of an answer whether it is as good as none for those who have something stale to go on with.
    """

    def __init__(self, tasks: Tasks, kind: str, failed: Callable[[Any], bool] = lambda _: False) -> None:
        self._tasks = tasks
        self._kind = kind
        self._failed = failed
        self._running: dict[Hashable, asyncio.Task[Any]] = {}
        self._failing: dict[str, float] = {}

    def failing(self, org_id: str) -> bool:
        """Whether the last question of an organisation was not answered."""
        return org_id in self._failing

    def begin(self, name: Hashable, org_id: str, ask: Callable[[], Awaitable[Any]]) -> "asyncio.Task[Any]":
        """The question under this name, asked now unless it is under way."""
        task = self._running.get(name)
        if task is None:
            task = self._running[name] = self._tasks.spawn(self._ask(name, org_id, ask), f"fill-{self._kind}")
        return task

    def retry(self, name: Hashable, org_id: str, ask: Callable[[], Awaitable[Any]]) -> None:
        """Look from time to time whether somebody answers again."""
        if time.monotonic() >= self._failing.get(org_id, 0.0):
            self._failing[org_id] = time.monotonic() + RETRY_SECONDS
            self.begin(name, org_id, ask)

    async def get(self, name: Hashable, org_id: str, ask: Callable[[], Awaitable[Any]], wait: float) -> Any:
        """The answer, or None when there was none within `wait` seconds; the question goes on."""
        task = self.begin(name, org_id, ask)
        await asyncio.wait({task}, timeout=wait)
        return task.result() if task.done() and not task.cancelled() else None

    async def _ask(self, name: Hashable, org_id: str, ask: Callable[[], Awaitable[Any]]) -> Any:
        answer = None
        try:
            answer = await ask()
        except (TimeoutError, BusUnavailableError):
            # Whoever waits learns it from the missing answer.
            answer = None
        finally:
            del self._running[name]
            self._note(org_id, answered=answer is not None and not self._failed(answer))
        return answer

    def _note(self, org_id: str, *, answered: bool) -> None:
        CACHE_FILLS.labels(self._kind, "filled" if answered else "failed").inc()
        if answered:
            self._failing.pop(org_id, None)
            return
        if len(self._failing) >= MOST_FAILING:
            del self._failing[next(iter(self._failing))]
        self._failing[org_id] = time.monotonic() + RETRY_SECONDS
