"""Assets as data: one, a page of them, a link to one, and the end of one."""

import re
import time
from typing import Annotated

import orjson
from aiohttp import web
from pydantic import BaseModel, Field

from common.events.assets import (
    ASSET_DELETE_REQUESTED,
    ASSET_GET_REQUESTED,
    ASSET_ID,
    ASSET_LIST_REQUESTED,
    AssetDeleteRequested,
    AssetGetRequested,
    AssetListRequested,
)
from gateway.assets.signed_links import Link
from gateway.deps import DEPS
from gateway.http.body import read_json
from gateway.http.context import CALLER
from gateway.http.errors import not_found
from gateway.http.fields import Query, Strict, Whole
from gateway.http.validation import read_query, validate

ID = re.compile(ASSET_ID)
MAX_LINK_SECONDS = 7 * 86400
MAX_BODY_BYTES = 4096


class AssetListQuery(Query):
    """A page, newest first, behind the asset `after`; those of one job, or of one kind."""

    limit: Annotated[int, Field(ge=1, le=200)] = 50
    after: Annotated[str, Field(pattern=rf"^{ASSET_ID}$")] | None = None
    job_id: Annotated[str, Field(pattern=r"^job_[0-9a-f]{32}$")] | None = None
    kind: Annotated[str, Field(pattern=r"^[a-z][a-z-]{0,31}$")] | None = None


class LinkBody(Strict):
    """How long the link is to work, in seconds, and whether a browser is to save the file."""

    expires_in: Annotated[int, Field(ge=1, le=MAX_LINK_SECONDS), Whole] = 3600
    download: bool = False


class AssetLink(BaseModel):
    """A link that works without an API key; `url` is a path on this server, `expires_at` unix seconds."""

    id: str
    url: str
    expires_at: int


def asset_id_of(request: web.Request) -> str:
    """The id in the path; raises Refused 404 for what is none, like for one that is not there."""
    asset_id = request.match_info["id"]
    if not ID.fullmatch(asset_id):
        raise not_found("There is no such asset.", "id", "asset_not_found")
    return asset_id


async def show_asset(request: web.Request) -> web.Response:
    """`GET /v1/assets/{id}/info`."""
    wanted = AssetGetRequested(org_id=request[CALLER].org_id, id=asset_id_of(request))
    return await request.app[DEPS].request_reply.query(ASSET_GET_REQUESTED, wanted)


async def list_assets(request: web.Request) -> web.Response:
    """`GET /v1/assets`: the assets of the caller's organisation."""
    query = read_query(request, AssetListQuery)
    wanted = AssetListRequested(org_id=request[CALLER].org_id, **query.model_dump())
    return await request.app[DEPS].request_reply.query(ASSET_LIST_REQUESTED, wanted)


async def delete_asset(request: web.Request) -> web.Response:
    """`DELETE /v1/assets/{id}`: row and bytes; links to it stop working."""
    caller = request[CALLER]
    wanted = AssetDeleteRequested(org_id=caller.org_id, key_id=caller.key_id, id=asset_id_of(request))
    return await request.app[DEPS].request_reply.command(request, ASSET_DELETE_REQUESTED, wanted)


async def link_asset(request: web.Request) -> web.Response:
    """`POST /v1/assets/{id}/link`: a link for whoever has no API key."""
    body = LinkBody()
    if request.can_read_body:
        body = validate(LinkBody, await read_json(request, max_bytes=MAX_BODY_BYTES))
    deps, org_id = request.app[DEPS], request[CALLER].org_id
    asset_id = asset_id_of(request)
    await deps.request_reply.ask(ASSET_GET_REQUESTED, AssetGetRequested(org_id=org_id, id=asset_id))
    expires = int(time.time()) + body.expires_in
    url = deps.links.path(Link(org_id, asset_id, expires, body.download))
    link = AssetLink(id=asset_id, url=url, expires_at=expires)
    return web.Response(body=orjson.dumps(link.model_dump()), content_type="application/json")
