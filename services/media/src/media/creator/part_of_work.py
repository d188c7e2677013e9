"""A part of a job that another kind of job would do: its input is its own, its memory is kept apart."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from common.jobs.job_spec import D, I
from common.jobs.work import Attempt, Work

T = TypeVar("T")


class PartOfWork(Work[I, D]):
    """Work that is part of another. Its steps are steps of nobody, and `told` gets its percent."""

    def __init__(self, whole: Work[Any, D], name: str, input: I, told: Callable[[float], None]) -> None:
        # No call to the parent's: everything that it would hold is the whole's.
        self.job = whole.job
        self.deps = whole.deps
        self.input = input
        self._whole = whole
        self._name = name
        self._told = told

    @asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[None]:
        """The step of the whole goes on."""
        yield

    def percent(self, percent: float) -> None:
        self._told(percent)

    async def recall(self, key: str) -> Any:
        return await self._whole.recall(f"{self._name}/{key}")

    async def remember(self, key: str, value: Any) -> None:
        await self._whole.remember(f"{self._name}/{key}", value)

    async def forget(self, key: str) -> None:
        await self._whole.forget(f"{self._name}/{key}")

    @asynccontextmanager
    async def attempt(self, provider: str, operation: str) -> AsyncIterator[Attempt]:
        async with self._whole.attempt(provider, operation) as attempt:
            yield attempt

    async def sleep(self, seconds: float) -> None:
        await self._whole.sleep(seconds)

    async def cpu(
        self, function: Callable[..., T], *args: Any, done: Callable[[Any], None] | None = None, **kwargs: Any
    ) -> T:
        return await self._whole.cpu(function, *args, done=done, **kwargs)

    async def brief(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        return await self._whole.brief(function, *args, **kwargs)

    async def folder(self) -> Path:
        return await self._whole.folder()

    def asset_id(self, name: str) -> str:
        return self._whole.asset_id(f"{self._name}/{name}")
