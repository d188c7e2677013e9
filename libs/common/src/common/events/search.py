"""Search: a question to the documents of an organisation, and the passages that fit."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from common.events.documents import Metadata
from common.events.media_topics import MEDIA_QUERIES
from common.events.reply import ReplyBody
from common.events.resource_terms import DEFAULT_PROJECT
from common.events.spec import Payload, query

SearchMode = Literal["lexical", "vector", "fused", "reranked"]
MAX_QUERY = 4000
MAX_PASSAGES = 50
# Beyond these the reranker takes longer than anybody talks to waits.
MAX_RERANKED = 50


class SearchRequested(Payload):
    """A question. `collections` empty is all of the project; `metadata` names values that a document must have.

    Documents of an end user are found with that `user_id` alone, those of nobody by everybody. In the mode `reranked`
    the best `rerank` passages are looked at once more. `explain` has the answer tell what was looked for.
    """

    org_id: str
    project_id: str = DEFAULT_PROJECT
    user_id: str = ""
    query: str
    collections: Annotated[tuple[str, ...], Field(fail_fast=True)] = ()
    document_ids: Annotated[tuple[str, ...], Field(fail_fast=True)] = ()
    metadata: Metadata = Field(default_factory=dict)
    k: int = 10
    mode: SearchMode = "reranked"
    rerank: int = 20
    explain: bool = False


class StageScores(ReplyBody):
    """What each stage said of a passage; None where it did not find it, or was not asked.

    `lexical` is BM25, `vector` the cosine, `fused` the sum of both in standard deviations, `rerank` between 0 and 1.
    """

    lexical: float | None = None
    vector: float | None = None
    fused: float | None = None
    rerank: float | None = None


class Passage(ReplyBody):
    """A piece of a document: characters `start` to `end` of its text. `score` is that of the last stage.

    `heading` names the headings above it, outermost first, joined by ` > `; `page` counts from 1.
    """

    id: str
    document_id: str
    document: str
    collection: str
    version: int
    ordinal: int
    heading: str
    page: int | None
    text: str
    start: int
    end: int
    metadata: dict[str, str | bool | int | float]
    score: float
    scores: StageScores


class SearchResults(ReplyBody):
    """Passages, the best first. `seconds` is what each stage took; `model` made the vectors."""

    object: Literal["search.results"]
    mode: SearchMode
    model: str | None
    data: tuple[Passage, ...]
    seconds: Mapping[str, float]
    explanation: Mapping[str, Any] | None = None


SEARCH_REQUESTED = query(
    type="search.requested",
    payload=SearchRequested,
    reply=SearchResults,
    topic=MEDIA_QUERIES,
    key=lambda query: query.org_id,
    summary="Answer with the passages of documents that fit a question.",
)
