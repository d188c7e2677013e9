"""The routes of exports."""

from collections.abc import Sequence
from typing import Any

from common.events.interaction_exports import (
    EXPORT_CANCEL_REQUESTED,
    EXPORT_GET_REQUESTED,
    EXPORT_LIST_REQUESTED,
    EXPORT_RETRY_REQUESTED,
)
from common.events.media import Job
from gateway.assets.asset_views import AssetLink, LinkBody
from gateway.assets.download import DownloadQuery, LinkQuery
from gateway.assets.routes import OF_A_DOWNLOAD, SENT
from gateway.http.routing import Handler, Route
from gateway.media.job_stream import LAST_EVENT_HEADER
from gateway.media.jobs import JobsQuery
from gateway.ports import Scope, Work
from gateway.telemetry import export_views
from gateway.telemetry.export_views import PATH, ExportBody

ONE = f"{PATH}/{{id}}"
DOWNLOAD: dict[str, Any] = {
    "headers": OF_A_DOWNLOAD,
    "content_type": "*/*",
    "sends": SENT,
    "also": (206, 304),
    "errors": (404, 416, 503, 504),
}


def _route(method: str, path: str, handler: Handler, summary: str, **fields: Any) -> Route:
    common = {"scope": Scope.ADMIN, "work": Work.READ, "errors": (404, 503, 504), "tags": ("telemetry",)}
    return Route(method, path, handler, summary, **{**common, **fields})


EXPORT_ROUTES: Sequence[Route] = [
    _route(
        "POST",
        PATH,
        export_views.create_export,
        "Export interactions to a file",
        work=Work.WRITE,
        request=ExportBody,
        response=Job,
        status=202,
        idempotent=True,
        errors=(409, 429, 503, 504),
        sends=("location",),
        description="Answered with a job once the log has it. Its result names the file, which is kept for 7 days.",
    ),
    _route("GET", PATH, export_views.list_exports, "List exports", query=JobsQuery, response=EXPORT_LIST_REQUESTED),
    _route("GET", ONE, export_views.read_export, "Read an export", name="get_export", response=EXPORT_GET_REQUESTED),
    _route(
        "GET",
        f"{ONE}/events",
        export_views.watch_export,
        "Watch an export until it ends",
        streaming=True,
        headers={LAST_EVENT_HEADER: "The id of the last event received; the stream goes on behind it."},
    ),
    _route(
        "POST",
        f"{ONE}/cancel",
        export_views.cancel_export,
        "End an export",
        work=Work.WRITE,
        idempotent=True,
        response=EXPORT_CANCEL_REQUESTED,
        also=(202,),
        description="200 where it has ended, 202 where it is about to. One that has ended stays as it is.",
    ),
    _route(
        "POST",
        f"{ONE}/retry",
        export_views.retry_export,
        "Begin an export anew that failed or was cancelled",
        work=Work.WRITE,
        idempotent=True,
        response=EXPORT_RETRY_REQUESTED,
        status=202,
        errors=(404, 409, 503, 504),
    ),
    _route(
        "GET",
        f"{ONE}/file",
        export_views.download_export,
        "Download the file of an export, or parts of it",
        query=DownloadQuery,
        **DOWNLOAD,
    ),
    _route(
        "POST",
        f"{ONE}/link",
        export_views.link_export,
        "Make a link to the file that works without an API key",
        bodiless=True,
        request=LinkBody,
        response=AssetLink,
        description="The link works for this file alone, until its time is over or the file is gone.",
    ),
    _route(
        "GET",
        f"{ONE}/content",
        export_views.download_export_by_link,
        "Download the file of an export by a link",
        name="download_linked_export",
        scope=None,
        query=LinkQuery,
        **{**DOWNLOAD, "errors": (400, 401, 404, 416, 429, 503, 504)},
    ),
]
