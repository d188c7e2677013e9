"""Everything about jobs in one process, put together and running."""

import asyncio
import functools
import shutil
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from common.bus.live.signals import on_signal
from common.events.media import JOB_HINT, JobHint
from common.failures import StoreUnavailableError
from common.jobs.housekeeping import Discard, Housekeeping
from common.jobs.job_desk import JobDesk
from common.jobs.job_spec import D, JobSpec, Kinds
from common.jobs.job_store import Bounds
from common.jobs.postgres_jobs import PostgresJobs
from common.jobs.progress_board import ProgressBoard
from common.jobs.runner import LEASE_SECONDS, Runner
from common.jobs.work import Bench
from common.kernel.service import Kernel
from common.kernel.tasks import end
from common.kernel.worker_processes import WorkerProcesses
from common.storage.postgres import Pool

# The tables of jobs, for whichever schema.
JOBS_MIGRATIONS = Path(__file__).parent / "migrations"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsOf(Generic[D]):
    """What a service brings: its kinds, where their tables are, and what deletes assets.

    `workers` are for long work, `brief` for what is over in a moment.
    """

    kinds: Kinds[D]
    schema: str
    workers: WorkerProcesses
    brief: WorkerProcesses
    discard: Discard


@asynccontextmanager
async def open_jobs(kernel: Kernel, pool: Pool, of: JobsOf[D], deps_of: Callable[[JobDesk], D]) -> AsyncIterator[D]:
    """What `deps_of` makes of the desk, with the runner of its jobs at work."""
    bounds = {each.spec.kind: _bounds(each.spec) for each in of.kinds}
    store = PostgresJobs(pool, of.schema, bounds)
    board = ProgressBoard(kernel.redis)
    instance = kernel.settings.instance
    scratch = kernel.settings.data_dir / f"{of.schema}-scratch" / instance
    await asyncio.to_thread(functools.partial(shutil.rmtree, scratch, ignore_errors=True))
    prefix = f"{instance}:"
    bench = Bench(store, board, of.workers, of.brief, scratch, LEASE_SECONDS)

    def hint(about: JobHint) -> None:
        kernel.live.queue_signal(JOB_HINT, about)

    desk = JobDesk(store, bounds, wake=lambda: runner.wake(), hint=hint)
    deps = deps_of(desk)
    runner: Runner[D] = Runner(of.kinds, bench, deps, prefix + uuid.uuid4().hex[:12])
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(
            kernel.read_live(f"{of.schema}:{instance}", [on_signal(JOB_HINT, runner.on_hint)])
        )
        keeping = Housekeeping(store, kernel.redis, bounds, of.discard)
        works = {
            "take-jobs": _after_the_former(store, prefix, runner),
            "hold-jobs": runner.hold(),
            "show-jobs": board.run(),
            "look-after-jobs": keeping.look(),
            "delete-jobs": keeping.delete(),
        }
        tasks = {name: kernel.tasks.spawn(work, name) for name, work in works.items()}
        try:
            yield deps
        finally:
            await desk.close()
            await runner.close()
            await end(*tasks.values())


async def _after_the_former(store: PostgresJobs, prefix: str, runner: Runner[Any]) -> None:
    """Run, with what the process of this name before us held: it is dead, since we have its name."""
    while True:
        try:
            await store.free_of(prefix)
            break
        except StoreUnavailableError:
            await asyncio.sleep(1.0)
    await runner.run()


def _bounds(spec: JobSpec[Any, Any]) -> Bounds:
    return Bounds(spec.kind, spec.steps, spec.queue, spec.share, spec.deadline_seconds, spec.keep_seconds)
