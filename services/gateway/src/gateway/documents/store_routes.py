"""The routes of OpenAI's files and vector stores."""

from collections.abc import Sequence
from typing import Any

from common.events.file_batches import (
    FILE_BATCH_CANCEL_REQUESTED,
    FILE_BATCH_CREATE_REQUESTED,
    FILE_BATCH_FILES_REQUESTED,
    FILE_BATCH_GET_REQUESTED,
)
from common.events.vector_stores import (
    STORE_DELETE_REQUESTED,
    STORE_FILE_GET_REQUESTED,
    STORE_FILE_LIST_REQUESTED,
    STORE_GET_REQUESTED,
    STORE_LIST_REQUESTED,
    STORE_PUT_REQUESTED,
    StoreFile,
    StoreFileDeleted,
    VectorStore,
)
from gateway.documents import file_batch_views, file_views, store_bodies, store_views
from gateway.documents.file_batch_bodies import FileBatchBody
from gateway.http.routing import Handler, Route
from gateway.ports import Scope, Work

STORES = "/v1/vector_stores"
STORE = f"{STORES}/{{id}}"
STORE_FILES = f"{STORE}/files"
STORE_FILE = f"{STORE_FILES}/{{file_id}}"
BATCHES = f"{STORE}/file_batches"
BATCH = f"{BATCHES}/{{batch_id}}"
UPLOAD_ERRORS = (408, 413, 415, 503, 504)


def _route(method: str, path: str, handler: Handler, summary: str, **fields: Any) -> Route:
    errors = (404, 503, 504)
    common = {"scope": Scope.MEDIA, "work": Work.READ, "errors": errors, "tags": ("vector stores",)}
    return Route(method, path, handler, summary, **{**common, **fields})


def _change(method: str, path: str, handler: Handler, summary: str, **fields: Any) -> Route:
    return _route(method, path, handler, summary, **{"work": Work.WRITE, "errors": (404, 409, 503, 504), **fields})


ROUTES: Sequence[Route] = [
    _route(
        "POST",
        "/v1/files",
        file_views.upload_file,
        "Upload a file, as OpenAI does",
        work=Work.UPLOAD,
        takes=("multipart/form-data",),
        response=file_views.FileObject,
        errors=(400, *UPLOAD_ERRORS),
    ),
    _route(
        "GET",
        "/v1/files",
        file_views.list_files,
        "List files, newest first",
        query=file_views.FilesQuery,
        response=file_views.FileList,
        errors=(503, 504),
    ),
    _route(
        "GET",
        "/v1/files/{id}",
        file_views.read_file,
        "Read what a file is",
        name="get_file",
        response=file_views.FileObject,
    ),
    _change("DELETE", "/v1/files/{id}", file_views.delete_file, "Delete a file", response=file_views.FileDeleted),
    _change(
        "POST",
        STORES,
        store_views.create_store,
        "Make a vector store",
        name="create_vector_store",
        request=store_bodies.StoreBody,
        response=VectorStore,
        errors=(404, 429, 503, 504),
    ),
    _route(
        "GET",
        STORES,
        store_views.list_stores,
        "List vector stores",
        name="list_vector_stores",
        query=store_bodies.StoresQuery,
        response=STORE_LIST_REQUESTED,
        errors=(503, 504),
    ),
    _route(
        "GET",
        STORE,
        store_views.read_store,
        "Read a vector store",
        name="get_vector_store",
        response=STORE_GET_REQUESTED,
    ),
    _change(
        "POST",
        STORE,
        store_views.edit_store,
        "Change the name or the metadata of a vector store",
        name="update_vector_store",
        request=store_bodies.StoreEditBody,
        response=STORE_PUT_REQUESTED,
        idempotent=True,
    ),
    _change(
        "DELETE",
        STORE,
        store_views.delete_store,
        "Delete a vector store and end what goes into it; its files stay",
        name="delete_vector_store",
        response=STORE_DELETE_REQUESTED,
        idempotent=True,
    ),
    _change(
        "POST",
        STORE_FILES,
        store_views.add_file,
        "Put a file into a vector store",
        name="add_vector_store_file",
        request=store_bodies.StoreFileBody,
        response=StoreFile,
        errors=(404, 429, 503, 504),
    ),
    _route(
        "GET",
        STORE_FILES,
        store_views.list_store_files,
        "List the files of a vector store with their status",
        name="list_vector_store_files",
        query=store_bodies.StoreFilesQuery,
        response=STORE_FILE_LIST_REQUESTED,
    ),
    _route(
        "GET",
        STORE_FILE,
        store_views.read_store_file,
        "Read how a file of a vector store is",
        name="get_vector_store_file",
        response=STORE_FILE_GET_REQUESTED,
    ),
    _change(
        "DELETE",
        STORE_FILE,
        store_views.remove_store_file,
        "Take a file out of a vector store",
        name="remove_vector_store_file",
        response=StoreFileDeleted,
    ),
    _change(
        "POST",
        BATCHES,
        file_batch_views.create_batch,
        "Put many files into a vector store",
        name="create_vector_store_file_batch",
        request=FileBatchBody,
        response=FILE_BATCH_CREATE_REQUESTED,
        errors=(404, 409, 429, 503, 504),
        idempotent=True,
    ),
    _route(
        "GET",
        BATCH,
        file_batch_views.read_batch,
        "Read how far a batch of files is",
        name="get_vector_store_file_batch",
        response=FILE_BATCH_GET_REQUESTED,
    ),
    _change(
        "POST",
        f"{BATCH}/cancel",
        file_batch_views.cancel_batch,
        "End what of a batch of files has not ended",
        name="cancel_vector_store_file_batch",
        response=FILE_BATCH_CANCEL_REQUESTED,
        idempotent=True,
    ),
    _route(
        "GET",
        f"{BATCH}/files",
        file_batch_views.list_batch_files,
        "List the files of a batch with their status",
        name="list_vector_store_file_batch_files",
        query=store_bodies.StoreFilesQuery,
        response=FILE_BATCH_FILES_REQUESTED,
    ),
    _route(
        "POST",
        f"{STORE}/search",
        store_views.search_store,
        "Search a vector store",
        name="search_vector_store",
        request=store_bodies.StoreSearchBody,
        response=store_bodies.FoundPieces,
    ),
]
