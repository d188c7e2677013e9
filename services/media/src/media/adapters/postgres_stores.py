"""PostgreSQL: vector stores, which are collections of the project `default`."""

import json
from collections.abc import Sequence
from typing import Any

from common.events.documents import DOCUMENT_KIND
from common.events.resource_terms import DEFAULT_PROJECT
from common.events.vector_stores import STORE_ID
from common.storage.postgres import Pool, transient
from media.adapters.postgres_documents import removed
from media.adapters.postgres_lists import listed_file, read_page
from media.adapters.struck_files import DOCUMENT, STRUCK, note_struck
from media.retrieval_ports import ListedFile, Store, StoreChange, StoreFilePage, StorePage

OF_PROJECT = f"org_id = $1 AND project_id = '{DEFAULT_PROJECT}'"
STORE = f"SELECT * FROM media.collections WHERE {OF_PROJECT} AND id = $2"  # noqa: S608
STORES = f"""
SELECT * FROM media.collections WHERE {OF_PROJECT} AND id ~ '^{STORE_ID}$'
    AND ($2::text IS NULL OR (created_at, id) > (
        SELECT created_at, id FROM media.collections WHERE {OF_PROJECT} AND id = $2))
    AND ($3::text IS NULL OR (created_at, id) < (
        SELECT created_at, id FROM media.collections WHERE {OF_PROJECT} AND id = $3))
ORDER BY created_at DIRECTION, id DIRECTION LIMIT $4
"""  # noqa: S608
# As the indexes of jobs have it.
COLLECTION = "left(j.input ->> 'collection', 100)"


# A job stands for its file until the document is there, a later job is to make it, or the file is taken out.
STANDS = f"""
NOT {STRUCK} AND NOT EXISTS (SELECT FROM media.documents AS d WHERE d.org_id = j.org_id AND d.id = {DOCUMENT})
        AND NOT EXISTS (
            SELECT FROM media.jobs AS later
            WHERE later.org_id = j.org_id AND later.kind = '{DOCUMENT_KIND}'
                AND left(later.input ->> 'document_id', 100) = {DOCUMENT}
                AND (later.created_at, later.id) > (j.created_at, j.id))
"""  # noqa: S608


def _counted(stores: str) -> str:
    """Stores with how many files are where."""
    return f"""
SELECT s.org_id, s.id, s.name, s.metadata, s.created_at, s.used_at,
    (SELECT count(*) FROM media.documents AS d WHERE d.org_id = s.org_id AND d.project_id = s.project_id
        AND d.collection = s.id) AS completed,
    (SELECT coalesce(sum(characters), 0) FROM media.documents AS d WHERE d.org_id = s.org_id
        AND d.project_id = s.project_id AND d.collection = s.id) AS characters,
    jobs.* FROM ({stores}) AS s
LEFT JOIN LATERAL (
    SELECT count(*) FILTER (WHERE state IN ('queued', 'running')) AS in_progress,
        count(*) FILTER (WHERE state = 'failed') AS failed, count(*) FILTER (WHERE state = 'cancelled') AS cancelled
    FROM media.jobs AS j
    WHERE org_id = s.org_id AND kind = '{DOCUMENT_KIND}' AND state <> 'completed' AND {COLLECTION} = s.id AND {STANDS}
) AS jobs ON true
"""  # noqa: S608


GET = _counted(STORE)
PAGE = f"{_counted(STORES)} ORDER BY s.created_at DIRECTION, s.id DIRECTION"
CREATE = """
INSERT INTO media.collections (org_id, project_id, id, name, metadata)
VALUES ($1, $2, $3, coalesce($4, ''), coalesce($5::jsonb, '{}')) ON CONFLICT DO NOTHING
"""
CHANGE = """
UPDATE media.collections SET name = coalesce($4, name), metadata = coalesce($5::jsonb, metadata), used_at = now()
WHERE org_id = $1 AND project_id = $2 AND id = $3
"""
HOLD = "SELECT FROM media.collections WHERE org_id = $1 AND project_id = $2 AND id = $3 FOR UPDATE"
REMOVE = "DELETE FROM media.collections WHERE org_id = $1 AND project_id = $2 AND id = $3"
DOCUMENTS = "SELECT id FROM media.documents WHERE org_id = $1 AND project_id = $2 AND collection = $3 LIMIT $4"
JOB_OF_PROJECT = f"""
j.org_id = $1 AND j.kind = '{DOCUMENT_KIND}'
    AND coalesce(j.input ->> 'project_id', '{DEFAULT_PROJECT}') = '{DEFAULT_PROJECT}'
"""
JOBS = f"""
SELECT id FROM media.jobs AS j
WHERE {JOB_OF_PROJECT} AND {COLLECTION} = $2 AND state <> 'completed' AND state IN ('queued', 'running') AND NOT cancel
LIMIT $3
"""  # noqa: S608
# Of a file that is no document yet; those that have ended are told of as well.
JOBS_OF_FILE = f"""
SELECT id, state IN ('queued', 'running') AS is_open FROM media.jobs AS j
WHERE {JOB_OF_PROJECT} AND {COLLECTION} = $2 AND {DOCUMENT} = $3 AND state <> 'completed' AND NOT {STRUCK}
"""  # noqa: S608
FILE = """
j.input ->> 'asset_id' AS asset_id, j.state, j.error, j.input -> 'metadata' AS metadata, 0 AS characters, j.created_at
"""
JOB = f"""
SELECT {FILE} FROM media.jobs AS j
WHERE {JOB_OF_PROJECT} AND {DOCUMENT} = $2
    AND EXISTS (SELECT FROM media.collections WHERE {OF_PROJECT} AND id = {COLLECTION}) AND NOT {STRUCK}
ORDER BY j.created_at DESC, j.id DESC LIMIT 1
"""  # noqa: S608


def _place(document: str) -> str:
    """Where in the list a document is, or was: it is as old as the job that made it."""
    return f"""
SELECT created_at, id FROM (
    SELECT 1 AS turn, created_at, id FROM media.documents WHERE org_id = $1 AND id = {document}
    UNION ALL
    SELECT 2, created_at, {DOCUMENT} FROM media.jobs AS j WHERE {JOB_OF_PROJECT} AND {DOCUMENT} = {document}
) AS places ORDER BY turn, created_at DESC LIMIT 1
"""  # noqa: S608


# A file is an asset under its own name that is no end user's: other documents of the collection have no id of a file.
FILES = f"""
WITH low AS ({_place("$4")}), high AS ({_place("$5")})
(
    SELECT asset_id, 'completed' AS state, NULL::jsonb AS error, metadata, characters, created_at, id
    FROM media.documents
    WHERE {OF_PROJECT} AND collection = $2 AND user_id = '' AND name = asset_id AND 'completed' = ANY($3::text[])
        AND ($4::text IS NULL OR (created_at, id) > (SELECT created_at, id FROM low))
        AND ($5::text IS NULL OR (created_at, id) < (SELECT created_at, id FROM high))
    ORDER BY created_at DIRECTION, id DIRECTION LIMIT $6
) UNION ALL (
    SELECT {FILE}, {DOCUMENT} AS id
    FROM media.jobs AS j
    WHERE {JOB_OF_PROJECT} AND {COLLECTION} = $2 AND j.state <> 'completed' AND j.state = ANY($3::text[])
        AND coalesce(j.input ->> 'user_id', '') = '' AND j.input ->> 'name' = j.input ->> 'asset_id'
        AND ($4::text IS NULL OR (j.created_at, {DOCUMENT}) > (SELECT created_at, id FROM low))
        AND ($5::text IS NULL OR (j.created_at, {DOCUMENT}) < (SELECT created_at, id FROM high))
        AND {STANDS}
    ORDER BY j.created_at DIRECTION, {DOCUMENT} DIRECTION LIMIT $6
) ORDER BY created_at DIRECTION, id DIRECTION LIMIT $6
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

    async def page(self, wanted: StorePage) -> tuple[Sequence[Store], bool]:
        rows, more = await read_page(self._pool, wanted, PAGE, wanted.org_id)
        return [_store(row) for row in rows], more

    async def files(self, wanted: StoreFilePage) -> tuple[Sequence[ListedFile], bool]:
        rows, more = await read_page(self._pool, wanted, FILES, wanted.org_id, wanted.store_id, list(wanted.states))
        return [listed_file(row) for row in rows], more

    async def documents(self, org_id: str, store_id: str, limit: int) -> Sequence[str]:
        async with transient():
            rows = await self._pool.fetch(DOCUMENTS, org_id, DEFAULT_PROJECT, store_id, limit)
        return [row["id"] for row in rows]

    async def jobs(self, org_id: str, store_id: str, limit: int) -> Sequence[str]:
        async with transient():
            rows = await self._pool.fetch(JOBS, org_id, store_id, limit)
        return [row["id"] for row in rows]

    async def remove(self, org_id: str, store_id: str) -> bool:
        store = (org_id, DEFAULT_PROJECT, store_id)
        async with transient(), self._pool.acquire() as connection, connection.transaction():
            # Whoever takes a document in holds the store too: what was taken in first is seen here, nothing follows.
            await connection.execute(HOLD, *store)
            if await connection.fetchrow(DOCUMENTS, *store, 1) is not None:
                return False
            await connection.execute(REMOVE, *store)
        return True

    async def strike(self, org_id: str, store_id: str, document_id: str) -> Sequence[str] | None:
        async with transient(), self._pool.acquire() as connection, connection.transaction():
            # As in `remove`.
            if await connection.fetchrow(HOLD, org_id, DEFAULT_PROJECT, store_id) is None:
                return None
            jobs = await connection.fetch(JOBS_OF_FILE, org_id, store_id, document_id)
            if not await removed(connection, org_id, document_id) and not jobs:
                return None
            await note_struck(connection, org_id, document_id)
        return [job["id"] for job in jobs if job["is_open"]]

    async def job_of(self, org_id: str, document_id: str) -> ListedFile | None:
        async with transient():
            row = await self._pool.fetchrow(JOB, org_id, document_id)
        return None if row is None else listed_file(row)


def _store(row: Any) -> Store:
    return Store(**{**dict(row), "metadata": json.loads(row["metadata"])})
