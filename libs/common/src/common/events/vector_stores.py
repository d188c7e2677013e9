"""Vector stores, as OpenAI has them: collections of documents with a name, and the files in them."""

from collections.abc import Mapping
from typing import Any, Literal

from common.events.backoff import A_FEW_TIMES
from common.events.documents import Metadata
from common.events.media_topics import MEDIA_COMMANDS, MEDIA_QUERIES
from common.events.reply import ReplyBody
from common.events.spec import Payload, RequestSpec, query

STORE_ID = r"vs_[0-9a-f]{32}"

FileStatus = Literal["in_progress", "completed", "cancelled", "failed"]
Order = Literal["asc", "desc"]


# -- what is asked -----------------------------------------------------------------------------------------------------


class StoreRequest(Payload):
    """Who asks about which store."""

    org_id: str
    id: str


class PageRequest(Payload):
    """A part of a list: what stands between `after` and `before`, the newest first unless `order` says otherwise."""

    order: Order = "desc"
    after: str | None = None
    before: str | None = None
    limit: int = 20


class StorePutRequested(StoreRequest):
    """Make a store, or change the one of this id; what is None stays as it is, or empty. `create` says which."""

    key_id: str
    create: bool
    name: str | None = None
    metadata: Metadata | None = None


class StoreGetRequested(StoreRequest):
    """One store."""


class StoreDeleteRequested(StoreRequest):
    """Take a store away with its documents, and end the jobs that make more of them; the files stay."""

    key_id: str


class StoreListRequested(PageRequest):
    """Stores of an organisation, by when they were made."""

    org_id: str


class StoreFileGetRequested(StoreRequest):
    """How a file in the store is: `document_id` is that of its document."""

    document_id: str


class StoreFileDeleteRequested(StoreRequest):
    """Take a file out of the store, wherever it is on its way in; `document_id` is that of its document."""

    key_id: str
    document_id: str


class StoreFileListRequested(PageRequest, StoreRequest):
    """Files of the store by when they were put in; `after` and `before` are their documents."""

    status: FileStatus | None = None


# -- what is answered --------------------------------------------------------------------------------------------------


class StoreFileCounts(ReplyBody):
    """How many files are in a store, by their status."""

    in_progress: int
    completed: int
    failed: int
    cancelled: int
    total: int


class VectorStore(ReplyBody):
    """A store. Times are unix seconds; `usage_bytes` counts the characters of its documents."""

    id: str
    object: Literal["vector_store"]
    name: str
    status: Literal["in_progress", "completed"]
    file_counts: StoreFileCounts
    usage_bytes: int
    created_at: int
    last_active_at: int
    metadata: dict[str, str | bool | int | float]


class VectorStoreList(ReplyBody):
    """A page of stores."""

    object: Literal["list"]
    data: tuple[VectorStore, ...]
    first_id: str | None
    last_id: str | None
    has_more: bool


class StoreFileError(ReplyBody):
    """Why a file cannot be searched."""

    code: Literal["server_error", "unsupported_file", "invalid_file"]
    message: str


class StoreFile(ReplyBody):
    """A file in a store; `id` is that of the file."""

    id: str
    object: Literal["vector_store.file"]
    vector_store_id: str
    status: FileStatus
    usage_bytes: int
    created_at: int
    last_error: StoreFileError | None = None
    attributes: Mapping[str, str | bool | int | float]
    chunking_strategy: Mapping[str, Any]


class StoreFileList(ReplyBody):
    """A page of files."""

    object: Literal["list"]
    data: tuple[StoreFile, ...]
    first_id: str | None
    last_id: str | None
    has_more: bool


class StoreDeleted(ReplyBody):
    """It is gone."""

    id: str
    object: Literal["vector_store.deleted"]
    deleted: bool


class StoreFileDeleted(ReplyBody):
    """The file is not in the store any more; the file itself stays."""

    id: str
    object: Literal["vector_store.file.deleted"]
    deleted: bool


def store_query(type: str, payload: Any, reply: Any, summary: str) -> RequestSpec[Any, Any]:
    """A question about stores, or what is in them."""
    return query(
        type=type,
        payload=payload,
        reply=reply,
        topic=MEDIA_QUERIES,
        key=lambda query: query.org_id,
        summary=summary,
    )


def store_command(type: str, payload: Any, reply: Any, summary: str) -> RequestSpec[Any, Any]:
    """A change of one store; those of the same store are done in their order."""
    return RequestSpec(
        type=type,
        version=1,
        payload=payload,
        reply=reply,
        topic=MEDIA_COMMANDS,
        key=lambda command: f"{command.org_id}/{command.id}",
        summary=summary,
        retry=A_FEW_TIMES,
        expires=True,
    )


STORE_PUT_REQUESTED = store_command(
    "documents.store.put.requested", StorePutRequested, VectorStore, "Make or change a vector store."
)
STORE_DELETE_REQUESTED = store_command(
    "documents.store.delete.requested",
    StoreDeleteRequested,
    StoreDeleted,
    "Take a vector store away with its documents.",
)
STORE_GET_REQUESTED = store_query(
    "documents.store.get.requested", StoreGetRequested, VectorStore, "Answer what a vector store is."
)
STORE_LIST_REQUESTED = store_query(
    "documents.store.list.requested", StoreListRequested, VectorStoreList, "Answer which vector stores there are."
)
STORE_FILE_GET_REQUESTED = store_query(
    "documents.store_file.get.requested", StoreFileGetRequested, StoreFile, "Answer how a file of a vector store is."
)
STORE_FILE_DELETE_REQUESTED = store_command(
    "documents.store_file.delete.requested",
    StoreFileDeleteRequested,
    StoreFileDeleted,
    "Take a file out of a vector store.",
)
STORE_FILE_LIST_REQUESTED = store_query(
    "documents.store_file.list.requested",
    StoreFileListRequested,
    StoreFileList,
    "Answer how the files of a vector store are.",
)

STORE_REQUESTS = (
    STORE_PUT_REQUESTED,
    STORE_DELETE_REQUESTED,
    STORE_GET_REQUESTED,
    STORE_LIST_REQUESTED,
    STORE_FILE_GET_REQUESTED,
    STORE_FILE_DELETE_REQUESTED,
    STORE_FILE_LIST_REQUESTED,
)
