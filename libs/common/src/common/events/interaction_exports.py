"""Exports of interactions: jobs of telemetry, whose result is a file."""

from typing import Any, Literal

from common.events.backoff import NEVER, PATIENTLY
from common.events.interaction_queries import TELEMETRY_COMMANDS
from common.events.media import (
    Job,
    JobCancelRequested,
    JobGetRequested,
    JobList,
    JobListRequested,
    JobRequest,
    JobRequested,
    JobRetryRequested,
)
from common.events.spec import EventSpec, Payload, RequestSpec, query
from common.events.telemetry import TELEMETRY_QUERIES

EXPORT_KIND = "interaction-export"
# In the object store: `exports/<organisation>/<job>`.
EXPORT_FILES = "exports"
ExportFormat = Literal["jsonl", "csv", "parquet"]


class ExportInput(Payload):
    """Which interactions, and how they are written.

    `since` is inclusive, `until` is not (unix seconds, of when an interaction began). `session_id` and `user_id` are
    sealed.
    """

    format: ExportFormat = "jsonl"
    mode: Literal["prod", "dev"] | None = None
    since: float | None = None
    until: float | None = None
    session_id: str | None = None
    user_id: str | None = None
    model: str | None = None
    project_id: str | None = None


class ExportResult(Payload):
    """The file; `sha256` is lower-case hex, `url` the path of its bytes."""

    rows: int
    size: int
    sha256: str
    content_type: str
    name: str
    url: str


def _key(request: JobRequest) -> str:
    """Whatever is asked about an export comes behind its creation."""
    return f"{request.org_id}/{request.job_id}"


EXPORT_REQUESTED = EventSpec(
    type="telemetry.export.requested",
    version=1,
    payload=JobRequested,
    topic=TELEMETRY_COMMANDS,
    key=_key,
    summary="Write interactions to a file; how it goes is told by the facts of jobs.",
    retry=PATIENTLY,
)
EXPORT_CANCEL_REQUESTED = RequestSpec(
    type="telemetry.export.cancel.requested",
    version=1,
    payload=JobCancelRequested,
    reply=Job,
    topic=TELEMETRY_COMMANDS,
    key=_key,
    summary="End an export; answered with its job.",
    retry=PATIENTLY,
)
EXPORT_RETRY_REQUESTED = RequestSpec(
    type="telemetry.export.retry.requested",
    version=1,
    payload=JobRetryRequested,
    reply=Job,
    topic=TELEMETRY_COMMANDS,
    key=_key,
    summary="Begin an export anew; answered with its job.",
    retry=PATIENTLY,
)
EXPORT_GET_REQUESTED = RequestSpec(
    type="telemetry.export.get.requested",
    version=1,
    payload=JobGetRequested,
    reply=Job,
    topic=TELEMETRY_COMMANDS,
    key=_key,
    summary="Answer with the job of an export; on the topic of its creation, so that it is known once it was accepted.",
    retry=NEVER,
    park=False,
    expires=True,
    question=True,
)
EXPORT_LIST_REQUESTED = query(
    type="telemetry.export.list.requested",
    payload=JobListRequested,
    reply=JobList,
    topic=TELEMETRY_QUERIES,
    key=lambda query: query.org_id,
    summary="Answer with a page of exports.",
)
EXPORT_REQUESTS: tuple[EventSpec[Any], ...] = (
    EXPORT_REQUESTED,
    EXPORT_CANCEL_REQUESTED,
    EXPORT_RETRY_REQUESTED,
    EXPORT_GET_REQUESTED,
    EXPORT_LIST_REQUESTED,
)
