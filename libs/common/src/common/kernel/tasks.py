"""Background tasks: named, supervised, and loud when they die."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

log = structlog.get_logger(__name__)


class Tasks:
    """Owns the side tasks of a process; the first to fail sets `failed`."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> "asyncio.Task[Any]":
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        log.error("background task died", task=task.get_name(), exc_info=error)
        if not self.failed.done():
            self.failed.set_exception(error)

    async def close(self) -> None:
        """Cancel what still runs and wait for it."""
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        # Retrieved, so that a failure already logged is not reported again at exit.
        if self.failed.done():
            self.failed.exception()
        else:
            self.failed.cancel()
