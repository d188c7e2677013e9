"""Search in documents."""

from typing import Annotated

from aiohttp import web
from pydantic import Field

from common.events.resource_terms import DEFAULT_PROJECT
from common.events.search import (
    MAX_PASSAGES,
    MAX_QUERY,
    MAX_RERANKED,
    SEARCH_REQUESTED,
    SearchMode,
    SearchRequested,
)
from gateway.deps import DEPS
from gateway.documents.document_bodies import CollectionId, DocumentId, MetadataBody, Owner
from gateway.http.body import read_json
from gateway.http.context import CALLER
from gateway.http.fields import ProjectId, Strict, Whole
from gateway.http.request_reply import answer
from gateway.http.validation import validate

MAX_BODY_BYTES = 256 * 1024
# The first search after a while loads its models.
SEARCH_SECONDS = 20.0


class SearchBody(Strict):
    """A question to documents. `metadata` names values that a document must have; `collections` empty is all.

    Documents of an end user are found with that `user_id` alone. `mode`: by words, by meaning (`vector`), by both
    (`fused`), or by both and with a second look at the best `rerank` passages (`reranked`).
    """

    query: Annotated[str, Field(min_length=1, max_length=MAX_QUERY)]
    k: Annotated[int, Field(ge=1, le=MAX_PASSAGES), Whole] = 10
    mode: SearchMode = "reranked"
    rerank: Annotated[int, Field(ge=1, le=MAX_RERANKED), Whole] = 20
    project_id: ProjectId = DEFAULT_PROJECT
    user_id: Owner = ""
    collections: Annotated[list[CollectionId], Field(default_factory=list, max_length=50, fail_fast=True)]
    document_ids: Annotated[list[DocumentId], Field(default_factory=list, max_length=200, fail_fast=True)]
    metadata: MetadataBody = Field(default_factory=dict)
    explain: bool = False


async def search(request: web.Request) -> web.Response:
    """`POST /v1/search`."""
    body = validate(SearchBody, await read_json(request, max_bytes=MAX_BODY_BYTES))
    wanted = SearchRequested(org_id=request[CALLER].org_id, **body.model_dump())
    return answer(await request.app[DEPS].request_reply.ask(SEARCH_REQUESTED, wanted, timeout=SEARCH_SECONDS))
