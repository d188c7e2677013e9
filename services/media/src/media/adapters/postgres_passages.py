"""PostgreSQL with pgvector: the chunks of documents as they are searched."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from common.storage.postgres import Connection, Pool, transient
from media.retrieval.lexical_terms import sparse
from media.retrieval_ports import Candidates, FoundChunk, Sought

# How many neighbours pgvector looks at: of 100,000 chunks it finds 99 in 100 of the nearest.
EF_SEARCH = 100
# A plan made for any values would use no index that is for some of them; a filter that leaves little has the search go
# on until it has found enough.
FOR_NEAREST = f"""
BEGIN READ ONLY; SET LOCAL hnsw.ef_search = {EF_SEARCH}; SET LOCAL hnsw.iterative_scan = strict_order;
SET LOCAL plan_cache_mode = force_custom_plan
"""
WHERE = """
    AND ($3::text[] IS NULL OR {of}.collection = ANY($3)) AND {of}.user_id = ANY($4)
    AND ($5::text[] IS NULL OR {of}.document_id = ANY($5))
    AND ($6::jsonb IS NULL OR {of}.document_id IN (
        SELECT id FROM media.documents WHERE org_id = $1 AND project_id = $2 AND metadata @> $6::jsonb))
"""
LEXICAL = f"""
SELECT id, -(weights <#> $7::sparsevec) AS score FROM (
    SELECT id, weights FROM media.chunks AS c WHERE org_id = $1 AND project_id = $2 AND (terms && $10::integer[]%s)
    {WHERE.format(of="c")} LIMIT $8) AS candidate
ORDER BY score DESC, id LIMIT $9
"""  # noqa: S608
# The number of the first parameter behind those of `LEXICAL`.
FIRST_PAIR = 11
NEAREST = f"""
SELECT chunk_id AS id, 1 - (embedding::halfvec(%(size)d) <=> $8::halfvec(%(size)d)) AS score
FROM media.chunk_vectors AS v WHERE org_id = $1 AND project_id = $2 AND model = $7
{WHERE.format(of="v")} ORDER BY embedding::halfvec(%(size)d) <=> $8::halfvec(%(size)d) LIMIT $9
"""  # noqa: S608
FETCH = """
SELECT c.id, c.document_id, d.name, c.collection, c.version, c.ordinal, c.heading, c.page, c.text, c.start_at, c.end_at,
    d.metadata
FROM media.chunks AS c JOIN media.documents AS d ON d.id = c.document_id
WHERE c.org_id = $1 AND c.project_id = $2 AND c.id = ANY($3::bigint[])
"""
COUNTS = (
    "SELECT term, chunks FROM media.term_counts WHERE org_id = $1 AND project_id = $2 AND term = ANY($3::integer[])"
)
CHUNKS = "SELECT counted FROM media.project_chunks WHERE org_id = $1 AND project_id = $2"
FIRST_MODEL = """
INSERT INTO media.vector_model AS known (model) VALUES ($1)
ON CONFLICT (single) DO UPDATE SET model = known.model RETURNING model
"""


class PostgresPassages:
    """The port `PassageRows`; `dimensions` are those of each model."""

    def __init__(self, pool: Pool, dimensions: Mapping[str, int]) -> None:
        self._pool = pool
        self._dimensions = dimensions

    async def term_counts(self, sought: Sought, terms: Sequence[int]) -> tuple[int, Mapping[int, int]]:
        async with transient(), self._pool.acquire() as connection:
            chunks = await connection.fetchval(CHUNKS, sought.org_id, sought.project_id)
            rows = await connection.fetch(COUNTS, sought.org_id, sought.project_id, list(terms))
        return chunks or 0, {row["term"]: row["chunks"] for row in rows}

    async def lexical(
        self, sought: Sought, groups: Sequence[Candidates], weights: Mapping[int, float], limit: int
    ) -> dict[int, float]:
        common, found = (*_where(sought), sparse(weights)), dict[int, float]()
        async with transient():
            for group in groups:
                given = (*common, group.most, limit, list(group.terms), *map(list, group.pairs))
                found |= _scores(await self._pool.fetch(_lexical(len(group.pairs)), *given))
        return dict(sorted(found.items(), key=lambda each: (-each[1], each[0]))[:limit])

    async def nearest(self, sought: Sought, model: str, vector: str, limit: int) -> dict[int, float]:
        statement = NEAREST % {"size": self._dimensions[model]}
        async with transient(), self._pool.acquire() as connection:
            return _scores(await _searched(connection, statement, (*_where(sought), model, vector, limit)))

    async def fetch(self, sought: Sought, ids: Sequence[int]) -> dict[int, FoundChunk]:
        async with transient():
            rows = await self._pool.fetch(FETCH, sought.org_id, sought.project_id, list(ids))
        return {row["id"]: FoundChunk(**{**dict(row), "metadata": json.loads(row["metadata"])}) for row in rows}

    async def vector_model(self, wanted: str) -> str:
        async with transient():
            model: str = await self._pool.fetchval(FIRST_MODEL, wanted)
        return model


async def _searched(connection: Connection, statement: str, given: tuple[Any, ...]) -> list[Any]:
    await connection.execute(FOR_NEAREST)
    try:
        return await connection.fetch(statement, *given)
    finally:
        await connection.execute("ROLLBACK")


def _lexical(pairs: int) -> str:
    """The statement for candidates with any of some terms, or both of one of so many pairs."""
    return LEXICAL % "".join(f" OR terms @> ${FIRST_PAIR + at}::integer[]" for at in range(pairs))


def _where(sought: Sought) -> tuple[Any, ...]:
    owners = ["", sought.user_id] if sought.user_id else [""]
    metadata = json.dumps(dict(sought.metadata)) if sought.metadata else None
    collections, documents = list(sought.collections) or None, list(sought.document_ids) or None
    return sought.org_id, sought.project_id, collections, owners, documents, metadata


def _scores(rows: Sequence[Any]) -> dict[int, float]:
    return {row["id"]: row["score"] for row in rows}
