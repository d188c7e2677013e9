"""Files as OpenAI has them: assets that somebody uploaded."""

import re
from typing import Annotated, Literal

import orjson
from aiohttp import web
from pydantic import BaseModel, Field

from common.events.assets import (
    ASSET_DELETE_REQUESTED,
    ASSET_GET_REQUESTED,
    ASSET_LIST_REQUESTED,
    ASSET_RECORD_REQUESTED,
    AssetDeleteRequested,
    AssetGetRequested,
    AssetInfo,
    AssetListRequested,
    new_asset_id,
)
from gateway.assets.upload import received
from gateway.deps import DEPS
from gateway.http.context import CALLER
from gateway.http.errors import not_found
from gateway.http.fields import Query
from gateway.http.request_reply import COMMAND_SECONDS
from gateway.http.validation import read_query

FILE_ID = r"file-[0-9a-f]{32}"
ID = re.compile(FILE_ID)
UPLOADS = "upload"
FORM = frozenset({"purpose"})
PURPOSE = "assistants"


class FileObject(BaseModel):
    """A file. Times are unix seconds."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None = None
    filename: str
    purpose: Literal["assistants"] = "assistants"
    status: Literal["processed"] = "processed"


class FileList(BaseModel):
    """A page of files."""

    object: Literal["list"] = "list"
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(BaseModel):
    """It is gone."""

    id: str
    object: Literal["file"] = "file"
    deleted: bool = True


class FilesQuery(Query):
    """A page behind the file `after`, by age: `desc` is newest first. There are files of one purpose alone."""

    after: Annotated[str, Field(pattern=rf"^{FILE_ID}$")] | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 100
    order: Literal["asc", "desc"] = "desc"
    purpose: Annotated[str, Field(max_length=64)] | None = None


def asset_of(file_id: str) -> str:
    """The asset that a file is; raises Refused 404 for what is no id of a file."""
    if not ID.fullmatch(file_id):
        raise not_found("There is no such file.", "file_id", "file_not_found")
    return file_id.replace("file-", "ast_", 1)


def shown(body: BaseModel) -> web.Response:
    """A body as OpenAI has it."""
    return web.Response(body=orjson.dumps(body.model_dump(mode="json")), content_type="application/json")


async def upload_file(request: web.Request) -> web.Response:
    """`POST /v1/files`: a form with `file` and `purpose`."""
    asset_id = new_asset_id()
    async with received(request, asset_id, FORM) as file:
        wanted = file.as_asset(request[CALLER], asset_id, file.upload.name, None)
        ask = request.app[DEPS].request_reply.ask
        return shown(_file((await ask(ASSET_RECORD_REQUESTED, wanted, timeout=COMMAND_SECONDS)).body))


async def read_file(request: web.Request) -> web.Response:
    """`GET /v1/files/{id}`."""
    wanted = AssetGetRequested(org_id=request[CALLER].org_id, id=asset_of(request.match_info["id"]))
    return shown(_file((await request.app[DEPS].request_reply.ask(ASSET_GET_REQUESTED, wanted)).body))


async def list_files(request: web.Request) -> web.Response:
    """`GET /v1/files`."""
    query = read_query(request, FilesQuery)
    if query.purpose not in (None, PURPOSE):
        return shown(FileList(data=[], first_id=None, last_id=None, has_more=False))
    after = None if query.after is None else asset_of(query.after)
    oldest_first = query.order == "asc"
    wanted = AssetListRequested(
        org_id=request[CALLER].org_id, limit=query.limit, after=after, kind=UPLOADS, oldest_first=oldest_first
    )
    found = (await request.app[DEPS].request_reply.ask(ASSET_LIST_REQUESTED, wanted)).body
    files = [_file(asset) for asset in found.data]
    first, last = (files[0].id, files[-1].id) if files else (None, None)
    return shown(FileList(data=files, first_id=first, last_id=last, has_more=found.has_more))


async def delete_file(request: web.Request) -> web.Response:
    """`DELETE /v1/files/{id}`; what was taken in of it stays found."""
    caller, file_id = request[CALLER], request.match_info["id"]
    wanted = AssetDeleteRequested(org_id=caller.org_id, key_id=caller.key_id, id=asset_of(file_id))
    await request.app[DEPS].request_reply.ask(ASSET_DELETE_REQUESTED, wanted, timeout=COMMAND_SECONDS)
    return shown(FileDeleted(id=file_id))


def _file(asset: AssetInfo) -> FileObject:
    return FileObject(
        id=asset.id.replace("ast_", "file-", 1),
        bytes=asset.size,
        created_at=int(asset.created_at),
        expires_at=None if asset.expires_at is None else int(asset.expires_at),
        filename=asset.name,
    )
