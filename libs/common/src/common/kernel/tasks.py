"""Background tasks: named, supervised, and loud when they die."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

log = structlog.get_logger(__name__)

# What a task may still do when it is cancelled, before it is taken for one that did not notice.
NOTICE_SECONDS = 3.0


async def end(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel tasks and wait until they have ended.

    Again where that was lost: before Python 3.12 `asyncio.wait_for`, which the Redis client writes with, drops a
    cancellation that comes as it is done, and a task that works for good would go on for good.
    """
    late = {task for task in tasks if not task.done()}
    while late:
        for task in late:
            task.cancel()
        _, late = await asyncio.wait(late, timeout=NOTICE_SECONDS)


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
        await end(*self._tasks)
        # Retrieved, so that a failure already logged is not reported again at exit.
        if self.failed.done():
            self.failed.exception()
        else:
            self.failed.cancel()
