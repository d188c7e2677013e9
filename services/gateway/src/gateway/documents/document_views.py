"""Documents: taken in, read, listed, changed and taken away."""

import hashlib
import re

from aiohttp import web

from common.events.documents import (
    DOCUMENT_DELETE_REQUESTED,
    DOCUMENT_EDIT_REQUESTED,
    DOCUMENT_GET_REQUESTED,
    DOCUMENT_ID,
    DOCUMENT_KIND,
    DOCUMENT_LIST_REQUESTED,
    DocumentDeleteRequested,
    DocumentEditRequested,
    DocumentGetRequested,
    DocumentInput,
    DocumentListRequested,
)
from gateway.deps import DEPS
from gateway.documents.document_bodies import (
    MAX_BODY_BYTES,
    DocumentBody,
    DocumentEditBody,
    DocumentQuery,
    DocumentsQuery,
)
from gateway.http.body import read_json
from gateway.http.context import CALLER
from gateway.http.errors import not_found
from gateway.http.validation import read_query, validate
from gateway.media.jobs import accept
from gateway.media.uploaded_input import UploadedInput, accept_upload

ID = re.compile(DOCUMENT_ID)
JSON = "application/json"
MAX_EDIT_BYTES = 64 * 1024


async def create_document(request: web.Request) -> web.Response:
    """`POST /v1/documents`: JSON that has a text or names a file, or the file itself."""
    query = read_query(request, DocumentQuery)
    if request.content_type == JSON:
        body = validate(DocumentBody, await read_json(request, max_bytes=MAX_BODY_BYTES))
        return await accept(request, DOCUMENT_KIND, body.wanted(request[CALLER].org_id, _own_name(body)))
    return await accept_upload(request, DOCUMENT_KIND, _of_file(request[CALLER].org_id, query))


def _own_name(body: DocumentBody) -> str:
    """What a document without a name is called: the same for the same content."""
    return body.asset_id or f"text-{hashlib.sha256((body.text or '').encode()).hexdigest()[:16]}"


def _of_file(org_id: str, query: DocumentQuery) -> UploadedInput:
    def of(asset_id: str, file_name: str) -> DocumentInput:
        body = DocumentBody.model_construct(asset_id=asset_id, metadata={}, **query.model_dump())
        return body.wanted(org_id, file_name or asset_id)

    return UploadedInput(query.name or "", query.model_dump_json(), of)


def document_id_of(request: web.Request) -> str:
    """The id in the path; raises Refused 404 for what is none, like for one that is not there."""
    document_id = request.match_info["id"]
    if not ID.fullmatch(document_id):
        raise not_found("There is no such document.", "id", "document_not_found")
    return document_id


async def read_document(request: web.Request) -> web.Response:
    """`GET /v1/documents/{id}`."""
    wanted = DocumentGetRequested(org_id=request[CALLER].org_id, id=document_id_of(request))
    return await request.app[DEPS].request_reply.query(DOCUMENT_GET_REQUESTED, wanted)


async def list_documents(request: web.Request) -> web.Response:
    """`GET /v1/documents`: newest first."""
    query = read_query(request, DocumentsQuery)
    wanted = DocumentListRequested(org_id=request[CALLER].org_id, **query.model_dump())
    return await request.app[DEPS].request_reply.query(DOCUMENT_LIST_REQUESTED, wanted)


async def edit_document(request: web.Request) -> web.Response:
    """`PATCH /v1/documents/{id}`: other metadata."""
    id, caller = document_id_of(request), request[CALLER]
    body = validate(DocumentEditBody, await read_json(request, max_bytes=MAX_EDIT_BYTES))
    wanted = DocumentEditRequested(org_id=caller.org_id, key_id=caller.key_id, id=id, metadata=body.metadata)
    return await request.app[DEPS].request_reply.command(request, DOCUMENT_EDIT_REQUESTED, wanted)


async def delete_document(request: web.Request) -> web.Response:
    """`DELETE /v1/documents/{id}`."""
    caller = request[CALLER]
    wanted = DocumentDeleteRequested(org_id=caller.org_id, key_id=caller.key_id, id=document_id_of(request))
    return await request.app[DEPS].request_reply.command(request, DOCUMENT_DELETE_REQUESTED, wanted)
