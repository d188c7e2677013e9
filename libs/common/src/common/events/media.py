"""Media: jobs, what is asked of them, and what became of them."""

from typing import Annotated, Any, Literal

from pydantic import Field

from common.events.backoff import NEVER, PATIENTLY
from common.events.media_topics import MEDIA_COMMANDS, MEDIA_EVENTS, MEDIA_QUERIES
from common.events.reply import ReplyBody
from common.events.spec import EventSpec, Payload, RequestSpec, SignalSpec, query

JobState = Literal["queued", "running", "completed", "failed", "cancelled"]
# Of a job's history this many milestones are shown, the newest; a job has a dozen, and a few more with each retry.
MAX_MILESTONES = 100
# Attempts shown of a job, the newest.
MAX_ATTEMPTS = 100


# -- a job as its owner sees it ----------------------------------------------------------------------------------------


class JobError(ReplyBody):
    """Why a job failed, or why a try of it did."""

    message: str
    code: str | None = None


class JobStep(ReplyBody):
    """One named step; `waiting` has not begun."""

    name: str
    state: Literal["waiting", "running", "completed", "failed"]
    started_at: float | None = None
    finished_at: float | None = None


class JobAttempt(ReplyBody):
    """One call to a provider, or one run of our own code in its place, in the order in which they were made.

    `outcome` `unknown` is a call whose process died: what it did is looked up before it is made again.
    """

    number: int
    step: str | None
    provider: str
    operation: str
    outcome: Literal["running", "completed", "failed", "refused", "abandoned", "unknown"]
    reference: str | None = None
    cost_usd: float
    started_at: float
    finished_at: float | None = None
    error: JobError | None = None


class Milestone(ReplyBody):
    """A moment in the life of a job that is kept, numbered from 1."""

    number: int
    event: Literal["queued", "started", "step", "waiting", "resumed", "completed", "failed", "cancelled"]
    step: str | None = None
    percent: float
    at: float


class Job(ReplyBody):
    """A job. Times are unix seconds; `percent` runs from 0 to 100; `result` is there once it is completed.

    `round` counts how often it was begun anew by a retry. `deadline_at` is when it is given up, `expires_at` when it
    and its assets are deleted.
    """

    id: str
    object: Literal["job"]
    kind: str
    state: JobState
    percent: float
    step: str | None = None
    steps: tuple[JobStep, ...] = ()
    round: int
    cancel_requested: bool = False
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    deadline_at: float | None = None
    expires_at: float | None = None
    cost_usd: float
    input: dict[str, Any]
    result: dict[str, Any] | None = None
    error: JobError | None = None
    attempts: tuple[JobAttempt, ...] = ()
    history: tuple[Milestone, ...] = ()


class JobList(ReplyBody):
    """A page of jobs, newest first, without their attempts and history; `has_more`: ask again `after` the last one."""

    object: Literal["list"]
    data: tuple[Job, ...]
    has_more: bool


# -- commands and queries ----------------------------------------------------------------------------------------------


class JobRequest(Payload):
    """Who asks about which job."""

    org_id: str
    key_id: str
    user_id: str = ""
    job_id: str


class JobRequested(JobRequest):
    """A new job. `input` is the kind's own; with `deadline_seconds` it is given up so long after `requested_at`."""

    kind: str
    requested_at: float
    deadline_seconds: float | None = None
    # The webhook endpoint that gets the end of this job, beside those that get all.
    webhook: str | None = None
    input: dict[str, Any]


class JobCancelRequested(JobRequest):
    """End a job; one that has ended stays as it is."""


class JobRetryRequested(JobRequest):
    """Begin a job anew that failed or was cancelled. What it paid for is not paid again."""


class JobGetRequested(JobRequest):
    """One job with its attempts and its history."""


class JobListRequested(Payload):
    """The jobs of an organisation behind the job `after`; `created_since` and `created_until` are unix seconds."""

    org_id: str
    kind: str | None = None
    state: JobState | None = None
    created_since: float | None = None
    created_until: float | None = None
    after: str | None = None
    limit: int = 20


def _job_key(request: JobRequest) -> str:
    """Whatever is asked about a job comes behind what was asked before, its creation first of all."""
    return f"{request.org_id}/{request.job_id}"


MEDIA_JOB_REQUESTED = EventSpec(
    type="media.job.requested",
    version=1,
    payload=JobRequested,
    topic=MEDIA_COMMANDS,
    key=_job_key,
    summary="Do a job; how it goes is told by facts on media-events.",
    retry=PATIENTLY,
)
MEDIA_JOB_CANCEL_REQUESTED = RequestSpec(
    type="media.job.cancel.requested",
    version=1,
    payload=JobCancelRequested,
    reply=Job,
    topic=MEDIA_COMMANDS,
    key=_job_key,
    summary="End a job; answered with the job.",
    retry=PATIENTLY,
)
MEDIA_JOB_RETRY_REQUESTED = RequestSpec(
    type="media.job.retry.requested",
    version=1,
    payload=JobRetryRequested,
    reply=Job,
    topic=MEDIA_COMMANDS,
    key=_job_key,
    summary="Begin a job anew; answered with the job.",
    retry=PATIENTLY,
)
MEDIA_JOB_GET_REQUESTED = RequestSpec(
    type="media.job.get.requested",
    version=1,
    payload=JobGetRequested,
    reply=Job,
    topic=MEDIA_COMMANDS,
    key=_job_key,
    summary="Answer with a job; on the topic of the commands, so that a job is known as soon as it was accepted.",
    retry=NEVER,
    park=False,
    expires=True,
    question=True,
)
MEDIA_JOB_LIST_REQUESTED = query(
    type="media.job.list.requested",
    payload=JobListRequested,
    reply=JobList,
    topic=MEDIA_QUERIES,
    key=lambda query: query.org_id,
    summary="Answer with a page of jobs.",
)


# -- facts -------------------------------------------------------------------------------------------------------------


class JobFact(Payload):
    """What happened to a job at `at` (unix seconds)."""

    org_id: str
    key_id: str
    user_id: str = ""
    job_id: str
    kind: str
    round: int = 1
    at: float


class JobProgressed(JobFact):
    """A milestone was reached: `event` is that of `Milestone`."""

    number: int
    event: str
    step: str | None = None
    percent: float


class JobEnded(JobFact):
    """The end of a job, with what all its attempts cost."""

    created_at: float
    cost_usd: float = 0.0
    # The webhook endpoint that the request for the job named.
    webhook: str | None = None
    providers: Annotated[tuple[str, ...], Field(fail_fast=True)] = ()


class JobCompleted(JobEnded):
    """The job is done."""

    result: dict[str, Any]


class JobFailed(JobEnded):
    """The job is given up; `code` and `message` say why."""

    code: str | None = None
    message: str


class JobCancelled(JobEnded):
    """The job was ended by its owner."""


def _fact_key(fact: JobFact) -> str:
    return f"{fact.org_id}/{fact.job_id}"


MEDIA_JOB_PROGRESSED = EventSpec(
    type="media.job.progressed",
    version=1,
    payload=JobProgressed,
    topic=MEDIA_EVENTS,
    key=_fact_key,
    summary="A job reached a milestone.",
    retry=PATIENTLY,
)
MEDIA_JOB_COMPLETED = EventSpec(
    type="media.job.completed",
    version=1,
    payload=JobCompleted,
    topic=MEDIA_EVENTS,
    key=_fact_key,
    summary="A job is done.",
    retry=PATIENTLY,
)
MEDIA_JOB_FAILED = EventSpec(
    type="media.job.failed",
    version=1,
    payload=JobFailed,
    topic=MEDIA_EVENTS,
    key=_fact_key,
    summary="A job was given up.",
    retry=PATIENTLY,
)
MEDIA_JOB_CANCELLED = EventSpec(
    type="media.job.cancelled",
    version=1,
    payload=JobCancelled,
    topic=MEDIA_EVENTS,
    key=_fact_key,
    summary="A job was ended by its owner.",
    retry=PATIENTLY,
)


# -- signals -----------------------------------------------------------------------------------------------------------


class JobHint(Payload):
    """Something may have happened to a job: its provider called back, or it is to end."""

    job_id: str


JOB_HINT = SignalSpec(kind="job-hint", payload=JobHint, summary="Look at a job now, whoever works on it.")
