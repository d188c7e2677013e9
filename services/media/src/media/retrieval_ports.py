"""What documents and search need from outside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from common.events.documents import DocumentInput
from common.failures import Refused
from media.retrieval.preparation import PreparedChunk


@dataclass(frozen=True, slots=True)
class Document:
    """A document as it is searched: its row. Times are aware, in UTC; `sha256` is that of its content."""

    id: str
    org_id: str
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
    metadata: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A document in a new version, whole: `vectors` has those of all chunks for each model, as pgvector reads them."""

    org_id: str
    wanted: DocumentInput
    content_type: str
    sha256: str
    characters: int
    job_id: str
    asked_at: datetime
    chunks: Sequence[PreparedChunk]
    vectors: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class DocumentPage:
    """Which documents are listed: those of a user alone, or with an empty one those of nobody."""

    org_id: str
    project_id: str
    collection: str | None
    user_id: str
    limit: int
    after: str | None


class DocumentRows(Protocol):
    """The documents of all organisations. Every method raises StoreUnavailableError while the store is away."""

    async def replace(self, version: Version) -> Document:
        """Have this version searched in place of the one before, at once.

        Where the document is of a later request already, nothing changes. Returns what is searched now.
        Raises Refused 404 where it is to go into a vector store that is gone.
        """

    async def touch(self, document: Document, wanted: DocumentInput) -> Document:
        """Note the metadata of a request whose content is what is searched already."""

    async def get(self, org_id: str, document_id: str) -> Document | None:
        """The document."""

    async def page(self, wanted: DocumentPage) -> Sequence[Document]:
        """Documents, newest first."""

    async def edit(self, org_id: str, document_id: str, metadata: Mapping[str, Any]) -> Document | None:
        """Give it other metadata."""

    async def remove(self, org_id: str, document_id: str) -> bool:
        """Take it away with its chunks; whether it was there."""

    async def forget(self, org_id: str, user_id: str, at: float) -> int:
        """Take away what is a user's own; returns how many documents. What was said until `at` is not kept later."""

    async def forget_said(self, org_id: str, session_id: str, turn_id: str | None, at: float) -> int:
        """The same of what was said in a session, or in one turn of it."""


@dataclass(frozen=True, slots=True)
class Store:
    """A collection as a vector store: how many of its files are where, and the characters of its documents."""

    org_id: str
    id: str
    name: str
    metadata: Mapping[str, Any]
    created_at: datetime
    used_at: datetime
    completed: int
    characters: int
    in_progress: int
    failed: int
    cancelled: int


@dataclass(frozen=True, slots=True)
class StoreChange:
    """What a store is to be; None leaves a part as it is. With `create` it is made where there is none."""

    org_id: str
    id: str
    create: bool
    name: str | None
    metadata: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPage:
    """At most `limit` entries of a list between the ids `after` and `before`, the oldest first or the newest.

    Without `after` it is the entries next to `before`.
    """

    ascending: bool
    after: str | None
    before: str | None
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StorePage(ListPage):
    """Which stores are listed."""

    org_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFilePage(ListPage):
    """Which files of a store are listed: those in one of the `states`; `after` and `before` are documents."""

    org_id: str
    store_id: str
    states: Sequence[str]


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file in a store as its document or its job is; `characters` is 0 until its document is there."""

    asset_id: str
    state: str
    metadata: Mapping[str, Any]
    error: Mapping[str, Any] | None
    characters: int
    created_at: datetime


class StoreRows(Protocol):
    """The vector stores of all organisations. Every method raises StoreUnavailableError while the store is away."""

    async def put(self, change: StoreChange) -> Store | None:
        """Make or change one; None where the one to be changed is not there."""

    async def get(self, org_id: str, store_id: str) -> Store | None:
        """The store."""

    async def page(self, wanted: StorePage) -> tuple[Sequence[Store], bool]:
        """Stores by when they were made, and whether there are more."""

    async def files(self, wanted: StoreFilePage) -> tuple[Sequence[ListedFile], bool]:
        """Files by when they were put in, and whether there are more.

        A file is as its document is, and as the last job about it is until there is one.
        """

    async def documents(self, org_id: str, store_id: str, limit: int) -> Sequence[str]:
        """The ids of documents in it."""

    async def jobs(self, org_id: str, store_id: str, limit: int) -> Sequence[str]:
        """The ids of jobs that are to take documents into it and that nobody has asked to end."""

    async def remove(self, org_id: str, store_id: str) -> bool:
        """Take it away, unless there are documents in it; whether it is gone. No job brings it back."""

    async def strike(self, org_id: str, store_id: str, document_id: str) -> Sequence[str] | None:
        """Take a file out; the ids of jobs that are still to put it in, and may not. None where there is no such file.

        It is in the store again only by a job that is asked for later.
        """

    async def job_of(self, org_id: str, document_id: str) -> ListedFile | None:
        """The last job about a document; None where its store is gone, or the file was taken out since."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Files that were put into a store together, by how their jobs are."""

    id: str
    store_id: str
    created_at: datetime
    in_progress: int
    completed: int
    failed: int
    cancelled: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBatch:
    """A batch whose jobs are accepted: `jobs` has that of each asset, in the order of the files."""

    org_id: str
    store_id: str
    id: str
    jobs: Mapping[str, str]
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPage(ListPage):
    """Which files of a batch are listed: those in one of the `states`; `after` and `before` are assets."""

    org_id: str
    batch_id: str
    states: Sequence[str]


class BatchRows(Protocol):
    """The batches of all organisations. Every method raises StoreUnavailableError while the store is away."""

    async def add(self, batch: NewBatch) -> None:
        """Keep it, unless it is known or its store is gone."""

    async def get(self, org_id: str, store_id: str, batch_id: str) -> Batch | None:
        """The batch; None too where a job of it is not kept any more."""

    async def page(self, wanted: BatchPage) -> tuple[Sequence[ListedFile], bool]:
        """Files of a batch in their order, and whether there are more."""

    async def jobs(self, org_id: str, batch_id: str) -> Sequence[str]:
        """The ids of its jobs."""


@dataclass(frozen=True, slots=True)
class Sought:
    """Where a search looks. `user_id` adds the documents of that user to those of nobody."""

    org_id: str
    project_id: str
    user_id: str = ""
    collections: tuple[str, ...] = ()
    document_ids: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def scope(self) -> str:
        """What the numbers of terms are made with."""
        return f"{self.org_id}/{self.project_id}"


@dataclass(frozen=True, slots=True)
class Candidates:
    """Chunks that have any of the terms, or both of a pair; at most so many of them are looked at, the oldest."""

    most: int
    terms: Sequence[int] = ()
    pairs: Sequence[tuple[int, int]] = ()


@dataclass(frozen=True, slots=True)
class FoundChunk:
    """A chunk with what there is to say about it."""

    id: int
    document_id: str
    name: str
    collection: str
    version: int
    ordinal: int
    heading: str
    page: int | None
    text: str
    start_at: int
    end_at: int
    metadata: Mapping[str, Any]


class PassageRows(Protocol):
    """The chunks of all documents. Every method raises StoreUnavailableError while the store is away."""

    async def term_counts(self, sought: Sought, terms: Sequence[int]) -> tuple[int, Mapping[int, int]]:
        """How many chunks the project has, and in how many of them each term stands, as last counted."""

    async def lexical(
        self, sought: Sought, groups: Sequence[Candidates], weights: Mapping[int, float], limit: int
    ) -> dict[int, float]:
        """The best of the candidates, with the products of their weights and these."""

    async def nearest(self, sought: Sought, model: str, vector: str, limit: int) -> dict[int, float]:
        """The chunks whose vectors are nearest, with their cosines."""

    async def fetch(self, sought: Sought, ids: Sequence[int]) -> dict[int, FoundChunk]:
        """Those of the chunks that are still there."""

    async def vector_model(self, wanted: str) -> str:
        """The model whose vectors are searched; `wanted` becomes it where there is none yet."""


class Encoder(Protocol):
    """Makes vectors of texts. Raises ProviderDown, and `model_missing` where a model is not installed.

    Work of one `share` goes one after the other, so that nobody keeps the others waiting.
    """

    @property
    def model(self) -> str:
        """The model."""

    async def embed(self, share: str, texts: Sequence[str]) -> list[str]:
        """The vectors of texts to be searched, of length 1, as pgvector reads them."""

    async def question(self, share: str, text: str) -> str:
        """The vector of a question, at once."""


class Reranker(Protocol):
    """Looks at questions and texts together."""

    async def rerank(self, share: str, query: str, texts: Sequence[str]) -> list[float]:
        """How likely each text answers the question, between 0 and 1; raises as an encoder."""


def no_store(store_id: str) -> Refused:
    """404: there is no such vector store, or it is somebody else's."""
    return Refused(404, f"There is no vector store {store_id!r}.", "vector_store_not_found", "vector_store_id")


def model_missing(message: str) -> Refused:
    """503: a model is not installed; the message names the command that installs it."""
    return Refused(503, message, "model_missing", type="api_error")
