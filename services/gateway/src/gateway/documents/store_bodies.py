"""Vector stores as OpenAI's clients write them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from common.events.search import MAX_PASSAGES, MAX_QUERY
from common.events.vector_stores import STORE_ID, FileStatus, Order
from gateway.documents.document_bodies import MetadataBody, MetadataKey, MetadataText
from gateway.documents.file_views import FILE_ID
from gateway.http.errors import bad_request
from gateway.http.fields import Query, Strict, Whole

MAX_FILES = 100
FileId = Annotated[str, Field(pattern=rf"^{FILE_ID}$")]
StoreName = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]


class AutoChunking(Strict):
    """Chunks are cut as documents are; no other strategy is served."""

    type: Literal["auto"]


class StoreBody(Strict):
    """A new store, with files that go into it at once."""

    name: StoreName | None = None
    description: Annotated[str, Field(max_length=512)] | None = None
    metadata: MetadataBody | None = None
    file_ids: Annotated[list[FileId], Field(default_factory=list, max_length=MAX_FILES, fail_fast=True)]
    chunking_strategy: AutoChunking | None = None
    expires_after: None = None


class StoreEditBody(Strict):
    """What of a store is to change."""

    name: StoreName | None = None
    metadata: MetadataBody | None = None
    expires_after: None = None


class StoreFileBody(Strict):
    """A file that goes into the store; `attributes` are the metadata of its document."""

    file_id: FileId
    attributes: MetadataBody | None = None
    chunking_strategy: AutoChunking | None = None


class StoresQuery(Query):
    """A page between the stores `after` and `before`, the newest first."""

    after: Annotated[str, Field(pattern=rf"^{STORE_ID}$")] | None = None
    before: Annotated[str, Field(pattern=rf"^{STORE_ID}$")] | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    order: Order = "desc"


class StoreFilesQuery(Query):
    """A page between the files `after` and `before`, the newest first; one `filter` of their status."""

    after: Annotated[str, Field(pattern=rf"^{FILE_ID}$")] | None = None
    before: Annotated[str, Field(pattern=rf"^{FILE_ID}$")] | None = None
    filter: FileStatus | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    order: Order = "desc"


class ComparisonFilter(Strict):
    """An attribute has this value."""

    type: Literal["eq"]
    key: MetadataKey
    value: MetadataText | bool | int | float


class CompoundFilter(Strict):
    """All of these hold."""

    type: Literal["and"]
    filters: Annotated[list[ComparisonFilter], Field(min_length=1, max_length=16, fail_fast=True)]


class RankingOptions(Strict):
    """Whether there is a second look (`ranker` `none` leaves it out), and the least score."""

    ranker: Literal["none", "auto", "default-2024-11-15"] = "auto"
    score_threshold: Annotated[float, Field(ge=0, le=1)] = 0.0


class StoreSearchBody(Strict):
    """A question to a store."""

    query: Annotated[str, Field(min_length=1, max_length=MAX_QUERY)] | Annotated[list[str], Field(fail_fast=True)]
    max_num_results: Annotated[int, Field(ge=1, le=MAX_PASSAGES), Whole] = 10
    filters: ComparisonFilter | CompoundFilter | None = None
    ranking_options: RankingOptions | None = None
    rewrite_query: bool = False

    def question(self) -> str:
        """The query as one text; raises Refused 400 for a list that is empty or too long."""
        text = self.query if isinstance(self.query, str) else "\n".join(self.query)
        if not 0 < len(text) <= MAX_QUERY:
            raise bad_request(f"Invalid 'query': 1 to {MAX_QUERY} characters.", "query", "invalid_value")
        return text

    def metadata(self) -> dict[str, str | bool | int | float]:
        """The values that a document must have; raises Refused 400 where one key is to have two."""
        if self.filters is None:
            return {}
        filters = [self.filters] if isinstance(self.filters, ComparisonFilter) else self.filters.filters
        values = {each.key: each.value for each in filters}
        if len(values) < len(filters):
            raise bad_request("Invalid 'filters': each key stands once.", "filters", "invalid_value")
        return values


class FoundText(BaseModel):
    """A piece of a file."""

    type: Literal["text"] = "text"
    text: str


class FoundPiece(BaseModel):
    """A passage, with the file that it is of; `score` is between 0 and 1."""

    file_id: str
    filename: str
    score: float
    attributes: dict[str, Any]
    content: list[FoundText]


class FoundPieces(BaseModel):
    """What a search in a store found."""

    object: Literal["vector_store.search_results.page"] = "vector_store.search_results.page"
    search_query: list[str]
    data: list[FoundPiece]
    has_more: bool = False
    next_page: str | None = None
