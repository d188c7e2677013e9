"""Batches of files for a vector store: begun, looked at, listed, ended."""

import re

from aiohttp import web

from common.events.documents import DOCUMENT_KIND
from common.events.file_batches import (
    BATCH_ID,
    FILE_BATCH_CANCEL_REQUESTED,
    FILE_BATCH_CREATE_REQUESTED,
    FILE_BATCH_FILES_REQUESTED,
    FILE_BATCH_GET_REQUESTED,
    FileBatchCancelRequested,
    FileBatchCreateRequested,
    FileBatchFilesRequested,
    FileBatchGetRequested,
)
from gateway.deps import DEPS
from gateway.documents.file_batch_bodies import FileBatchBody
from gateway.documents.file_views import asset_of
from gateway.documents.store_bodies import StoreFilesQuery
from gateway.documents.store_views import store_id_of
from gateway.http.body import read_json
from gateway.http.context import CALLER
from gateway.http.end_user import any_user
from gateway.http.errors import not_found
from gateway.http.validation import read_query, validate
from gateway.media.jobs import require_room

ID = re.compile(BATCH_ID)
# As many files as a batch may have, with some 200 bytes of attributes each.
MAX_BODY_BYTES = 512 * 1024


def _batch_id(request: web.Request) -> str:
    batch_id = request.match_info["batch_id"]
    if not ID.fullmatch(batch_id):
        raise not_found("There is no such batch in this vector store.", "batch_id", "file_batch_not_found")
    return batch_id


async def create_batch(request: web.Request) -> web.Response:
    """`POST /v1/vector_stores/{id}/file_batches`."""
    store_id = store_id_of(request)
    body = validate(FileBatchBody, await read_json(request, max_bytes=MAX_BODY_BYTES))
    caller = request[CALLER]
    await require_room(request, DOCUMENT_KIND)
    wanted = FileBatchCreateRequested(
        org_id=caller.org_id,
        key_id=caller.key_id,
        user_id=any_user(request) or "",
        id=store_id,
        files=body.batched(),
        attributes=body.shared(),
    )
    return await request.app[DEPS].request_reply.command(request, FILE_BATCH_CREATE_REQUESTED, wanted)


async def read_batch(request: web.Request) -> web.Response:
    """`GET /v1/vector_stores/{id}/file_batches/{batch_id}`."""
    org_id, batch_id = request[CALLER].org_id, _batch_id(request)
    wanted = FileBatchGetRequested(org_id=org_id, id=store_id_of(request), batch_id=batch_id)
    return await request.app[DEPS].request_reply.query(FILE_BATCH_GET_REQUESTED, wanted)


async def cancel_batch(request: web.Request) -> web.Response:
    """`POST /v1/vector_stores/{id}/file_batches/{batch_id}/cancel`; files that were taken in stay."""
    caller, batch_id = request[CALLER], _batch_id(request)
    given = {"org_id": caller.org_id, "key_id": caller.key_id, "id": store_id_of(request)}
    wanted = FileBatchCancelRequested(**given, batch_id=batch_id)
    return await request.app[DEPS].request_reply.command(request, FILE_BATCH_CANCEL_REQUESTED, wanted)


async def list_batch_files(request: web.Request) -> web.Response:
    """`GET /v1/vector_stores/{id}/file_batches/{batch_id}/files`."""
    query, batch_id = read_query(request, StoreFilesQuery), _batch_id(request)
    wanted = FileBatchFilesRequested(
        org_id=request[CALLER].org_id,
        id=store_id_of(request),
        batch_id=batch_id,
        status=query.filter,
        order=query.order,
        after=None if query.after is None else asset_of(query.after),
        before=None if query.before is None else asset_of(query.before),
        limit=query.limit,
    )
    return await request.app[DEPS].request_reply.query(FILE_BATCH_FILES_REQUESTED, wanted)
