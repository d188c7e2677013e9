"""PostgreSQL with pgvector: analyses, their items as vectors, and clusters of items."""

from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

import orjson

from common.failures import Park
from common.storage.postgres import Connection, Pool, transient
from media.content_ports import ClusterMade, ClusterRow, Comparable, Item, KeptAnalysis, Loose, Near, ProjectState

COLUMNS = "id, org_id, project, title, media, job_id, created_at, result"
BEGIN = """
INSERT INTO media.analyses (id, org_id, project, title, media, job_id, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (id) DO UPDATE SET project = excluded.project WHERE analyses.org_id = excluded.org_id
RETURNING id
"""
ADD_ITEM = """
INSERT INTO media.analysis_items (id, org_id, project, analysis_id, kind, begin_seconds, end_seconds, picture, model,
    embedding, hash, looks)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::text::halfvec, ('x' || $11::text)::bit(64), $12::text::jsonb)
ON CONFLICT (id) DO NOTHING
"""
TICK = """
INSERT INTO media.analysis_projects AS known (org_id, project, revision) VALUES ($1, $2, 1)
ON CONFLICT (org_id, project) DO UPDATE SET revision = known.revision + 1
"""
MIDDLES = """
SELECT cluster_id, avg(embedding)::text AS middle FROM media.analysis_items
WHERE org_id = $1 AND project = $2 AND kind = $3 AND model = $4 AND cluster_id IS NOT NULL GROUP BY cluster_id
"""
LOOSE = """
SELECT id, embedding::text AS vector, looks::text AS looks FROM media.analysis_items
WHERE org_id = $1 AND project = $2 AND kind = $3 AND model = $4 AND cluster_id IS NULL
ORDER BY created_at DESC, id LIMIT $5
"""
MAKE = """
INSERT INTO media.analysis_clusters (id, org_id, project, kind, model, label, representative, size)
VALUES ($1, $2, $3, $4, $5, $6, $7, 0) ON CONFLICT (id) DO NOTHING
"""
JOIN = "UPDATE media.analysis_items SET cluster_id = $3 WHERE org_id = $1 AND id = ANY($2::text[])"
# The size and the member in the middle, of clusters whose members are others now.
RECOUNT = """
UPDATE media.analysis_clusters AS one SET size = now.size, representative = now.representative
FROM (
    SELECT cluster.id, count(*) AS size, (
        SELECT item.id FROM media.analysis_items AS item WHERE item.cluster_id = cluster.id
        ORDER BY item.embedding <=> (
            SELECT avg(every.embedding)::halfvec FROM media.analysis_items AS every WHERE every.cluster_id = cluster.id
        ), item.id LIMIT 1
    ) AS representative
    FROM media.analysis_clusters AS cluster JOIN media.analysis_items AS member ON member.cluster_id = cluster.id
    WHERE cluster.id = ANY($1::text[]) GROUP BY cluster.id
) AS now WHERE one.id = now.id
"""
DROP_EMPTY = """
DELETE FROM media.analysis_clusters AS cluster WHERE cluster.id = ANY($1::text[])
    AND NOT EXISTS (SELECT FROM media.analysis_items WHERE cluster_id = cluster.id)
"""
CLUSTERS_OF = """
SELECT cluster.id, cluster.kind, cluster.label, cluster.size, cluster.representative,
    array_agg(item.id ORDER BY item.begin_seconds, item.id) AS of_this
FROM media.analysis_items AS item JOIN media.analysis_clusters AS cluster ON cluster.id = item.cluster_id
WHERE item.org_id = $1 AND item.analysis_id = $2 GROUP BY cluster.id ORDER BY cluster.size DESC, cluster.id
"""
DUPLICATES = """
SELECT own.id AS own, other.id AS other, bit_count(own.hash # other.hash)::int AS bits
FROM media.analysis_items AS own JOIN media.analysis_items AS other
    ON other.org_id = own.org_id AND other.project = own.project AND other.kind IN ('shot', 'image')
    AND other.analysis_id <> own.analysis_id AND bit_count(own.hash # other.hash) <= $3
WHERE own.org_id = $1 AND own.analysis_id = $2 AND own.kind IN ('shot', 'image')
ORDER BY bits, own.id, other.id LIMIT 50
"""
# The sweep takes away the bytes of what has expired.
EXPIRE = "UPDATE media.assets SET expires_at = now() WHERE org_id = $1 AND id = ANY($2::text[])"
# What a job made goes with the job; what stands in an analysis does not.
ADOPT = "UPDATE media.assets SET job_id = NULL, expires_at = NULL WHERE org_id = $1 AND id = ANY($2::text[])"
FINISH = "UPDATE media.analyses SET result = $3::text::jsonb, assets = $4 WHERE org_id = $1 AND id = $2"
PAGE = f"""
SELECT {COLUMNS} FROM media.analyses
WHERE org_id = $1 AND result IS NOT NULL
    AND ($3::text IS NULL
        OR (created_at, id) < (SELECT created_at, id FROM media.analyses WHERE org_id = $1 AND id = $3))
    AND ($4::text IS NULL OR project = $4) AND ($5::text IS NULL OR media = $5)
    AND ($6::text IS NULL OR position(lower($6) IN lower(title)) > 0)
ORDER BY created_at DESC, id DESC LIMIT $2
"""  # noqa: S608
SIMILAR = """
SELECT item.id, item.kind, item.analysis_id, item.begin_seconds AS begin, item.end_seconds AS "end", item.picture,
    item.cluster_id, 1 - (item.embedding <=> wanted.embedding) AS similarity,
    bit_count(item.hash # wanted.hash)::int AS hash_distance
FROM media.analysis_items AS wanted JOIN media.analysis_items AS item
    ON item.org_id = wanted.org_id AND item.project = wanted.project AND item.kind = wanted.kind
    AND item.model = wanted.model AND item.id <> wanted.id
WHERE wanted.org_id = $1 AND wanted.id = $2 ORDER BY item.embedding <=> wanted.embedding, item.id LIMIT $3
"""


class PostgresAnalyses:
    """The port `AnalysisRows`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def begin(self, analysis: KeptAnalysis, items: Sequence[Item]) -> None:
        async with transient(), self._pool.acquire() as connection, connection.transaction():
            await _drop_drafts(connection, analysis.org_id, analysis.job_id)
            given = [getattr(analysis, name) for name in COLUMNS.split(", ")[:-1]]
            if await connection.fetchval(BEGIN, *given) is None:
                raise Park(f"analysis {analysis.id} belongs to another organisation")
            await connection.executemany(ADD_ITEM, [_given(analysis, item) for item in items])
            await connection.execute(TICK, analysis.org_id, analysis.project)

    async def state(self, of: Comparable, limit: int) -> ProjectState:
        clock = "SELECT revision FROM media.analysis_projects WHERE org_id = $1 AND project = $2"
        async with (
            transient(),
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            revision = await connection.fetchval(clock, of.org_id, of.project)
            middles = await connection.fetch(MIDDLES, *astuple(of))
            loose = await connection.fetch(LOOSE, *astuple(of), limit)
        return ProjectState(
            revision or 0,
            {row["cluster_id"]: row["middle"] for row in middles},
            [Loose(row["id"], row["vector"], orjson.loads(row["looks"])) for row in reversed(loose)],
        )

    async def regroup(self, of: Comparable, revision: int, made: Sequence[ClusterMade]) -> bool:
        move = """
        UPDATE media.analysis_projects SET revision = revision + 1
        WHERE org_id = $1 AND project = $2 AND revision = $3 RETURNING revision
        """
        async with transient(), self._pool.acquire() as connection, connection.transaction():
            if await connection.fetchval(move, of.org_id, of.project, revision) is None:
                return False
            for each in made:
                if each.label is not None:
                    await connection.execute(MAKE, each.id, *astuple(of), each.label, each.members[0])
                await connection.execute(JOIN, of.org_id, list(each.members), each.id)
            await connection.execute(RECOUNT, [each.id for each in made])
        return True

    async def clusters_of(self, org_id: str, analysis_id: str) -> Sequence[ClusterRow]:
        async with transient():
            return [ClusterRow(**row) for row in await self._pool.fetch(CLUSTERS_OF, org_id, analysis_id)]

    async def duplicates(self, org_id: str, analysis_id: str, most_bits: int) -> Sequence[tuple[str, str, int]]:
        async with transient():
            rows = await self._pool.fetch(DUPLICATES, org_id, analysis_id, most_bits)
        return [(row["own"], row["other"], row["bits"]) for row in rows]

    async def finish(self, analysis: KeptAnalysis, assets: Sequence[str]) -> None:
        result = orjson.dumps(analysis.result).decode()
        async with transient(), self._pool.acquire() as connection, connection.transaction():
            await connection.execute(ADOPT, analysis.org_id, list(assets))
            await connection.execute(FINISH, analysis.org_id, analysis.id, result, list(assets))

    async def get(self, org_id: str, analysis_id: str) -> KeptAnalysis | None:
        query = f"SELECT {COLUMNS} FROM media.analyses WHERE org_id = $1 AND id = $2 AND result IS NOT NULL"  # noqa: S608
        async with transient():
            row = await self._pool.fetchrow(query, org_id, analysis_id)
        return None if row is None else _kept(row)

    async def page(
        self, org_id: str, limit: int, after: str | None, *, project: str | None, media: str | None, text: str | None
    ) -> Sequence[KeptAnalysis]:
        async with transient():
            rows = await self._pool.fetch(PAGE, org_id, limit, after, project, media, text)
        return [_kept(row) for row in rows]

    async def remove(self, org_id: str, analysis_id: str) -> bool:
        async with transient(), self._pool.acquire() as connection, connection.transaction():
            return await _remove(connection, org_id, analysis_id)

    async def drop_drafts(self, org_id: str, job_id: str) -> None:
        async with transient(), self._pool.acquire() as connection, connection.transaction():
            await _drop_drafts(connection, org_id, job_id)

    async def item_model(self, org_id: str, item_id: str) -> str | None:
        query = "SELECT model FROM media.analysis_items WHERE org_id = $1 AND id = $2"
        async with transient():
            found: str | None = await self._pool.fetchval(query, org_id, item_id)
        return found

    async def similar(self, org_id: str, item_id: str, limit: int) -> Sequence[Near]:
        async with transient():
            return [Near(**row) for row in await self._pool.fetch(SIMILAR, org_id, item_id, limit)]

    async def clusters(self, org_id: str, project: str, kind: str | None, limit: int) -> Sequence[ClusterRow]:
        query = """
        SELECT id, kind, label, size, representative FROM media.analysis_clusters
        WHERE org_id = $1 AND project = $2 AND ($3::text IS NULL OR kind = $3) ORDER BY size DESC, id LIMIT $4
        """
        async with transient():
            return [ClusterRow(**row) for row in await self._pool.fetch(query, org_id, project, kind, limit)]


def _given(analysis: KeptAnalysis, item: Item) -> tuple[Any, ...]:
    vector = "[" + ",".join(f"{value:.5g}" for value in item.vector) + "]"
    looks = orjson.dumps(item.looks).decode()
    where = (item.id, analysis.org_id, analysis.project, analysis.id, item.kind)
    return (*where, item.begin, item.end, item.picture, item.model, vector, item.hash, looks)


def _kept(row: Any) -> KeptAnalysis:
    return KeptAnalysis(**{**row, "result": orjson.loads(row["result"])})


async def _drop_drafts(connection: Connection, org_id: str, job_id: str) -> None:
    query = "SELECT id FROM media.analyses WHERE org_id = $1 AND job_id = $2 AND result IS NULL"
    for row in await connection.fetch(query, org_id, job_id):
        await _remove(connection, org_id, row["id"])


async def _remove(connection: Connection, org_id: str, analysis_id: str) -> bool:
    clusters = await connection.fetch(
        "SELECT DISTINCT cluster_id FROM media.analysis_items "
        "WHERE org_id = $1 AND analysis_id = $2 AND cluster_id IS NOT NULL",
        org_id,
        analysis_id,
    )
    gone = await connection.fetchrow(
        "DELETE FROM media.analyses WHERE org_id = $1 AND id = $2 RETURNING project, assets", org_id, analysis_id
    )
    if gone is None:
        return False
    changed = [row["cluster_id"] for row in clusters]
    await connection.execute(RECOUNT, changed)
    await connection.execute(DROP_EMPTY, changed)
    await connection.execute(TICK, org_id, gone["project"])
    await connection.execute(EXPIRE, org_id, gone["assets"])
    return True
