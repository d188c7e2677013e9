"""A job as server-sent events: its milestones, which are kept, and between them how many percent are done."""

import re
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import HttpVersion11, web
from pydantic import BaseModel

from common.bus.port import BusUnavailableError
from common.events.media import MEDIA_JOB_GET_REQUESTED, Job, JobGetRequested, JobState
from common.events.reply import content
from common.events.spec import RequestSpec
from common.failures import Refused
from common.jobs.glance import Glance
from gateway.deps import DEPS
from gateway.http.errors import bad_request
from gateway.media.job_watch import Watched
from gateway.media.jobs import about

LAST_EVENT_HEADER = "Last-Event-ID"
# Number of the milestone, and tenths of a percent reached behind it.
EVENT_ID = re.compile(r"([0-9]{1,9})-([0-9]{1,4})")
ENDED = frozenset({"completed", "failed", "cancelled"})
KEEP_ALIVE = b": keep-alive\n\n"
# Where the live store says nothing, the job itself is asked for.
ASK_SECONDS = 5.0
SSE_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}


class JobEvent(BaseModel):
    """The data of an event of a job: a milestone with its `number` and time, or between them how far it is.

    `percent` runs from 0 to 100; the last event carries the whole job.
    """

    id: str
    percent: float
    step: str | None = None
    state: JobState | None = None
    number: int | None = None
    event: str | None = None
    at: float | None = None
    job: Job | None = None


@dataclass(slots=True)
class _Shown:
    """What the client has seen: the newest milestone, and tenths of a percent."""

    milestone: int
    permille: int

    @property
    def id(self) -> str:
        return f"{self.milestone}-{self.permille}"


async def watch_job(request: web.Request) -> web.StreamResponse:
    """`GET /v1/jobs/{id}/events`: what follows `Last-Event-ID`, up to the end of the job."""
    return await watch(request, MEDIA_JOB_GET_REQUESTED)


async def watch(request: web.Request, spec: RequestSpec[JobGetRequested, Job]) -> web.StreamResponse:
    """The events of a job that is asked for by `spec`."""
    shown = _last_event(request)
    wanted = _Wanted(spec, JobGetRequested(**about(request)))
    job = await _job(request, wanted)
    response = web.StreamResponse(headers=SSE_HEADERS)
    if request.version >= HttpVersion11:
        response.enable_chunked_encoding()
    with request.app[DEPS].jobs.watching(wanted.asked.job_id) as watched:
        await response.prepare(request)
        await response.write(_news(job, shown))
        while job.state not in ENDED:
            job = await _follow(request, response, wanted, job, _Following(watched, shown))
    await response.write_eof()
    return response


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which job, and how it is asked for."""

    spec: RequestSpec[JobGetRequested, Job]
    asked: JobGetRequested


@dataclass(frozen=True, slots=True)
class _Following:
    watched: Watched
    shown: _Shown


async def _follow(
    request: web.Request, response: web.StreamResponse, wanted: _Wanted, job: Job, following: _Following
) -> Job:
    """Write what is new once there is something; returns the job as it is known now."""
    shown = following.shown
    glance = await following.watched.next(ASK_SECONDS)
    if glance is not None and glance.milestone <= shown.milestone and glance.state not in ENDED:
        if (event := _progress(wanted.asked.job_id, glance, shown)) is not None:
            await response.write(event)
        return job
    if glance is None:
        # A key that was revoked shows nothing more.
        await request.app[DEPS].keys.identify(request)
        await response.write(KEEP_ALIVE)
    try:
        job = await _job(request, wanted)
    except BusUnavailableError:
        return job
    except Refused as refused:
        if refused.status >= 500:
            return job
        raise
    await response.write(_news(job, shown))
    return job


async def _job(request: web.Request, wanted: _Wanted) -> Job:
    return (await request.app[DEPS].request_reply.ask(wanted.spec, wanted.asked)).body


def _last_event(request: web.Request) -> _Shown:
    given = request.headers.get(LAST_EVENT_HEADER)
    if given is None:
        return _Shown(0, 0)
    found = EVENT_ID.fullmatch(given.strip())
    if found is None:
        raise bad_request(f"Invalid '{LAST_EVENT_HEADER}': the id of an event of this stream.", LAST_EVENT_HEADER)
    return _Shown(int(found[1]), int(found[2]))


def _news(job: Job, shown: _Shown) -> bytes:
    """The milestones of a job that were not shown, and how far it is behind the newest."""
    events = []
    for milestone in job.history:
        if milestone.number <= shown.milestone:
            continue
        shown.milestone, shown.permille = milestone.number, round(milestone.percent * 10)
        body = {"id": job.id, **content(milestone)}
        if milestone.event in ENDED:
            body["job"] = content(job)
        events.append(_event(milestone.event, shown, body))
    if job.state not in ENDED:
        at = Glance(shown.milestone, job.state, job.step, job.percent)
        events += [event for event in (_progress(job.id, at, shown),) if event is not None]
    return b"".join(events)


def _progress(job_id: str, glance: Glance, shown: _Shown) -> bytes | None:
    permille = round(glance.percent * 10)
    if permille <= shown.permille:
        return None
    shown.permille = permille
    body = {"id": job_id, "state": glance.state, "step": glance.step, "percent": glance.percent}
    return _event("progress", shown, body)


def _event(name: str, shown: _Shown, body: dict[str, Any]) -> bytes:
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (shown.id.encode(), name.encode(), orjson.dumps(body))
