"""The routes of documents and of search."""

from collections.abc import Sequence
from typing import Any

from common.events.documents import (
    DOCUMENT_DELETE_REQUESTED,
    DOCUMENT_EDIT_REQUESTED,
    DOCUMENT_GET_REQUESTED,
    DOCUMENT_LIST_REQUESTED,
)
from common.events.search import SEARCH_REQUESTED
from gateway.documents import document_views, search_views, store_routes
from gateway.documents.document_bodies import DocumentBody, DocumentEditBody, DocumentQuery, DocumentsQuery
from gateway.http.routing import Handler, Route
from gateway.media.routes import ACCEPTED, makes_job
from gateway.ports import Scope, Work

ONE = "/v1/documents/{id}"


def _route(method: str, path: str, handler: Handler, summary: str, **fields: Any) -> Route:
    common = {"scope": Scope.MEDIA, "work": Work.READ, "errors": (404, 503, 504), "tags": ("documents",)}
    return Route(method, path, handler, summary, **{**common, **fields})


ROUTES: Sequence[Route] = [
    makes_job(
        "/v1/documents",
        document_views.create_document,
        "Take a document in, so that it is found",
        request=DocumentBody,
        query=DocumentQuery,
        work=Work.UPLOAD,
        takes=("application/octet-stream", "multipart/form-data"),
        errors=(404, 408, 409, 413, 415, 429, 503, 504),
        tags=("documents",),
        description=f"JSON with a text, or that names an asset or a URL; or the file itself as the body or as the "
        f"field `file` of a form, and the rest in the query. {ACCEPTED}",
    ),
    _route(
        "GET",
        "/v1/documents",
        document_views.list_documents,
        "List documents, newest first",
        query=DocumentsQuery,
        response=DOCUMENT_LIST_REQUESTED,
        errors=(503, 504),
    ),
    _route("GET", ONE, document_views.read_document, "Read what a document is", response=DOCUMENT_GET_REQUESTED),
    _route(
        "PATCH",
        ONE,
        document_views.edit_document,
        "Give a document other metadata",
        work=Work.WRITE,
        request=DocumentEditBody,
        response=DOCUMENT_EDIT_REQUESTED,
        idempotent=True,
        errors=(404, 409, 503, 504),
    ),
    _route(
        "DELETE",
        ONE,
        document_views.delete_document,
        "Take a document away, with all that is searched of it",
        work=Work.WRITE,
        response=DOCUMENT_DELETE_REQUESTED,
        idempotent=True,
        errors=(404, 409, 503, 504),
    ),
    _route(
        "POST",
        "/v1/search",
        search_views.search,
        "Find passages of documents",
        request=search_views.SearchBody,
        response=SEARCH_REQUESTED,
        errors=(503, 504),
    ),
    *store_routes.ROUTES,
]
