"""Natural batching: while one write is in flight, what arrives meanwhile forms the next one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")
# An item that waits to be written, and what tells its end.
Waiting: TypeAlias = tuple[T, "asyncio.Future[None]"]


class Batcher(Generic[T]):
    """Gathers items into writes: an idle batcher writes at once, a busy one writes more at a time.

    `write` gets up to `limit` items in order. All waiters of a write share its outcome. A write that is not urgent
    waits `linger` seconds for more items, or until it has `limit`.
    """

    def __init__(
        self, write: Callable[[Sequence[T]], Awaitable[None]], *, name: str, limit: int = 1000, linger: float = 0.0
    ) -> None:
        self._write = write
        self._name = name
        self._limit = limit
        self._linger = linger
        self._items: list[Waiting[T]] = []
        self._task: asyncio.Task[None] | None = None
        self._is_full = asyncio.Event()

    def put(self, item: T) -> "asyncio.Future[None]":
        """Queue one item; the future ends with its write, or carries the write's exception."""
        future = asyncio.get_running_loop().create_future()
        self._items.append((item, future))
        if len(self._items) >= self._limit:
            self._is_full.set()
        if self._task is None:
            self._task = asyncio.create_task(self._drain(), name=self._name)
        return future

    async def _drain(self) -> None:
        try:
            while self._items:
                if self._linger:
                    await self._await_company()
                await self._write_one([(item, future) for item, future in self._next() if not future.cancelled()])
        finally:
            self._task = None

    def _next(self) -> list[Waiting[T]]:
        """Take the items of the next write; there is at least one."""
        batch, self._items = self._items[: self._limit], self._items[self._limit :]
        return batch

    async def _await_company(self) -> None:
        if len(self._items) < self._limit:
            self._is_full.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._linger):
                    await self._is_full.wait()

    async def _write_one(self, batch: list[Waiting[T]]) -> None:
        error: BaseException | None = None
        try:
            if batch:
                await self._write([item for item, _ in batch])
        except BaseException as raised:  # noqa: BLE001 - handed to every waiter, so nothing is swallowed
            error = raised
        for _, future in batch:
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)
        if isinstance(error, asyncio.CancelledError):
            raise error

    async def close(self) -> None:
        """Wait until everything queued is written."""
        while self._task is not None:
            await asyncio.wait([self._task])
