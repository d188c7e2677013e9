"""Where jobs are taken in and asked about: the use cases behind the commands and queries."""

from collections.abc import Callable, Collection, Sequence

from common.bus.batching import Batcher
from common.events.envelope import Event
from common.events.media import (
    Job,
    JobCancelRequested,
    JobGetRequested,
    JobHint,
    JobList,
    JobListRequested,
    JobRequest,
    JobRequested,
    JobRetryRequested,
)
from common.events.reply import Reply
from common.failures import Park, Refused
from common.jobs import job_metrics as metrics
from common.jobs.job_store import JobStore
from common.jobs.postgres_jobs import checked
from common.kernel import access_log

# Rows of one write: a few hundred gain all that there is to gain.
JOBS_PER_WRITE = 200
MAX_PAGE = 100


class JobDesk:
    """The jobs of a service as their owners see them."""

    def __init__(
        self,
        store: JobStore,
        kinds: Collection[str],
        *,
        wake: Callable[[], None],
        hint: Callable[[JobHint], None],
    ) -> None:
        """`wake` tells the runner that there are new jobs; `hint` tells every instance that one is to end."""
        self._store = store
        self._kinds = kinds
        self._wake = wake
        self._hint = hint
        self._new = Batcher[JobRequested](store.accept, name="accept-jobs", limit=JOBS_PER_WRITE)

    async def accept(self, request: JobRequested) -> None:
        """Keep a job; a known one changes nothing. Raises Park for what can never be one, and StoreUnavailableError."""
        if request.kind not in self._kinds:
            raise Park(f"no kind of job is called {request.kind[:100]!r}")
        access_log.note(job_id=request.job_id, kind=request.kind)
        await self._new.put(checked(request))
        metrics.JOBS_ACCEPTED.labels(request.kind).inc()
        self._wake()

    async def accept_all(self, kind: str, requests: Sequence[JobRequested]) -> None:
        """Keep many jobs of one kind; those that are known change nothing. Raises as `accept`."""
        for start in range(0, len(requests), JOBS_PER_WRITE):
            some = [checked(request) for request in requests[start : start + JOBS_PER_WRITE]]
            await self._store.accept(some)
            metrics.JOBS_ACCEPTED.labels(kind).inc(len(some))
        self._wake()

    async def cancel_all(self, org_id: str, kind: str, job_ids: Sequence[str]) -> None:
        """End many jobs of one kind; those that run end in a moment, and those that have ended stay as they are."""
        for job_id in await self._store.cancel_all(org_id, kind, job_ids):
            self._hint(JobHint(job_id=job_id))

    async def get(self, request: JobGetRequested) -> Reply[Job]:
        """Raises Refused 404."""
        return Reply(await self._known(request))

    async def page(self, query: JobListRequested) -> Reply[JobList]:
        """Raises Refused 404 where there is no job `after` which to go on."""
        limit = min(max(1, query.limit), MAX_PAGE)
        if query.after is not None and await self._store.get(query.org_id, query.after) is None:
            raise Refused(404, f"No job '{query.after}' to go on after.", "job_not_found", "after")
        return Reply(await self._store.page(query.model_copy(update={"limit": limit})))

    async def cancel(self, request: JobCancelRequested) -> Reply[Job]:
        """The job, ended or about to end. Raises Refused 404."""
        state = await self._store.cancel(request.org_id, request.job_id)
        if state == "running":
            self._hint(JobHint(job_id=request.job_id))
        return Reply(await self._known(request), 202 if state == "running" else 200)

    async def retry(self, event: Event[JobRetryRequested]) -> Reply[Job]:
        """The job, waiting again. Raises Refused 404, and 409 for one that did not fail."""
        request = event.payload
        if not await self._store.retry(request.org_id, request.job_id, event.id):
            job = await self._known(request)
            message = f"The job is {job.state}: only one that failed or was cancelled can be tried again."
            raise Refused(409, message, "job_not_retryable")
        self._wake()
        return Reply(await self._known(request), 202)

    async def _known(self, request: JobRequest) -> Job:
        job = await self._store.get(request.org_id, request.job_id)
        if job is None:
            raise Refused(404, f"There is no job '{request.job_id}'.", "job_not_found", "id")
        return job

    async def close(self) -> None:
        """Wait for the writes in flight."""
        await self._new.close()
