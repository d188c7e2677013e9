"""Exports of interactions: jobs whose result is a file, for whoever manages an organisation."""

import time
from typing import Annotated, Literal

import orjson
from aiohttp import web
from pydantic import Field

from common.events.assets import AssetInfo
from common.events.interaction_exports import (
    EXPORT_CANCEL_REQUESTED,
    EXPORT_FILES,
    EXPORT_GET_REQUESTED,
    EXPORT_KIND,
    EXPORT_LIST_REQUESTED,
    EXPORT_REQUESTED,
    EXPORT_RETRY_REQUESTED,
    ExportInput,
    ExportResult,
)
from common.events.interaction_items import Moment
from common.events.media import Job, JobCancelRequested, JobGetRequested, JobListRequested, JobRetryRequested
from common.failures import Refused
from common.storage.objects import object_key
from gateway.assets.asset_views import AssetLink, LinkBody
from gateway.assets.download import DownloadQuery, LinkQuery, send_file
from gateway.assets.signed_links import Link
from gateway.deps import DEPS
from gateway.http.body import read_json
from gateway.http.context import CALLER
from gateway.http.errors import bad_request, not_found
from gateway.http.fields import Strict
from gateway.http.validation import read_query, validate
from gateway.media.job_stream import watch
from gateway.media.jobs import JOB_ID, JobsQuery, about, accept

PATH = "/v2/exports"
MAX_BODY_BYTES = 16 * 1024
# In the year 9999 the calendar ends.
MAX_SECONDS = 253_402_300_799.0

Name = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00]+$")]
Time = Annotated[Moment, Field(ge=0, le=MAX_SECONDS)]


class ExportBody(Strict):
    """Which interactions, and how they are written. Times are ISO 8601 with a zone, or unix seconds.

    `since` is inclusive, `until` is not: of when an interaction began.
    """

    format: Literal["jsonl", "csv", "parquet"] = "jsonl"
    mode: Literal["prod", "dev"] | None = None
    since: Time | None = None
    until: Time | None = None
    session_id: Name | None = None
    user_id: Name | None = None
    model: Name | None = None
    project_id: Name | None = None


async def create_export(request: web.Request) -> web.Response:
    """`POST /v2/exports`: 202 with the job."""
    body = validate(ExportBody, await read_json(request, max_bytes=MAX_BODY_BYTES))
    if body.since is not None and body.until is not None and body.since >= body.until:
        raise bad_request("'since' must be earlier than 'until'.", "since", "invalid_value")
    deps, org_id = request.app[DEPS], request[CALLER].org_id

    def sealed(name: str | None) -> str | None:
        # Names may tell who somebody is: the log and the table of jobs hold them sealed.
        return None if name is None else deps.secrets.seal_name(name, org_id)

    fields = body.model_dump(exclude={"session_id", "user_id"})
    wanted = ExportInput(**fields, session_id=sealed(body.session_id), user_id=sealed(body.user_id))
    return await accept(request, EXPORT_KIND, wanted, EXPORT_REQUESTED, PATH)


async def list_exports(request: web.Request) -> web.Response:
    """`GET /v2/exports`: newest first."""
    query = read_query(request, JobsQuery)
    wanted = JobListRequested(org_id=request[CALLER].org_id, **query.model_dump())
    return await request.app[DEPS].request_reply.query(EXPORT_LIST_REQUESTED, wanted)


async def read_export(request: web.Request) -> web.Response:
    """`GET /v2/exports/{id}`."""
    wanted = JobGetRequested(**about(request))
    return await request.app[DEPS].request_reply.query(EXPORT_GET_REQUESTED, wanted)


async def watch_export(request: web.Request) -> web.StreamResponse:
    """`GET /v2/exports/{id}/events`."""
    return await watch(request, EXPORT_GET_REQUESTED)


async def cancel_export(request: web.Request) -> web.Response:
    """`POST /v2/exports/{id}/cancel`."""
    wanted = JobCancelRequested(**about(request))
    return await request.app[DEPS].request_reply.command(request, EXPORT_CANCEL_REQUESTED, wanted)


async def retry_export(request: web.Request) -> web.Response:
    """`POST /v2/exports/{id}/retry`."""
    wanted = JobRetryRequested(**about(request))
    return await request.app[DEPS].request_reply.command(request, EXPORT_RETRY_REQUESTED, wanted)


async def download_export(request: web.Request) -> web.StreamResponse:
    """`GET /v2/exports/{id}/file`: the file, or parts of it."""
    read_query(request, DownloadQuery)
    asked = JobGetRequested(**about(request))
    return await _send(request, asked)


async def link_export(request: web.Request) -> web.Response:
    """`POST /v2/exports/{id}/link`: a link for whoever has no API key."""
    body = LinkBody()
    if request.can_read_body:
        body = validate(LinkBody, await read_json(request, max_bytes=MAX_BODY_BYTES))
    asked = JobGetRequested(**about(request))
    await _file(request, asked)
    expires = int(time.time()) + body.expires_in
    url = request.app[DEPS].links.path(Link(asked.org_id, asked.job_id, expires, body.download), PATH)
    link = AssetLink(id=asked.job_id, url=url, expires_at=expires)
    return web.Response(body=orjson.dumps(link.model_dump()), content_type="application/json")


async def download_export_by_link(request: web.Request) -> web.StreamResponse:
    """`GET /v2/exports/{id}/content`: the file, for whoever has a link to it that we made."""
    query = read_query(request, LinkQuery)
    job_id = request.match_info["id"]
    if not JOB_ID.fullmatch(job_id):
        raise _no_file()
    link = Link(query.organization, job_id, query.expires, query.download)
    request.app[DEPS].links.check(link, query.signature, time.time())
    return await _send(request, JobGetRequested(org_id=query.organization, key_id="", job_id=job_id))


async def _send(request: web.Request, asked: JobGetRequested) -> web.StreamResponse:
    file = await _file(request, asked)
    key = object_key(EXPORT_FILES, asked.org_id, asked.job_id)
    return await send_file(request, key, file, save=True)


async def _file(request: web.Request, asked: JobGetRequested) -> AssetInfo:
    """What the download is. Raises Refused 404 for an export that has none, or none yet."""
    job: Job = (await request.app[DEPS].request_reply.ask(EXPORT_GET_REQUESTED, asked)).body
    if job.state != "completed" or job.result is None:
        raise _no_file()
    result = ExportResult(**job.result)
    return AssetInfo(
        id=job.id,
        object="asset",
        content_type=result.content_type,
        size=result.size,
        sha256=result.sha256,
        created_at=job.finished_at or job.created_at,
        expires_at=job.expires_at,
        name=result.name,
        kind=EXPORT_KIND,
        job_id=job.id,
        url=result.url,
    )


def _no_file() -> Refused:
    return not_found("This export has no file: it is not done, or there is no such export.", "id", "export_not_found")
