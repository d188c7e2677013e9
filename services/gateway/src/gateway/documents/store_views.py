"""Vector stores as OpenAI has them: collections of documents, and search in one of them."""

import asyncio
import re
import time
import uuid
from typing import Any

from aiohttp import web

from common.events.assets import ASSET_GET_REQUESTED, AssetGetRequested
from common.events.documents import (
    DOCUMENT_KIND,
    DocumentInput,
    document_id,
)
from common.events.resource_terms import DEFAULT_PROJECT
from common.events.search import SEARCH_REQUESTED, Passage, SearchRequested
from common.events.vector_stores import (
    STORE_DELETE_REQUESTED,
    STORE_FILE_DELETE_REQUESTED,
    STORE_FILE_GET_REQUESTED,
    STORE_FILE_LIST_REQUESTED,
    STORE_GET_REQUESTED,
    STORE_ID,
    STORE_LIST_REQUESTED,
    STORE_PUT_REQUESTED,
    StoreDeleteRequested,
    StoreFile,
    StoreFileDeleted,
    StoreFileDeleteRequested,
    StoreFileGetRequested,
    StoreFileListRequested,
    StoreGetRequested,
    StoreListRequested,
    StorePutRequested,
)
from common.failures import Refused
from gateway.deps import DEPS
from gateway.documents.file_views import asset_of, shown
from gateway.documents.search_views import SEARCH_SECONDS
from gateway.documents.store_bodies import (
    FoundPiece,
    FoundPieces,
    FoundText,
    StoreBody,
    StoreEditBody,
    StoreFileBody,
    StoreFilesQuery,
    StoreSearchBody,
    StoresQuery,
)
from gateway.http.body import read_json
from gateway.http.context import CALLER
from gateway.http.errors import not_found
from gateway.http.request_reply import COMMAND_SECONDS
from gateway.http.validation import read_query, validate
from gateway.media.jobs import publish_job

ID = re.compile(STORE_ID)
MAX_BODY_BYTES = 256 * 1024


def store_id_of(request: web.Request) -> str:
    """The id in the path; raises Refused 404 for what is none, like for one that is not there."""
    store_id = request.match_info["id"]
    if not ID.fullmatch(store_id):
        raise not_found("There is no such vector store.", "vector_store_id", "vector_store_not_found")
    return store_id


def _document_id(request: web.Request, store_id: str, file_id: str) -> str:
    return document_id(request[CALLER].org_id, DEFAULT_PROJECT, store_id, "", asset_of(file_id))


KNOWN_SECONDS = 5.0
KNOWN_RETRY_SECONDS = 0.05


async def create_store(request: web.Request) -> web.Response:
    """`POST /v1/vector_stores`."""
    body = validate(StoreBody, await read_json(request, max_bytes=MAX_BODY_BYTES))
    caller, ask = request[CALLER], request.app[DEPS].request_reply.ask
    store_id = f"vs_{uuid.uuid4().hex}"
    wanted = StorePutRequested(
        org_id=caller.org_id,
        key_id=caller.key_id,
        id=store_id,
        create=True,
        name=body.name,
        metadata=body.metadata,
    )
    store = (await ask(STORE_PUT_REQUESTED, wanted, timeout=COMMAND_SECONDS)).body
    for file_id in body.file_ids:
        await _take_in(request, store_id, StoreFileBody(file_id=file_id))
    return shown(store)


async def edit_store(request: web.Request) -> web.Response:
    """`POST /v1/vector_stores/{id}`."""
    body = validate(StoreEditBody, await read_json(request, max_bytes=MAX_BODY_BYTES))
    caller, given = request[CALLER], {"name": body.name, "metadata": body.metadata}
    wanted = StorePutRequested(
        org_id=caller.org_id, key_id=caller.key_id, id=store_id_of(request), create=False, **given
    )
    return await request.app[DEPS].request_reply.command(request, STORE_PUT_REQUESTED, wanted)


async def read_store(request: web.Request) -> web.Response:
    """`GET /v1/vector_stores/{id}`."""
    wanted = StoreGetRequested(org_id=request[CALLER].org_id, id=store_id_of(request))
    return await request.app[DEPS].request_reply.query(STORE_GET_REQUESTED, wanted)


async def list_stores(request: web.Request) -> web.Response:
    """`GET /v1/vector_stores`."""
    query = read_query(request, StoresQuery)
    wanted = StoreListRequested(
        org_id=request[CALLER].org_id, order=query.order, after=query.after, before=query.before, limit=query.limit
    )
    return await request.app[DEPS].request_reply.query(STORE_LIST_REQUESTED, wanted)


async def delete_store(request: web.Request) -> web.Response:
    """`DELETE /v1/vector_stores/{id}`; what goes into it ends, and the files stay."""
    caller = request[CALLER]
    wanted = StoreDeleteRequested(org_id=caller.org_id, key_id=caller.key_id, id=store_id_of(request))
    return await request.app[DEPS].request_reply.command(request, STORE_DELETE_REQUESTED, wanted)


async def add_file(request: web.Request) -> web.Response:
    """`POST /v1/vector_stores/{id}/files`."""
    store_id = store_id_of(request)
    body = validate(StoreFileBody, await read_json(request, max_bytes=MAX_BODY_BYTES))
    org_id, ask = request[CALLER].org_id, request.app[DEPS].request_reply.ask
    await ask(STORE_GET_REQUESTED, StoreGetRequested(org_id=org_id, id=store_id))
    await _take_in(request, store_id, body)
    return shown(
        StoreFile(
            id=body.file_id,
            object="vector_store.file",
            vector_store_id=store_id,
            status="in_progress",
            usage_bytes=0,
            created_at=int(time.time()),
            attributes=body.attributes or {},
            chunking_strategy={"type": "other"},
        )
    )


async def _take_in(request: web.Request, store_id: str, body: StoreFileBody) -> None:
    """The job that makes a document of a file. Raises Refused 404 for a file that is not there."""
    org_id, asset_id = request[CALLER].org_id, asset_of(body.file_id)
    found = AssetGetRequested(org_id=org_id, id=asset_id)
    await request.app[DEPS].request_reply.ask(ASSET_GET_REQUESTED, found)
    wanted = DocumentInput(
        document_id=_document_id(request, store_id, body.file_id),
        collection=store_id,
        name=asset_id,
        asset_id=asset_id,
        metadata=body.attributes or {},
    )
    await publish_job(request, DOCUMENT_KIND, wanted)
    await _known(request, StoreFileGetRequested(org_id=org_id, id=store_id, document_id=wanted.document_id))


async def _known(request: web.Request, wanted: StoreFileGetRequested) -> None:
    """Wait until the job has begun with the file: clients ask for it at once, and take a 404 for the end.

    A job that waits behind others longer than `KNOWN_SECONDS` is not waited for.
    """
    ends = time.monotonic() + KNOWN_SECONDS
    while time.monotonic() < ends:
        try:
            await request.app[DEPS].request_reply.ask(STORE_FILE_GET_REQUESTED, wanted)
        except Refused as refused:
            if refused.status != 404:
                raise
            await asyncio.sleep(KNOWN_RETRY_SECONDS)
        else:
            return


async def read_store_file(request: web.Request) -> web.Response:
    """`GET /v1/vector_stores/{id}/files/{file_id}`."""
    store_id = store_id_of(request)
    id = _document_id(request, store_id, request.match_info["file_id"])
    wanted = StoreFileGetRequested(org_id=request[CALLER].org_id, id=store_id, document_id=id)
    return await request.app[DEPS].request_reply.query(STORE_FILE_GET_REQUESTED, wanted)


async def list_store_files(request: web.Request) -> web.Response:
    """`GET /v1/vector_stores/{id}/files`."""
    query, store_id = read_query(request, StoreFilesQuery), store_id_of(request)
    wanted = StoreFileListRequested(
        org_id=request[CALLER].org_id,
        id=store_id,
        status=query.filter,
        order=query.order,
        after=None if query.after is None else _document_id(request, store_id, query.after),
        before=None if query.before is None else _document_id(request, store_id, query.before),
        limit=query.limit,
    )
    return await request.app[DEPS].request_reply.query(STORE_FILE_LIST_REQUESTED, wanted)


async def remove_store_file(request: web.Request) -> web.Response:
    """`DELETE /v1/vector_stores/{id}/files/{file_id}`; the file itself stays."""
    caller, store_id, file_id = request[CALLER], store_id_of(request), request.match_info["file_id"]
    id = _document_id(request, store_id, file_id)
    wanted = StoreFileDeleteRequested(org_id=caller.org_id, key_id=caller.key_id, id=store_id, document_id=id)
    await request.app[DEPS].request_reply.ask(STORE_FILE_DELETE_REQUESTED, wanted, timeout=COMMAND_SECONDS)
    return shown(StoreFileDeleted(id=file_id, object="vector_store.file.deleted", deleted=True))


async def search_store(request: web.Request) -> web.Response:
    """`POST /v1/vector_stores/{id}/search`."""
    store_id = store_id_of(request)
    body = validate(StoreSearchBody, await read_json(request, max_bytes=MAX_BODY_BYTES))
    options = body.ranking_options
    once = options is not None and options.ranker == "none"
    org_id, ask = request[CALLER].org_id, request.app[DEPS].request_reply.ask
    await ask(STORE_GET_REQUESTED, StoreGetRequested(org_id=org_id, id=store_id))
    wanted = SearchRequested(
        org_id=org_id,
        query=body.question(),
        collections=(store_id,),
        metadata=body.metadata(),
        k=body.max_num_results,
        mode="fused" if once else "reranked",
    )
    found = (await ask(SEARCH_REQUESTED, wanted, timeout=SEARCH_SECONDS)).body
    least = 0.0 if options is None else options.score_threshold
    pieces = [piece for passage in found.data if (piece := _piece(passage)).score >= least]
    return shown(FoundPieces(search_query=[wanted.query], data=pieces))


def _piece(passage: Passage) -> FoundPiece:
    scores: Any = passage.scores
    score = scores.rerank if scores.rerank is not None else max(scores.vector or 0.0, 0.0)
    return FoundPiece(
        file_id=passage.document.replace("ast_", "file-", 1),
        filename=passage.document,
        score=min(score, 1.0),
        attributes=passage.metadata,
        content=[FoundText(text=passage.text)],
    )
