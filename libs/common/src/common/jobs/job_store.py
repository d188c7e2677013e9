"""Where jobs are kept, as those who accept, do and read them see it.

Every method raises StoreUnavailableError while the store does not answer. Writes of a worker name the fence of its
claim, and raise LeaseLost where somebody else has the job by now.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from common.events.media import Job, JobList, JobListRequested, JobRequested, JobState

EndState = Literal["completed", "failed", "cancelled"]


class LeaseLost(Exception):
    """Another worker has the job by now, or it has ended: whatever is still done here is for nobody."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the store has to know of a kind. `queue` and `share` bound what waits, in all and of an organisation."""

    kind: str
    steps: tuple[str, ...]
    queue: int
    share: int
    deadline_seconds: float
    keep_seconds: float


@dataclass(frozen=True, slots=True)
class Lease:
    """A claim on a job; a later one has a larger fence."""

    job_id: str
    fence: int


@dataclass(frozen=True, slots=True)
class JobHead:
    """A job as its worker has it. `deadline` is unix seconds; `tries` are those that failed in this round.

    `deaths` counts workers that died over it since it last got anywhere.
    """

    id: str
    org_id: str
    key_id: str
    user_id: str
    kind: str
    round: int
    created_at: datetime
    deadline: float
    input: Mapping[str, Any]
    lease: Lease
    tries: int
    deaths: int
    step: str | None
    percent: float
    milestones: int


@dataclass(frozen=True, slots=True)
class Depth:
    """How many jobs of an organisation wait."""

    kind: str
    org_id: str
    jobs: int


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    """How an attempt ended; `error` as it is shown."""

    outcome: Literal["completed", "failed", "refused", "abandoned"]
    cost_usd: float = 0.0
    reference: str | None = None
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How a job ended; `error` as it is shown. It is kept for `keep_seconds`."""

    state: EndState
    keep_seconds: float
    result: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None


class JobStore(Protocol):
    """All jobs of a service."""

    # -- those who ask

    async def accept(self, requests: Sequence[JobRequested]) -> None:
        """Keep new jobs; those that are known change nothing. What no queue has room for fails at once."""

    async def get(self, org_id: str, job_id: str) -> Job | None:
        """A job with its attempts and history."""

    async def page(self, query: JobListRequested) -> JobList:
        """A page of an organisation's jobs, newest first."""

    async def cancel(self, org_id: str, job_id: str) -> JobState | None:
        """End a waiting job, ask for the end of a running one; the state it is in now, None where there is none."""

    async def cancel_all(self, org_id: str, kind: str, job_ids: Sequence[str]) -> Sequence[str]:
        """The same for many jobs of one kind, all or none of them; the ids of those that are running."""

    async def retry(self, org_id: str, job_id: str, command_id: str) -> bool:
        """Begin anew a job that failed or was cancelled; False for any other. The same command does it once."""

    # -- those who work

    async def due(self) -> Collection[str]:
        """The kinds of which there are jobs to be taken now."""

    async def claim(self, worker: str, kind: str, limit: int, lease_seconds: float) -> Sequence[JobHead]:
        """Take up to `limit` jobs of a kind that wait or whose worker has died, fairly shared by organisation."""

    async def renew(self, percents: Mapping[Lease, float], lease_seconds: float) -> Mapping[str, bool]:
        """Hold jobs for longer, and note how far they are; those that are still ours, with whether they are to end."""

    async def free_of(self, worker_prefix: str) -> int:
        """Let others take at once what a process held that is known to be dead; returns how many jobs."""

    async def milestone(self, lease: Lease, event: str, step: str | None, percent: float) -> int:
        """Note that a job got somewhere; returns its number."""

    async def remember(self, lease: Lease, key: str, value: Any) -> None:
        """Keep a value; a second one under the same key takes its place."""

    async def recall(self, lease: Lease) -> dict[str, Any]:
        """Everything that is remembered of a job."""

    async def forget(self, lease: Lease, key: str) -> None:
        """Remember it no more."""

    async def begin_attempt(
        self, lease: Lease, step: str | None, provider: str, operation: str, lease_seconds: float
    ) -> int:
        """Note that a call begins, and hold the job for longer; returns the attempt's number."""

    async def end_attempt(self, lease: Lease, number: int, end: AttemptEnd) -> None:
        """Note how a call ended, with an audit entry."""

    async def finish(self, lease: Lease, end: JobEnd) -> None:
        """End a job, and publish that."""

    async def postpone(self, lease: Lease, seconds: float, error: Any) -> None:
        """Give a job back to be tried again so many seconds from now; `error` is why."""

    async def release(self, lease: Lease) -> None:
        """Give a job back to be taken up at once: its worker ends in good order."""

    # -- housekeeping

    async def depths(self) -> Sequence[Depth]:
        """How many jobs wait, by kind and organisation."""

    async def end_late(self, kinds: Collection[str]) -> int:
        """Fail jobs of these kinds that have waited past their deadline; returns how many."""

    async def expired(self, limit: int) -> Sequence[tuple[str, str]]:
        """Organisation and id of up to `limit` jobs whose time is over."""

    async def delete(self, job_ids: Sequence[str]) -> None:
        """Forget jobs that have ended, with all that is kept of them."""
