"""Documents as callers send and list them."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from common.events.assets import ASSET_ID
from common.events.documents import (
    COLLECTION_ID,
    DEFAULT_COLLECTION,
    DOCUMENT_ID,
    MAX_DOCUMENT_NAME,
    MAX_METADATA,
    MAX_METADATA_KEY,
    MAX_METADATA_TEXT,
    MAX_TEXT,
    DocumentInput,
    DocumentType,
    document_id,
)
from common.events.expressions import MAX_URL
from common.events.resource_terms import DEFAULT_PROJECT
from gateway.http.end_user import MAX_ID
from gateway.http.fields import ProjectId, Query, Strict

# In UTF-8 a letter has up to four bytes, and escaped in JSON up to twelve.
MAX_BODY_BYTES = 4 * 1024 * 1024
TYPES: dict[str, DocumentType] = {
    "text/plain": "text/plain",
    "text/markdown": "text/markdown",
    "text/html": "text/html",
    "application/pdf": "application/pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
}
DocumentName = Annotated[str, Field(min_length=1, max_length=MAX_DOCUMENT_NAME, pattern=r"^[^\x00-\x1f\x7f]+$")]
CollectionId = Annotated[str, Field(pattern=rf"^{COLLECTION_ID}$")]
DocumentId = Annotated[str, Field(pattern=rf"^{DOCUMENT_ID}$")]
Owner = Annotated[str, Field(max_length=MAX_ID, pattern=r"^[^\x00-\x1f\x7f]*$")]
ContentType = Literal[
    "text/plain",
    "text/markdown",
    "text/html",
    "application/pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
]
MetadataText = Annotated[str, Field(max_length=MAX_METADATA_TEXT)]
MetadataKey = Annotated[str, Field(min_length=1, max_length=MAX_METADATA_KEY)]
MetadataBody = Annotated[dict[MetadataKey, MetadataText | bool | int | float], Field(max_length=MAX_METADATA)]
NOT_SHOWN = re.compile(r"[\x00-\x1f\x7f]")


class DocumentBody(Strict):
    """A document: one of `text`, `asset_id` and `url`.

    The same `name` in the same collection is a new version of the same document. Without a name a URL is its own, and a
    text or an asset is a document by itself.
    """

    text: Annotated[str, Field(min_length=1, max_length=MAX_TEXT)] | None = None
    asset_id: Annotated[str, Field(pattern=rf"^{ASSET_ID}$")] | None = None
    url: Annotated[str, Field(min_length=1, max_length=MAX_URL, pattern=r"^https?://[^\x00-\x20]+$")] | None = None
    name: DocumentName | None = None
    content_type: ContentType | None = None
    collection: CollectionId = DEFAULT_COLLECTION
    project_id: ProjectId = DEFAULT_PROJECT
    user_id: Owner = ""
    metadata: MetadataBody = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(given is not None for given in (self.text, self.asset_id, self.url)) != 1:
            raise ValueError("one of 'text', 'asset_id' and 'url' is needed")
        return self

    def wanted(self, org_id: str, default_name: str) -> DocumentInput:
        """The input of the job."""
        name = self.name or NOT_SHOWN.sub("", self.url or default_name)[:MAX_DOCUMENT_NAME]
        return DocumentInput(
            document_id=document_id(org_id, self.project_id, self.collection, self.user_id, name),
            project_id=self.project_id,
            collection=self.collection,
            user_id=self.user_id,
            name=name,
            text=self.text,
            asset_id=self.asset_id,
            url=self.url,
            content_type=None if self.content_type is None else TYPES[self.content_type],
            metadata=self.metadata,
        )


class DocumentQuery(Query):
    """The same for a file in the body."""

    name: DocumentName | None = None
    content_type: ContentType | None = None
    collection: CollectionId = DEFAULT_COLLECTION
    project_id: ProjectId = DEFAULT_PROJECT
    user_id: Owner = ""


class DocumentsQuery(Query):
    """A page, newest first, behind the document `after`; those of one collection, or of one end user."""

    project_id: ProjectId = DEFAULT_PROJECT
    collection: CollectionId | None = None
    user_id: Owner = ""
    after: DocumentId | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20


class DocumentEditBody(Strict):
    """The metadata that a document is to have, in place of what it has."""

    metadata: MetadataBody
