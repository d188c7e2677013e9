"""Search: words and vectors side by side, one order of both, and a second look at the best."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from common.events.search import Passage, SearchMode, SearchRequested, SearchResults, StageScores
from media.metrics import SEARCH_SECONDS, SEARCHES
from media.retrieval.lexical_terms import rarity, term_id, terms_of
from media.retrieval.score_fusion import fused, logit, reranked
from media.retrieval_ports import Encoder, FoundChunk, PassageRows, Reranker, Sought, model_missing
from media.search.lexical_candidates import candidates_of

# Of each stage; a passage that is in neither is nobody's best.
STAGE_LIMIT = 100


@dataclass(slots=True)
class _Search:
    """One search under way: what each stage found, and how long it took."""

    wanted: SearchRequested
    sought: Sought
    lexical: dict[int, float] = field(default_factory=dict)
    vector: dict[int, float] = field(default_factory=dict)
    fused: dict[int, float] = field(default_factory=dict)
    rerank: dict[int, float] = field(default_factory=dict)
    mixed: dict[int, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    terms: dict[str, float] = field(default_factory=dict)

    def took(self, stage: str, since: float) -> None:
        self.seconds[stage] = round(time.perf_counter() - since, 6)
        SEARCH_SECONDS.labels(stage).observe(self.seconds[stage])


class PassageSearch:
    """Finds passages. Raises Refused where a model is missing, ProviderDown, and StoreUnavailableError."""

    def __init__(
        self, rows: PassageRows, encoders: Mapping[str, Encoder], wanted: str, reranker: Reranker | None
    ) -> None:
        """`wanted` names the encoder of a store that is empty; another one may be in use until vectors are remade."""
        self._rows = rows
        self._encoders = encoders
        self._wanted = wanted
        self._reranker = reranker

    async def search(self, wanted: SearchRequested) -> SearchResults:
        """The best passages. Where no reranker is configured, `reranked` is `fused`, and says so."""
        began = time.perf_counter()
        search = _Search(wanted, sought_by(wanted))
        mode = "fused" if wanted.mode == "reranked" and self._reranker is None else wanted.mode
        model = await self._stages(search, mode)
        order = _order(search, mode)
        best = max(wanted.k, wanted.rerank) if mode == "reranked" else wanted.k
        since = time.perf_counter()
        found = await self._rows.fetch(search.sought, order[:best])
        search.took("fetch", since)
        order = [id for id in order[:best] if id in found]
        if mode == "reranked":
            order = await self._second_look(search, order, found)
        search.took("total", began)
        passages = tuple(_passage(found[id], search, mode) for id in order[: wanted.k])
        SEARCHES.labels(mode, "hit" if passages else "miss").inc()
        return SearchResults(
            object="search.results",
            mode=mode,
            model=model,
            data=passages,
            seconds=search.seconds,
            explanation=_explanation(search) if wanted.explain else None,
        )

    async def _stages(self, search: _Search, mode: SearchMode) -> str | None:
        """Words and vectors at the same time; returns the model of the vectors."""
        if mode == "lexical":
            await self._lexical(search)
            return None
        if mode == "vector":
            return await self._vector(search)
        words = asyncio.create_task(self._lexical(search))
        try:
            model = await self._vector(search)
            await words
        finally:
            words.cancel()
        search.fused = fused(search.lexical, search.vector)
        return model

    async def _lexical(self, search: _Search) -> None:
        since = time.perf_counter()
        scope = search.sought.scope
        numbers = {term_id(scope, term): term for term in terms_of(search.wanted.query)}
        if numbers:
            chunks, counts = await self._rows.term_counts(search.sought, list(numbers))
            weights = {number: rarity(counts.get(number, 0), chunks) for number in numbers}
            groups = candidates_of(numbers, counts, chunks)
            search.lexical = await self._rows.lexical(search.sought, groups, weights, STAGE_LIMIT)
            search.terms = {term: round(weights[number], 4) for number, term in numbers.items()}
        search.took("lexical", since)

    async def _vector(self, search: _Search) -> str:
        since = time.perf_counter()
        model = await self._rows.vector_model(self._wanted)
        if model not in self._encoders:
            raise model_missing(
                f"The vectors are still those of {model}, which is configured no more: they are remade."
            )
        vector = await self._encoders[model].question(search.wanted.org_id, search.wanted.query)
        search.took("embed", since)
        since = time.perf_counter()
        search.vector = await self._rows.nearest(search.sought, model, vector, STAGE_LIMIT)
        search.took("vector", since)
        return model

    async def _second_look(self, search: _Search, order: Sequence[int], found: Mapping[int, FoundChunk]) -> list[int]:
        """The same passages, in the order of both stages and the reranker."""
        if self._reranker is None or not order:
            return list(order)
        since = time.perf_counter()
        texts = [_read(found[id]) for id in order]
        likely = await self._reranker.rerank(search.wanted.org_id, search.wanted.query, texts)
        search.took("rerank", since)
        search.rerank = dict(zip(order, likely, strict=True))
        search.mixed = reranked(search.fused, {id: logit(value) for id, value in search.rerank.items()})
        return sorted(order, key=lambda id: -search.mixed[id])


def sought_by(wanted: SearchRequested) -> Sought:
    """Where a request is to be looked for."""
    return Sought(
        wanted.org_id,
        wanted.project_id,
        wanted.user_id,
        wanted.collections,
        wanted.document_ids,
        wanted.metadata,
    )


def _order(search: _Search, mode: SearchMode) -> list[int]:
    scores = {"lexical": search.lexical, "vector": search.vector}.get(mode, search.fused)
    return sorted(scores, key=lambda id: (-scores[id], id))


def _read(chunk: FoundChunk) -> str:
    return f"{chunk.heading}\n{chunk.text}" if chunk.heading else chunk.text


def _passage(chunk: FoundChunk, search: _Search, mode: SearchMode) -> Passage:
    scores = StageScores(
        lexical=search.lexical.get(chunk.id),
        vector=search.vector.get(chunk.id),
        fused=search.fused.get(chunk.id),
        rerank=search.rerank.get(chunk.id),
    )
    stages = {"lexical": search.lexical, "vector": search.vector, "fused": search.fused, "reranked": search.mixed}
    return Passage(
        id=f"chk_{chunk.id}",
        document_id=chunk.document_id,
        document=chunk.name,
        collection=chunk.collection,
        version=chunk.version,
        ordinal=chunk.ordinal,
        heading=chunk.heading,
        page=chunk.page,
        text=chunk.text,
        start=chunk.start_at,
        end=chunk.end_at,
        metadata=dict(chunk.metadata),
        score=stages[mode][chunk.id],
        scores=scores,
    )


def _explanation(search: _Search) -> dict[str, Any]:
    return {
        "terms": search.terms,
        "lexical_found": len(search.lexical),
        "vector_found": len(search.vector),
        "reranked": len(search.rerank),
    }
