"""Does jobs: claims them, holds them while they are at work, and ends them; a dead worker's are taken over."""

import asyncio
import contextlib
import functools
import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Literal

import structlog
from pydantic import BaseModel, ValidationError

from common.events.media import JobHint
from common.failures import StoreUnavailableError
from common.jobs import job_metrics as metrics
from common.jobs.glance import Glance
from common.jobs.job_spec import D, Kind, Kinds
from common.jobs.job_store import JobEnd, JobHead, Lease, LeaseLost
from common.jobs.verdict_of_job import DIED, MAX_DEATHS, TOO_LATE, Again, unfit, verdict
from common.jobs.work import STORE_PAUSE, Bench, Work
from common.kernel import access_log
from common.kernel.tasks import end

log = structlog.get_logger(__name__)

# A job of a worker that died is taken over so long after. Its calls to providers take less.
LEASE_SECONDS = 15.0
RENEW_SECONDS = 3.0
# Other processes accept jobs, and postponed ones become due.
POLL_SECONDS = 0.5
# What is nearly done may end when the process does.
GRACE_SECONDS = 1.0

Why = Literal["", "cancelled", "lost", "drained"]


@dataclass(slots=True)
class _Running(Generic[D]):
    """A job at work. `why` says what its task was cancelled for."""

    kind: Kind[D]
    head: JobHead
    task: "asyncio.Task[None] | None" = None
    work: Work[Any, D] | None = None
    why: Why = ""
    settling: bool = False  # how it ended is being written

    def stop(self, why: Why) -> None:
        if why == "cancelled" and self.work is not None and self.work.beyond_cancelling:
            return
        if self.task is not None and not self.why and not self.settling:
            self.why = why
            self.task.cancel()

    @property
    def percent(self) -> float:
        return self.head.percent if self.work is None else self.work.shown


@dataclass(slots=True)
class Runner(Generic[D]):
    """The jobs of one process. `worker` names it, and no other process, not even the one before it."""

    kinds: Kinds[D]
    bench: Bench
    deps: D
    worker: str
    _running: dict[str, _Running[D]] = field(default_factory=dict)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _hinted: asyncio.Event = field(default_factory=asyncio.Event)
    _closing: bool = False

    def wake(self) -> None:
        """Look for jobs at once: some were accepted."""
        self._woken.set()

    def on_hint(self, hint: JobHint) -> None:
        """Signal `job-hint`: something may have happened to a job, or it is to end."""
        running = self._running.get(hint.job_id)
        if running is not None:
            self._hinted.set()
            if running.work is not None:
                running.work.hint()

    # -- taking jobs

    async def run(self) -> None:
        """Take jobs until cancelled."""
        while not self._closing:
            try:
                await self._claim()
            except StoreUnavailableError as error:
                log.info("no jobs are taken for now", error=str(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._woken.wait()
            self._woken.clear()

    async def _claim(self) -> None:
        due = await self.bench.store.due()
        for kind in self.kinds:
            name = kind.spec.kind
            room = kind.spec.concurrency - sum(each.head.kind == name for each in self._running.values())
            if name not in due or room <= 0:
                continue
            for head in await self.bench.store.claim(self.worker, name, room, self.bench.lease_seconds):
                self._begin(kind, head)

    def _begin(self, kind: Kind[D], head: JobHead) -> None:
        if (former := self._running.pop(head.id, None)) is not None:
            # We held it for too long without a word, and have it again under a new fence.
            former.stop("lost")
        running = self._running[head.id] = _Running(kind, head)
        if head.deaths:
            metrics.JOBS_RESUMED.labels(head.kind).inc()
        metrics.JOBS_RUNNING.labels(head.kind).inc()
        running.task = asyncio.create_task(self._live(running), name=f"job {head.id}")
        running.task.add_done_callback(lambda task: self._over(running, task))

    def _over(self, running: _Running[D], task: "asyncio.Task[None]") -> None:
        metrics.JOBS_RUNNING.labels(running.head.kind).dec()
        if self._running.get(running.head.id) is running:
            del self._running[running.head.id]
            self.bench.board.drop(running.head.id)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Its lease runs out, and it is taken up again.
            log.error("job cannot be ended", job=running.head.id, exc_info=error)
        self._woken.set()

    # -- holding them

    async def hold(self) -> None:
        """Renew the leases until cancelled, and learn which jobs are to end or are lost."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RENEW_SECONDS):
                    await self._hinted.wait()
            self._hinted.clear()
            with contextlib.suppress(StoreUnavailableError):
                await self._renew()

    async def _renew(self) -> None:
        held = {each.head.lease: each for each in self._running.values()}
        if not held:
            return
        percents: dict[Lease, float] = {lease: each.percent for lease, each in held.items()}
        ours = await self.bench.store.renew(percents, self.bench.lease_seconds)
        for each in held.values():
            to_end = ours.get(each.head.id)
            if to_end is None:
                each.stop("lost")
            elif to_end:
                each.stop("cancelled")

    # -- the life of one

    async def _live(self, running: _Running[D]) -> None:
        head = running.head
        try:
            await self._settled(running, await self._outcome(running))
        except LeaseLost:
            if running.why != "lost":
                metrics.JOBS_LOST.labels(head.kind).inc()
                log.warning("job lost to another worker", job=head.id)
        finally:
            await self._clean(running)

    async def _outcome(self, running: _Running[D]) -> JobEnd | Again | None:
        """How the job ends or goes on; None where it is for others to say."""
        head, spec = running.head, running.kind.spec
        if head.deaths >= MAX_DEATHS:
            return self._failed(running, DIED)
        clock = asyncio.timeout(max(0.0, head.deadline - time.time()))
        try:
            async with clock:
                result = await self._done(running)
            return JobEnd("completed", spec.keep_seconds, result=result.model_dump(mode="json"))
        except LeaseLost:
            raise
        except ValidationError as error:
            if running.work is None:
                return self._failed(running, unfit(error))
            return self._judged(running, error)
        except asyncio.CancelledError:
            return await self._stopped(running)
        except Exception as error:  # noqa: BLE001 - what a job raises decides how it ends
            if clock.expired():
                return self._failed(running, TOO_LATE)
            return self._judged(running, error)

    async def _done(self, running: _Running[D]) -> BaseModel:
        head, spec = running.head, running.kind.spec
        given = spec.input.model_validate(head.input)
        running.work = Work(head, given, self.deps, spec.steps, self.bench)
        metrics.JOB_WAIT_SECONDS.labels(head.kind).observe(max(0.0, time.time() - head.created_at.timestamp()))
        # What was asked before this process had it.
        self._hinted.set()
        return await running.kind.act(running.work)

    def _judged(self, running: _Running[D], error: Exception) -> JobEnd | Again:
        head = running.head
        decided = verdict(error, head, running.kind.spec)
        code = decided.error.get("code")
        if code == "internal_error":
            metrics.JOB_BUGS.labels(head.kind).inc()
            log.error("job failed unexpectedly", job=head.id, kind=head.kind, exc_info=error)
        else:
            log.info("job failed", job=head.id, kind=head.kind, code=code, again=isinstance(decided, Again))
        if isinstance(decided, Again) and time.time() + decided.seconds < head.deadline:
            return decided
        return self._failed(running, decided.error)

    def _failed(self, running: _Running[D], error: dict[str, Any]) -> JobEnd:
        return JobEnd("failed", running.kind.spec.keep_seconds, error=error)

    async def _stopped(self, running: _Running[D]) -> JobEnd | None:
        task = asyncio.current_task()
        if task is not None and running.why:
            task.uncancel()
        if running.why == "cancelled":
            return JobEnd("cancelled", running.kind.spec.keep_seconds)
        if running.why == "drained":
            # While the database is away the lease runs out by itself.
            with contextlib.suppress(StoreUnavailableError):
                await self.bench.store.release(running.head.lease)
            return None
        if running.why == "lost":
            raise LeaseLost(running.head.id)
        raise asyncio.CancelledError

    async def _settled(self, running: _Running[D], outcome: JobEnd | Again | None) -> None:
        head, store = running.head, self.bench.store
        if outcome is None:
            return
        running.settling = True
        # Whoever hears of the end finds nothing left.
        await self._clean(running)
        if isinstance(outcome, Again):
            metrics.JOBS_POSTPONED.labels(head.kind).inc()
            await _patiently(lambda: store.postpone(head.lease, outcome.seconds, outcome.error))
            self._show(running, "queued")
            return
        await _patiently(lambda: store.finish(head.lease, outcome))
        metrics.JOBS_ENDED.labels(head.kind, outcome.state).inc()
        seconds = max(0.0, time.time() - head.created_at.timestamp())
        metrics.JOB_SECONDS.labels(head.kind).observe(seconds)
        _tell(head, outcome, seconds)
        self._show(running, outcome.state)

    def _show(self, running: _Running[D], state: str) -> None:
        # The number is beyond any that was shown: whoever watches asks for the milestones.
        newest = running.head.milestones if running.work is None else running.work.milestone
        self.bench.board.show(running.head.id, Glance(newest + 1, state, None, running.percent))

    async def _clean(self, running: _Running[D]) -> None:
        work = running.work
        if work is not None and work.folder_made is not None:
            folder, work.folder_made = work.folder_made, None
            await asyncio.shield(asyncio.to_thread(functools.partial(shutil.rmtree, folder, ignore_errors=True)))

    async def close(self) -> None:
        """Give back what is at work: others, or the next start, go on where it is."""
        self._closing = True
        self.wake()
        tasks = [each.task for each in self._running.values() if each.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=GRACE_SECONDS)
        for each in list(self._running.values()):
            each.stop("drained")
        if tasks:
            await asyncio.wait(tasks, timeout=GRACE_SECONDS)
        await end(*(task for task in tasks if not task.done()))


def _tell(head: JobHead, outcome: JobEnd, seconds: float) -> None:
    """One line in the access log; that of the event which asked for the job has its id and that of the request."""
    code = None if outcome.error is None else outcome.error.get("code")
    line = {"job_id": head.id, "kind": head.kind, "org_id": head.org_id, "state": outcome.state, "code": code}
    access_log.write("job ended", {**line, "seconds": round(seconds, 3)})


async def _patiently(act: Callable[[], Awaitable[None]]) -> None:
    """The end of a job is written as soon as the database is back, if nobody else has the job by then."""
    while True:
        try:
            return await act()
        except StoreUnavailableError:
            await asyncio.sleep(STORE_PAUSE)
