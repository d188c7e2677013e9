"""Jobs: accepted once the log has them, read, listed, ended, begun anew."""

import re
import time
import uuid
from typing import Annotated, Any

import orjson
from aiohttp import web
from pydantic import BaseModel, Field

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
    JobListRequested,
    JobRequested,
    JobRetryRequested,
    JobState,
)
from common.events.reply import content
from common.events.spec import EventSpec
from common.events.webhook_endpoints import ENDPOINT_ID
from gateway.deps import DEPS
from gateway.http.context import CALLER
from gateway.http.end_user import any_user
from gateway.http.errors import bad_request, not_found, rate_limited
from gateway.http.fields import Query
from gateway.http.idempotency import IDEMPOTENCY_HEADER
from gateway.http.validation import read_query

WEBHOOK_HEADER = "x-sonant-webhook"
JOB_ID = re.compile(r"job_[0-9a-f]{32}")
# How long a gateway that died in the middle keeps a key: publishing takes at most a few seconds.
ACCEPT_SECONDS = 10.0
# The same key with another body: this route says so with a conflict.
REUSED = 409
QUEUE_RETRY_SECONDS = 10.0
# Names the ids of jobs that idempotency keys stand for.
JOBS = uuid.UUID("8e3f6b8d-8d55-4f0b-9a0e-3f1b8c2d7a61")


class JobsQuery(Query):
    """Query of `GET /v1/jobs`; times are unix seconds, `after` is the id of the last job of the page before."""

    kind: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")] | None = None
    state: JobState | None = None
    created_since: Annotated[float, Field(ge=0, le=1e11)] | None = None
    created_until: Annotated[float, Field(ge=0, le=1e11)] | None = None
    after: Annotated[str, Field(pattern=JOB_ID.pattern)] | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20


async def accept(
    request: web.Request,
    kind: str,
    wanted: BaseModel,
    spec: EventSpec[JobRequested] = MEDIA_JOB_REQUESTED,
    at: str = "/v1/jobs",
) -> web.Response:
    """202 with the job, as soon as the log has it; `wanted` is the input of its kind.

    `spec` asks the service that does it, and the job is found `at` a path.

    Raises Refused: 409 for an idempotency key that is in use or was used for another body, 429 for a queue without
    room or a quota that is spent; and BusUnavailableError.
    """
    deps, caller = request.app[DEPS], request[CALLER]
    given = wanted.model_dump(mode="json", exclude_none=True)
    webhook = named_webhook(request)
    fingerprint = orjson.dumps([kind, given, webhook] if webhook else [kind, given], option=orjson.OPT_SORT_KEYS)
    async with deps.idempotency.guard(request, caller, fingerprint, lease=ACCEPT_SECONDS, reused=REUSED) as slot:
        if slot.replay is not None:
            return slot.replay
        await require_room(request, kind)
        await deps.quota.take(caller.org_id, len(fingerprint))
        requested = _requested(request, kind, given, _job_id(request, fingerprint), webhook)
        await deps.log.publish(Event(spec, requested, id=requested.job_id).record())
        response = _accepted(requested, at)
        await slot.store(response)
        return response


async def publish_job(request: web.Request, kind: str, wanted: BaseModel) -> None:
    """A job that another answer tells of; raises as `accept`, which it is without an idempotency key."""
    deps, caller = request.app[DEPS], request[CALLER]
    given = wanted.model_dump(mode="json", exclude_none=True)
    await require_room(request, kind)
    await deps.quota.take(caller.org_id, len(orjson.dumps(given)))
    requested = _requested(request, kind, given, f"job_{uuid.uuid4().hex}", None)
    await deps.log.publish(Event(MEDIA_JOB_REQUESTED, requested, id=requested.job_id).record())


async def require_room(request: web.Request, kind: str) -> None:
    """Raise Refused 429 where too many jobs of a kind wait already."""
    if await request.app[DEPS].jobs.full(kind, request[CALLER].org_id):
        message = f"Too many jobs of the kind {kind} wait already."
        raise rate_limited(message, code="queue_full", retry=QUEUE_RETRY_SECONDS)


def _requested(
    request: web.Request, kind: str, given: dict[str, Any], job_id: str, webhook: str | None
) -> JobRequested:
    caller = request[CALLER]
    return JobRequested(
        org_id=caller.org_id,
        key_id=caller.key_id,
        user_id=any_user(request) or "",
        job_id=job_id,
        kind=kind,
        requested_at=time.time(),
        webhook=webhook,
        input=given,
    )


def named_webhook(request: web.Request) -> str | None:
    """The endpoint that is to get the end of the job. Raises Refused (400) for what is no id of one."""
    given = request.headers.get(WEBHOOK_HEADER)
    if given is not None and not re.fullmatch(ENDPOINT_ID, given):
        raise bad_request(f"Invalid '{WEBHOOK_HEADER}': the id of a webhook endpoint.", WEBHOOK_HEADER, "invalid_value")
    return given


def _job_id(request: web.Request, fingerprint: bytes) -> str:
    """A new id; under one idempotency key always the same, so that a repetition is the same job whatever was lost."""
    key = request.headers.get(IDEMPOTENCY_HEADER)
    if key is None:
        return f"job_{uuid.uuid4().hex}"
    caller = request[CALLER]
    name = orjson.dumps([caller.org_id, caller.key_id, request.path, key]).decode() + fingerprint.decode()
    return f"job_{uuid.uuid5(JOBS, name).hex}"


def _accepted(requested: JobRequested, at: str) -> web.Response:
    job = Job(
        id=requested.job_id,
        object="job",
        kind=requested.kind,
        state="queued",
        percent=0.0,
        round=1,
        created_at=requested.requested_at,
        cost_usd=0.0,
        input=requested.input,
    )
    headers = {"location": f"{at}/{job.id}"}
    return web.Response(status=202, body=orjson.dumps(content(job)), content_type="application/json", headers=headers)


def about(request: web.Request) -> dict[str, str]:
    """Who asks about which job. Raises Refused 404 for what is no id of a job."""
    job_id = request.match_info["id"]
    if not JOB_ID.fullmatch(job_id):
        raise not_found("There is no such job.", "id", "job_not_found")
    caller = request[CALLER]
    return {"org_id": caller.org_id, "key_id": caller.key_id, "user_id": any_user(request) or "", "job_id": job_id}


async def read_job(request: web.Request) -> web.Response:
    """`GET /v1/jobs/{id}`."""
    wanted = JobGetRequested(**about(request))
    return await request.app[DEPS].request_reply.query(MEDIA_JOB_GET_REQUESTED, wanted)


async def list_jobs(request: web.Request) -> web.Response:
    """`GET /v1/jobs`: newest first."""
    query = read_query(request, JobsQuery)
    wanted = JobListRequested(org_id=request[CALLER].org_id, **query.model_dump())
    return await request.app[DEPS].request_reply.query(MEDIA_JOB_LIST_REQUESTED, wanted)


async def cancel_job(request: web.Request) -> web.Response:
    """`POST /v1/jobs/{id}/cancel`."""
    wanted = JobCancelRequested(**about(request))
    return await request.app[DEPS].request_reply.command(request, MEDIA_JOB_CANCEL_REQUESTED, wanted)


async def retry_job(request: web.Request) -> web.Response:
    """`POST /v1/jobs/{id}/retry`."""
    wanted = JobRetryRequested(**about(request))
    return await request.app[DEPS].request_reply.command(request, MEDIA_JOB_RETRY_REQUESTED, wanted)
