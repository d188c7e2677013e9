"""The routes of assets."""

from collections.abc import Sequence
from typing import Any

from common.events.assets import (
    ASSET_DELETE_REQUESTED,
    ASSET_GET_REQUESTED,
    ASSET_LIST_REQUESTED,
    ASSET_RECORD_REQUESTED,
)
from gateway.assets import asset_views, download, upload
from gateway.http.routing import Handler, Route
from gateway.ports import Scope, Work

ONE = "/v1/assets/{id}"
OF_A_DOWNLOAD = {
    "Range": "Parts of the file: `bytes=0-99`, several separated by commas. At most 16; more answer with all of it.",
    "If-Range": "The ETag of the file that the parts belong to; the whole file where it is another one.",
    "If-None-Match": "ETags that the caller has; 304 where the file is among them.",
}
SENT = ("etag", "accept-ranges", "content-disposition", "content-range")


def _route(method: str, path: str, handler: Handler, summary: str, **fields: Any) -> Route:
    common = {"scope": Scope.MEDIA, "work": Work.READ, "errors": (503, 504), "tags": ("assets",)}
    return Route(method, path, handler, summary, **{**common, **fields})


def _download(method: str, path: str, handler: Handler, summary: str, **fields: Any) -> Route:
    common = {
        "query": download.DownloadQuery,
        "headers": OF_A_DOWNLOAD,
        "content_type": "*/*",
        "sends": SENT,
        "also": (206, 304),
        "errors": (404, 416, 503, 504),
    }
    return _route(method, path, handler, summary, **{**common, **fields})


ROUTES: Sequence[Route] = [
    _route(
        "POST",
        "/v1/assets",
        upload.upload,
        "Upload a file",
        name="upload_asset",
        work=Work.UPLOAD,
        query=upload.UploadQuery,
        response=ASSET_RECORD_REQUESTED,
        status=201,
        idempotent=True,
        takes=("application/octet-stream", "multipart/form-data"),
        errors=(408, 413, 415, 503, 504),
        description="The body is the file, or a form (`multipart/form-data`) with the field `file`; `name` and "
        "`expires_in` may stand in the query or in the form. The type is told by the first bytes of the file: what its "
        "sender says is not believed.",
    ),
    _route(
        "GET",
        "/v1/assets",
        asset_views.list_assets,
        "List assets, newest first",
        query=asset_views.AssetListQuery,
        response=ASSET_LIST_REQUESTED,
    ),
    _download("GET", ONE, download.download, "Download an asset, or parts of it", name="download_asset"),
    _download("HEAD", ONE, download.download, "The headers of a download", name="head_asset", errors=(404, 503, 504)),
    _route(
        "DELETE",
        ONE,
        asset_views.delete_asset,
        "Delete an asset",
        work=Work.WRITE,
        response=ASSET_DELETE_REQUESTED,
        idempotent=True,
        errors=(404, 409, 503, 504),
    ),
    _route(
        "GET",
        f"{ONE}/info",
        asset_views.show_asset,
        "Describe an asset",
        name="get_asset",
        response=ASSET_GET_REQUESTED,
        errors=(404, 503, 504),
    ),
    _route(
        "POST",
        f"{ONE}/link",
        asset_views.link_asset,
        "Make a link that works without an API key",
        bodiless=True,
        request=asset_views.LinkBody,
        response=asset_views.AssetLink,
        errors=(404, 503, 504),
        description="The link works for this asset alone, until its time is over or the asset is gone.",
    ),
    _download(
        "GET",
        f"{ONE}/content",
        download.download_by_link,
        "Download by a link",
        name="download_linked_asset",
        scope=None,
        query=download.LinkQuery,
        errors=(400, 401, 404, 416, 429, 503, 504),
    ),
    _download(
        "HEAD",
        f"{ONE}/content",
        download.download_by_link,
        "The headers of a download by a link",
        name="head_linked_asset",
        scope=None,
        query=download.LinkQuery,
        errors=(400, 401, 404, 429, 503, 504),
    ),
]
