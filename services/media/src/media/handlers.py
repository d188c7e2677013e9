"""What media reacts to."""

from typing import Any

from common.events.assets import (
    ASSET_DELETE_REQUESTED,
    ASSET_GET_REQUESTED,
    ASSET_LIST_REQUESTED,
    ASSET_RECORD_REQUESTED,
)
from common.events.envelope import Event
from common.events.media import (
    MEDIA_JOB_CANCEL_REQUESTED,
    MEDIA_JOB_GET_REQUESTED,
    MEDIA_JOB_LIST_REQUESTED,
    MEDIA_JOB_REQUESTED,
    MEDIA_JOB_RETRY_REQUESTED,
    Job,
    JobCancelRequested,
    JobGetRequested,
    JobList,
    JobListRequested,
    JobRequested,
    JobRetryRequested,
)
from common.events.media_topics import MEDIA_COMMANDS
from common.events.reply import Reply
from common.failures import Refused
from common.kernel.answers import Answers
from common.kernel.handlers import Handlers, answer, on
from common.storage.unit_of_work import Answer
from media.assets import asset_requests
from media.deps import Deps
from media.metrics import MEDIA_REFUSALS


async def on_job_requested(event: Event[JobRequested], deps: Deps) -> None:
    await deps.desk.accept(event.payload)


async def on_job_get(event: Event[JobGetRequested], deps: Deps) -> Reply[Job]:
    return await deps.desk.get(event.payload)


async def on_job_list(event: Event[JobListRequested], deps: Deps) -> Reply[JobList]:
    return await deps.desk.page(event.payload)


async def on_job_cancel(event: Event[JobCancelRequested], deps: Deps) -> Reply[Job]:
    return await deps.desk.cancel(event.payload)


async def on_job_retry(event: Event[JobRetryRequested], deps: Deps) -> Reply[Job]:
    return await deps.desk.retry(event)


async def _done(deps: Deps, event: Event[Any]) -> Answer | None:
    """Commands about jobs say the same again when they are repeated."""
    return None


ANSWERS: Answers[Deps] = Answers(
    refusals=MEDIA_REFUSALS,
    unavailable=Refused(
        503,
        "Media cannot be reached at the moment.",
        "database_unavailable",
        type="server_error",
        headers={"retry-after": "1"},
    ),
    commands=MEDIA_COMMANDS,
    done=_done,
)

HANDLERS: Handlers[Deps] = ANSWERS.of(
    (
        on(MEDIA_JOB_REQUESTED, on_job_requested),
        answer(MEDIA_JOB_GET_REQUESTED, on_job_get),
        answer(MEDIA_JOB_LIST_REQUESTED, on_job_list),
        answer(MEDIA_JOB_CANCEL_REQUESTED, on_job_cancel),
        answer(MEDIA_JOB_RETRY_REQUESTED, on_job_retry),
        answer(ASSET_RECORD_REQUESTED, asset_requests.record),
        answer(ASSET_DELETE_REQUESTED, asset_requests.delete),
        answer(ASSET_GET_REQUESTED, asset_requests.get),
        answer(ASSET_LIST_REQUESTED, asset_requests.list_assets),
    )
)
