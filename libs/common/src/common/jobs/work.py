"""A job as the function that does it sees it."""

import asyncio
import contextlib
import functools
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar, overload

from pydantic import BaseModel

from common.failures import Refused, Retry, StoreUnavailableError
from common.jobs.glance import Glance
from common.jobs.job_spec import D, I
from common.jobs.job_store import AttemptEnd, JobHead, JobStore, LeaseLost
from common.jobs.progress_board import ProgressBoard
from common.kernel.worker_processes import WorkerProcesses
from common.providers.provider_registry import short

P = ParamSpec("P")
T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

# A store that is away is asked again so soon.
STORE_PAUSE = 0.25
# Names the ids of what jobs make.
NAMES = uuid.UUID("4a3b6c0e-5c0f-4c5e-8a61-9e1c7d0f2b13")


@dataclass(slots=True)
class Attempt:
    """One call in the trail; set what it cost and what the provider calls it."""

    number: int
    cost_usd: float = 0.0
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Bench:
    """What all jobs of a process work with."""

    store: JobStore
    board: ProgressBoard
    workers: WorkerProcesses
    brief: WorkerProcesses
    scratch: Path
    lease_seconds: float


class Work(Generic[I, D]):
    """A job in hand. Its methods raise LeaseLost where somebody else has it by now: let that pass.

    While the database is away they wait for it, for as long as the job may take.
    """

    def __init__(self, job: JobHead, input: I, deps: D, steps: tuple[str, ...], bench: Bench) -> None:
        self.job = job
        self.input = input
        self.deps = deps
        self.shown = job.percent
        self.folder_made: Path | None = None
        self.beyond_cancelling = False
        self._steps = steps
        self._bench = bench
        self._step = job.step
        self.milestone = job.milestones
        self._memos: dict[str, Any] | None = None
        self._hinted = asyncio.Event()
        self._show()

    # -- how far it is

    @asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[None]:
        """A named step, told to the job's owner when it is reached for the first time.

        Raises ValueError for a step that its kind does not declare.
        """
        at = self._steps.index(name)
        reached = self._steps.index(self._step) if self._step in self._steps else -1
        if at > reached:
            self.milestone = await self._patiently(
                lambda: self._bench.store.milestone(self.job.lease, "step", name, self.shown)
            )
            self._step = name
            self._show()
        yield

    def percent(self, percent: float) -> None:
        """Show how far the whole job is; it never goes back."""
        percent = min(100.0, max(0.0, percent))
        if percent > self.shown:
            self.shown = percent
            self._show()

    def _show(self) -> None:
        glance = Glance(self.milestone, "running", self._step, round(self.shown, 1))
        self._bench.board.show(self.job.id, glance)

    def left(self) -> float:
        """Seconds to the deadline; negative past it."""
        return self.job.deadline - time.time()

    @contextmanager
    def for_good(self) -> Iterator[None]:
        """What is done within cannot be taken back: a cancellation is too late then, and the job completes."""
        self.beyond_cancelling = True
        try:
            yield
        except BaseException:
            self.beyond_cancelling = False
            raise

    # -- what is remembered

    async def recall(self, key: str) -> Any:
        """What was remembered, by whichever worker, in whichever round; None for nothing."""
        if self._memos is None:
            self._memos = await self._patiently(lambda: self._bench.store.recall(self.job.lease))
        return self._memos.get(key)

    async def remember(self, key: str, value: Any) -> None:
        """Keep a JSON value; it is durable when this returns."""
        await self.recall(key)
        await self._patiently(lambda: self._bench.store.remember(self.job.lease, key, value))
        if self._memos is not None:
            self._memos[key] = value

    async def forget(self, key: str) -> None:
        """Remember it no more."""
        if await self.recall(key) is not None:
            await self._patiently(lambda: self._bench.store.forget(self.job.lease, key))
            if self._memos is not None:
                del self._memos[key]

    @overload
    async def once(self, key: str, act: Callable[[], Awaitable[M]], model: type[M]) -> M: ...
    @overload
    async def once(self, key: str, act: Callable[[], Awaitable[T]]) -> T: ...
    async def once(self, key: str, act: Callable[[], Awaitable[Any]], model: type[BaseModel] | None = None) -> Any:
        """What `act` returned: now, or when it was done before. Of one that raises nothing is remembered.

        It returns a JSON value that is not None, or a model.
        """
        found = await self.recall(f"once:{key}")
        if found is None:
            value = await act()
            found = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
            await self.remember(f"once:{key}", found)
        return found if model is None else model.model_validate(found)

    # -- calls, waits, computation

    @asynccontextmanager
    async def attempt(self, provider: str, operation: str) -> AsyncIterator[Attempt]:
        """One call in the trail of the job. How it ended follows from what is raised inside.

        The job is ours for the length of a lease when this begins: keep a call that costs shorter than that.
        """
        bench, lease = self._bench, self.job.lease
        number = await self._patiently(
            lambda: bench.store.begin_attempt(lease, self._step, provider, operation, bench.lease_seconds)
        )
        attempt = Attempt(number)
        try:
            yield attempt
        except LeaseLost:
            raise
        except Exception as error:
            await self._ended(attempt, "refused" if isinstance(error, Refused) else "failed", shown_error(error))
            raise
        await self._ended(attempt, "completed", None)

    async def _ended(self, attempt: Attempt, outcome: Any, error: dict[str, Any] | None) -> None:
        end = AttemptEnd(outcome, attempt.cost_usd, attempt.reference, error)
        await self._patiently(lambda: self._bench.store.end_attempt(self.job.lease, attempt.number, end))

    async def sleep(self, seconds: float) -> None:
        """Wait, but no longer once somebody hints that something has happened to this job."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hinted.wait()
        self._hinted.clear()

    def hint(self) -> None:
        """End its sleep, or the next one."""
        self._hinted.set()

    async def cpu(
        self, function: Callable[..., T], *args: Any, done: Callable[[Any], None] | None = None, **kwargs: Any
    ) -> T:
        """What a function of a module returns or raises, done in a worker process of low priority.

        `done` gets what it reports on its way (`common.kernel.worker_main.report`). Raises TooDear.
        """
        call = functools.partial(function, *args, **kwargs)
        return await self._bench.workers.run_told(self.job.id, done, call)

    async def brief(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """The same for what is over in a moment: it does not wait behind work that takes minutes."""
        call = functools.partial(function, *args, **kwargs)
        return await self._bench.brief.run_told(self.job.id, None, call)

    async def folder(self) -> Path:
        """A folder for this job alone, removed at its end."""
        if self.folder_made is None:
            folder = self._bench.scratch / f"{self.job.id}-{self.job.lease.fence}"
            await asyncio.to_thread(functools.partial(folder.mkdir, parents=True, exist_ok=True))
            self.folder_made = folder
        return self.folder_made

    def asset_id(self, name: str) -> str:
        """The id of what this job makes under a name: the same whoever makes it, and however often."""
        return f"ast_{uuid.uuid5(NAMES, f'{self.job.org_id}/{self.job.id}/{self.job.round}/{name}').hex}"

    async def _patiently(self, act: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await act()
            except StoreUnavailableError:
                await asyncio.sleep(STORE_PAUSE)


def shown_error(error: BaseException) -> dict[str, Any]:
    """An error as the owner of a job sees it: nothing of a bug but that there was one."""
    if isinstance(error, Refused):
        return {"message": short(error.message), "code": error.code}
    if isinstance(error, Retry):
        code = "provider_unavailable" if hasattr(error, "retry_after") else "unavailable"
        return {"message": short(str(error)), "code": code}
    return {"message": "Something went wrong here; it is in our log.", "code": "internal_error"}
