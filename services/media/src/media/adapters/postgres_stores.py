"""PostgreSQL: vector stores, which are collections of the project `default`."""

import json
from collections.abc import Sequence
from typing import Any

from common.events.documents import DOCUMENT_KIND
from common.events.resource_terms import DEFAULT_PROJECT
from common.storage.postgres import Pool, transient
from media.retrieval_ports import Store, StoreChange, StoreJob

# Jobs count until their document is there: those that ended well have one.
COLUMNS = f"""
SELECT s.org_id, s.id, s.name, s.metadata, s.created_at, s.used_at,
    (SELECT count(*) FROM media.documents AS d WHERE d.org_id = s.org_id AND d.project_id = s.project_id
        AND d.collection = s.id) AS completed,
    (SELECT coalesce(sum(characters), 0) FROM media.documents AS d WHERE d.org_id = s.org_id
        AND d.project_id = s.project_id AND d.collection = s.id) AS characters,
    jobs.* FROM media.collections AS s
LEFT JOIN LATERAL (
    SELECT count(*) FILTER (WHERE state IN ('queued', 'running')) AS in_progress,
        count(*) FILTER (WHERE state = 'failed') AS failed, count(*) FILTER (WHERE state = 'cancelled') AS cancelled
    FROM media.jobs WHERE org_id = s.org_id AND kind = '{DOCUMENT_KIND}' AND input ->> 'collection' = s.id
) AS jobs ON true
WHERE s.org_id = $1 AND s.project_id = '{DEFAULT_PROJECT}'
"""  # noqa: S608
GET = f"{COLUMNS} AND s.id = $2"
PAGE = f"""
{COLUMNS} AND s.id LIKE 'vs\\_%' AND ($2::text IS NULL OR (s.created_at, s.id) < (
    SELECT created_at, id FROM media.collections WHERE org_id = $1 AND project_id = '{DEFAULT_PROJECT}' AND id = $2))
ORDER BY s.created_at DESC, s.id DESC LIMIT $3
"""  # noqa: S608
CREATE = """
INSERT INTO media.collections (org_id, project_id, id, name, metadata)
VALUES ($1, $2, $3, coalesce($4, ''), coalesce($5::jsonb, '{}')) ON CONFLICT DO NOTHING
"""
CHANGE = """
UPDATE media.collections SET name = coalesce($4, name), metadata = coalesce($5::jsonb, metadata), used_at = now()
WHERE org_id = $1 AND project_id = $2 AND id = $3
"""
REMOVE = "DELETE FROM media.collections WHERE org_id = $1 AND project_id = $2 AND id = $3"
DOCUMENTS = "SELECT id FROM media.documents WHERE org_id = $1 AND project_id = $2 AND collection = $3 LIMIT $4"
JOB = f"""
SELECT state, input, error, created_at FROM media.jobs
WHERE org_id = $1 AND kind = '{DOCUMENT_KIND}' AND input ->> 'document_id' = $2 ORDER BY created_at DESC LIMIT 1
"""  # noqa: S608


class PostgresStores:
    """The port `StoreRows`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def put(self, change: StoreChange) -> Store | None:
        metadata = None if change.metadata is None else json.dumps(dict(change.metadata))
        statement = CREATE if change.create else CHANGE
        given = (change.org_id, DEFAULT_PROJECT, change.id, change.name, metadata)
        async with transient():
            await self._pool.execute(statement, *given)
        return await self.get(change.org_id, change.id)

    async def get(self, org_id: str, store_id: str) -> Store | None:
        async with transient():
            row = await self._pool.fetchrow(GET, org_id, store_id)
        return None if row is None else _store(row)

    async def page(self, org_id: str, after: str | None, limit: int) -> Sequence[Store]:
        async with transient():
            return [_store(row) for row in await self._pool.fetch(PAGE, org_id, after, limit)]

    async def documents(self, org_id: str, store_id: str, limit: int) -> Sequence[str]:
        async with transient():
            rows = await self._pool.fetch(DOCUMENTS, org_id, DEFAULT_PROJECT, store_id, limit)
        return [row["id"] for row in rows]

    async def remove(self, org_id: str, store_id: str) -> bool:
        async with transient():
            done: str = await self._pool.execute(REMOVE, org_id, DEFAULT_PROJECT, store_id)
        return done != "DELETE 0"

    async def job_of(self, org_id: str, document_id: str) -> StoreJob | None:
        async with transient():
            row = await self._pool.fetchrow(JOB, org_id, document_id)
        if row is None:
            return None
        given, error = json.loads(row["input"]), json.loads(row["error"] or "null")
        return StoreJob(row["state"], given.get("asset_id"), given.get("metadata") or {}, error, row["created_at"])


def _store(row: Any) -> Store:
    return Store(**{**dict(row), "metadata": json.loads(row["metadata"])})
