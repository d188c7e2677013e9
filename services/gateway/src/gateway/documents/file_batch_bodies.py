"""Batches of files for a vector store as OpenAI's clients write them."""

from typing import Annotated, Self

import orjson
from pydantic import Field, model_validator

from common.events.file_batches import MAX_BATCH_FILES, BatchFile
from gateway.documents.document_bodies import MetadataBody
from gateway.documents.file_views import asset_of
from gateway.documents.store_bodies import AutoChunking, FileId, StoreFileBody
from gateway.http.errors import bad_request
from gateway.http.fields import Strict

# Each file of a batch keeps its attributes: what a small body says once would become very much.
MAX_ATTRIBUTES_BYTES = 8 * 1024 * 1024


class FileBatchBody(Strict):
    """Files that go into the store: `file_ids`, which share `attributes`, or `files`, each with its own."""

    file_ids: Annotated[list[FileId], Field(min_length=1, max_length=MAX_BATCH_FILES, fail_fast=True)] | None = None
    files: Annotated[list[StoreFileBody], Field(min_length=1, max_length=MAX_BATCH_FILES, fail_fast=True)] | None = None
    attributes: MetadataBody | None = None
    chunking_strategy: AutoChunking | None = None

    @model_validator(mode="after")
    def _one_list(self) -> Self:
        if (self.file_ids is None) == (self.files is None):
            raise ValueError("one of 'file_ids' and 'files' is needed")
        named = self._named()
        if len(set(named)) < len(named):
            raise ValueError("each file stands once")
        return self

    def _named(self) -> list[str]:
        return self.file_ids or [] if self.files is None else [file.file_id for file in self.files]

    def shared(self) -> MetadataBody:
        """The attributes of all files; as with OpenAI those of `files` stand with each of them alone.

        Raises Refused 400 where they are too much for so many files.
        """
        if self.files is not None or not self.attributes:
            return {}
        if len(orjson.dumps(self.attributes)) * len(self._named()) > MAX_ATTRIBUTES_BYTES:
            message = f"Invalid 'attributes': with all files at most {MAX_ATTRIBUTES_BYTES} bytes."
            raise bad_request(message, "attributes", "invalid_value")
        return self.attributes

    def batched(self) -> tuple[BatchFile, ...]:
        """The files as media takes them in."""
        if self.files is None:
            return tuple(BatchFile(asset_id=asset_of(file_id)) for file_id in self._named())
        return tuple(BatchFile(asset_id=asset_of(file.file_id), attributes=file.attributes) for file in self.files)
