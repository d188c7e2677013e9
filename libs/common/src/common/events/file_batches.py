"""Files that go into a vector store together, as OpenAI has them: a batch, how far it is, and its end."""

from typing import Annotated, Literal

from pydantic import Field

from common.events.documents import Metadata
from common.events.reply import ReplyBody
from common.events.spec import Payload
from common.events.vector_stores import (
    FileStatus,
    PageRequest,
    StoreFileCounts,
    StoreFileList,
    StoreRequest,
    store_command,
    store_query,
)

BATCH_ID = r"vsfb_[0-9a-f]{32}"
# As many as OpenAI takes.
MAX_BATCH_FILES = 2_000


# -- what is asked -----------------------------------------------------------------------------------------------------


class BatchFile(Payload):
    """A file of a batch: its asset. Without attributes of its own it has those of the batch."""

    asset_id: str
    attributes: Metadata | None = None


class FileBatchCreateRequested(StoreRequest):
    """Take files into the store `id`; `attributes` are the metadata of their documents."""

    key_id: str
    user_id: str = ""
    files: Annotated[tuple[BatchFile, ...], Field(min_length=1, max_length=MAX_BATCH_FILES, fail_fast=True)]
    attributes: Metadata = Field(default_factory=dict)


class FileBatchRequest(StoreRequest):
    """Who asks about which batch of the store `id`."""

    batch_id: str


class FileBatchGetRequested(FileBatchRequest):
    """How far a batch is."""


class FileBatchCancelRequested(FileBatchRequest):
    """End what of a batch has not ended; files that were taken in stay."""

    key_id: str


class FileBatchFilesRequested(PageRequest, FileBatchRequest):
    """Files of a batch in its order, where the last one is the newest; `after` and `before` are their assets."""

    status: FileStatus | None = None


# -- what is answered --------------------------------------------------------------------------------------------------


class FileBatch(ReplyBody):
    """A batch. It is `cancelled` where one of its files was, and `failed` where all were; times are unix seconds."""

    id: str
    object: Literal["vector_store.files_batch"]
    vector_store_id: str
    status: FileStatus
    file_counts: StoreFileCounts
    created_at: int


FILE_BATCH_CREATE_REQUESTED = store_command(
    "documents.file_batch.create.requested",
    FileBatchCreateRequested,
    FileBatch,
    "Take files into a vector store together.",
)
FILE_BATCH_CANCEL_REQUESTED = store_command(
    "documents.file_batch.cancel.requested",
    FileBatchCancelRequested,
    FileBatch,
    "End what of a batch of files has not ended.",
)
FILE_BATCH_GET_REQUESTED = store_query(
    "documents.file_batch.get.requested", FileBatchGetRequested, FileBatch, "Answer how far a batch of files is."
)
FILE_BATCH_FILES_REQUESTED = store_query(
    "documents.file_batch.files.requested",
    FileBatchFilesRequested,
    StoreFileList,
    "Answer how the files of a batch are.",
)

FILE_BATCH_REQUESTS = (
    FILE_BATCH_CREATE_REQUESTED,
    FILE_BATCH_CANCEL_REQUESTED,
    FILE_BATCH_GET_REQUESTED,
    FILE_BATCH_FILES_REQUESTED,
)
