"""Documents: texts of an organisation that are searched, and the job that takes one in."""

import uuid
from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from common.events.assets import ASSET_ID
from common.events.backoff import A_FEW_TIMES
from common.events.expressions import MAX_URL
from common.events.media_topics import MEDIA_COMMANDS, MEDIA_QUERIES
from common.events.reply import ReplyBody
from common.events.resource_terms import DEFAULT_PROJECT
from common.events.spec import Payload, RequestSpec, query

DOCUMENT_KIND = "document"
DOCUMENT_ID = r"doc_[0-9a-f]{32}"
COLLECTION_ID = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
DEFAULT_COLLECTION = "default"
# What users have said in earlier sessions: a document for each turn, whose metadata names both, and when it was said.
MEMORY = "memory"
SESSION, TURN, SAID_AT = "session", "turn", "said_at"
# Longer texts are uploaded, so that no record of the log carries them.
MAX_TEXT = 200_000
MAX_DOCUMENT_NAME = 300
# As OpenAI bounds the attributes of a file in a vector store.
MAX_METADATA = 16
MAX_METADATA_KEY = 64
MAX_METADATA_TEXT = 512
# Names the ids of documents.
DOCUMENTS = uuid.UUID("0c3e1a4c-6c55-4d53-9a46-0a86f3a3d9b7")

MetadataKey: TypeAlias = Annotated[str, Field(min_length=1, max_length=MAX_METADATA_KEY)]
MetadataValue: TypeAlias = Annotated[str, Field(max_length=MAX_METADATA_TEXT)] | bool | int | float
Metadata: TypeAlias = Annotated[Mapping[MetadataKey, MetadataValue], Field(max_length=MAX_METADATA)]
DocumentType = Literal["text/plain", "text/markdown", "text/html", "application/pdf", "docx"]


def document_id(org_id: str, project_id: str, collection: str, user_id: str, name: str) -> str:
    """The id of the document with this name; the same name is a new version of the same document."""
    return f"doc_{uuid.uuid5(DOCUMENTS, '/'.join((org_id, project_id, collection, user_id, name))).hex}"


# -- the job that takes a document in ----------------------------------------------------------------------------------


class DocumentInput(Payload):
    """A document: its text, an asset, or what is at an address. `content_type` None is what its first bytes say.

    One with a `user_id` is that end user's own: searches without that user do not find it.
    """

    document_id: Annotated[str, Field(pattern=rf"^{DOCUMENT_ID}$")]
    project_id: str = DEFAULT_PROJECT
    collection: Annotated[str, Field(pattern=rf"^{COLLECTION_ID}$")] = DEFAULT_COLLECTION
    user_id: str = ""
    name: Annotated[str, Field(min_length=1, max_length=MAX_DOCUMENT_NAME)]
    text: Annotated[str, Field(max_length=MAX_TEXT)] | None = None
    asset_id: Annotated[str, Field(pattern=rf"^{ASSET_ID}$")] | None = None
    url: Annotated[str, Field(min_length=1, max_length=MAX_URL)] | None = None
    content_type: DocumentType | None = None
    metadata: Metadata = Field(default_factory=dict)


class DocumentResult(Payload):
    """What is searched now. `unchanged`: the content was the same already, and nothing was done."""

    document_id: str
    version: int
    chunks: int
    characters: int
    content_type: str
    unchanged: bool = False


# -- what is asked -----------------------------------------------------------------------------------------------------


class DocumentRequest(Payload):
    """Who asks about which document."""

    org_id: str
    id: str


class DocumentGetRequested(DocumentRequest):
    """One document."""


class DocumentDeleteRequested(DocumentRequest):
    """Take a document away, with all that is searched of it."""

    key_id: str


class DocumentEditRequested(DocumentRequest):
    """Give a document other metadata; its text stays as it is."""

    key_id: str
    metadata: Metadata


class DocumentListRequested(Payload):
    """Documents of a project, newest first, behind the document `after`."""

    org_id: str
    project_id: str = DEFAULT_PROJECT
    collection: str | None = None
    user_id: str = ""
    after: str | None = None
    limit: int = 20


class DocumentsForgetRequested(Payload):
    """Take away every document that is an end user's own, in all projects.

    With a `session_id` it is what anybody said in that session, or in its turn `turn_id` alone, and the user is "".
    """

    org_id: str
    user_id: str
    session_id: str | None = None
    turn_id: str | None = None
    # Unix seconds: what was said later stays.
    at: float = 0.0


# -- what is answered --------------------------------------------------------------------------------------------------


class DocumentInfo(ReplyBody):
    """A document as it is searched. Times are unix seconds; `sha256` is that of its content, in lower-case hex."""

    id: str
    object: Literal["document"]
    project_id: str
    collection: str
    user_id: str
    name: str
    content_type: str
    asset_id: str | None
    url: str | None
    version: int
    chunks: int
    characters: int
    sha256: str
    metadata: dict[str, str | bool | int | float]
    created_at: float
    updated_at: float


class DocumentList(ReplyBody):
    """A page; `has_more`: ask again behind the last one."""

    object: Literal["list"]
    data: tuple[DocumentInfo, ...]
    has_more: bool


class DocumentDeleted(ReplyBody):
    """It is gone."""

    id: str
    object: Literal["document"]
    deleted: bool


class DocumentsForgotten(ReplyBody):
    """How many documents of the end user are gone."""

    deleted: int


DOCUMENT_GET_REQUESTED = query(
    type="document.get.requested",
    payload=DocumentGetRequested,
    reply=DocumentInfo,
    topic=MEDIA_QUERIES,
    key=lambda query: query.org_id,
    summary="Answer what a document is.",
)

DOCUMENT_LIST_REQUESTED = query(
    type="document.list.requested",
    payload=DocumentListRequested,
    reply=DocumentList,
    topic=MEDIA_QUERIES,
    key=lambda query: query.org_id,
    summary="Answer which documents a project has.",
)

DOCUMENT_DELETE_REQUESTED = RequestSpec(
    type="document.delete.requested",
    version=1,
    payload=DocumentDeleteRequested,
    reply=DocumentDeleted,
    topic=MEDIA_COMMANDS,
    key=lambda command: f"{command.org_id}/{command.id}",
    summary="Take a document away.",
    retry=A_FEW_TIMES,
    expires=True,
)

DOCUMENT_EDIT_REQUESTED = RequestSpec(
    type="document.edit.requested",
    version=1,
    payload=DocumentEditRequested,
    reply=DocumentInfo,
    topic=MEDIA_COMMANDS,
    key=lambda command: f"{command.org_id}/{command.id}",
    summary="Give a document other metadata.",
    retry=A_FEW_TIMES,
    expires=True,
)

DOCUMENTS_FORGET_REQUESTED = RequestSpec(
    type="documents.forget.requested",
    version=1,
    payload=DocumentsForgetRequested,
    reply=DocumentsForgotten,
    topic=MEDIA_COMMANDS,
    key=lambda command: f"{command.org_id}/{command.session_id or command.user_id}",
    summary="Take away every document that is an end user's own, or what was said in a session.",
    retry=A_FEW_TIMES,
)

DOCUMENT_REQUESTS = (
    DOCUMENT_GET_REQUESTED,
    DOCUMENT_LIST_REQUESTED,
    DOCUMENT_DELETE_REQUESTED,
    DOCUMENT_EDIT_REQUESTED,
    DOCUMENTS_FORGET_REQUESTED,
)
