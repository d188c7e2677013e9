"""PostgreSQL: batches of files, which are as far as their jobs are."""

from collections.abc import Sequence

from common.events.resource_terms import DEFAULT_PROJECT
from common.storage.postgres import Pool, transient
from media.adapters.postgres_lists import listed_file, read_page
from media.retrieval_ports import Batch, BatchPage, ListedFile, NewBatch

# Jobs are deleted some days after their end, and the rows of files with them.
FORGET = """
DELETE FROM media.file_batches AS b
WHERE org_id = $1 AND NOT EXISTS (SELECT FROM media.file_batch_files WHERE batch_id = b.id)
"""
ADD = """
INSERT INTO media.file_batches (id, org_id, project_id, store_id, files, created_at)
SELECT $1, s.org_id, s.project_id, s.id, $5, $6 FROM media.collections AS s
WHERE s.org_id = $2 AND s.project_id = $3 AND s.id = $4 ON CONFLICT DO NOTHING RETURNING id
"""
ADD_FILES = """
INSERT INTO media.file_batch_files (batch_id, place, asset_id, job_id)
SELECT $1, given.place, given.asset_id, j.id
FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS given (asset_id, job_id, place)
JOIN media.jobs AS j ON j.id = given.job_id
"""
GET = """
SELECT b.id, b.store_id, b.created_at, counted.* FROM media.file_batches AS b
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE j.state IN ('queued', 'running')) AS in_progress,
        count(*) FILTER (WHERE j.state = 'completed') AS completed,
        count(*) FILTER (WHERE j.state = 'failed') AS failed,
        count(*) FILTER (WHERE j.state = 'cancelled') AS cancelled, count(*) AS total
    FROM media.file_batch_files AS f JOIN media.jobs AS j ON j.id = f.job_id WHERE f.batch_id = b.id
) AS counted
WHERE b.org_id = $1 AND b.store_id = $2 AND b.id = $3 AND counted.total = b.files
"""
# What a document is given later stands in its own row.
FILES = """
SELECT f.asset_id, j.state, j.error, j.created_at, coalesce(d.metadata, j.input -> 'metadata') AS metadata,
    coalesce(d.characters, 0) AS characters
FROM media.file_batch_files AS f JOIN media.jobs AS j ON j.id = f.job_id AND j.org_id = $1
LEFT JOIN media.documents AS d ON j.state = 'completed' AND d.org_id = $1 AND d.id = j.input ->> 'document_id'
WHERE f.batch_id = $2 AND j.state = ANY($3::text[])
    AND ($4::text IS NULL OR f.place >
        (SELECT place FROM media.file_batch_files WHERE batch_id = $2 AND asset_id = $4))
    AND ($5::text IS NULL OR f.place <
        (SELECT place FROM media.file_batch_files WHERE batch_id = $2 AND asset_id = $5))
ORDER BY f.place DIRECTION LIMIT $6
"""
JOBS = """
SELECT f.job_id FROM media.file_batch_files AS f JOIN media.file_batches AS b ON b.id = f.batch_id
WHERE b.org_id = $1 AND b.id = $2
"""


class PostgresFileBatches:
    """The port `BatchRows`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, batch: NewBatch) -> None:
        store = (batch.org_id, DEFAULT_PROJECT, batch.store_id)
        async with transient(), self._pool.acquire() as connection, connection.transaction():
            await connection.execute(FORGET, batch.org_id)
            if await connection.fetchval(ADD, batch.id, *store, len(batch.jobs), batch.created_at):
                await connection.execute(ADD_FILES, batch.id, list(batch.jobs), list(batch.jobs.values()))

    async def get(self, org_id: str, store_id: str, batch_id: str) -> Batch | None:
        async with transient():
            row = await self._pool.fetchrow(GET, org_id, store_id, batch_id)
        return None if row is None else Batch(**row)

    async def page(self, wanted: BatchPage) -> tuple[Sequence[ListedFile], bool]:
        rows, more = await read_page(self._pool, wanted, FILES, wanted.org_id, wanted.batch_id, list(wanted.states))
        return [listed_file(row) for row in rows], more

    async def jobs(self, org_id: str, batch_id: str) -> Sequence[str]:
        async with transient():
            return [row["job_id"] for row in await self._pool.fetch(JOBS, org_id, batch_id)]
