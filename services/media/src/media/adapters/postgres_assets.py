"""PostgreSQL: the rows of assets, and what each organisation keeps in all."""

from collections.abc import Mapping, Sequence

from common.failures import Park
from common.storage.postgres import Connection, Pool, transient
from media.ports import Asset

COLUMNS = "id, org_id, kind, job_id, name, content_type, size, sha256, created_at, expires_at"
FRESH = "(expires_at IS NULL OR expires_at > now())"

# The lock on an organisation's total makes its writers take turns, so that they never pass its quota together.
LOCK_TOTAL = """
INSERT INTO media.asset_totals AS total (org_id, assets, bytes) VALUES ($1, 0, 0)
ON CONFLICT (org_id) DO UPDATE SET org_id = total.org_id RETURNING bytes
"""
OLD = "SELECT org_id, size, created_at FROM media.assets WHERE id = $1 FOR UPDATE"
PUT = f"""
INSERT INTO media.assets ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, job_id = excluded.job_id, name = excluded.name,
    content_type = excluded.content_type, size = excluded.size, sha256 = excluded.sha256,
    expires_at = excluded.expires_at
RETURNING {COLUMNS}
"""  # noqa: S608
COUNT = "UPDATE media.asset_totals SET assets = assets + $2, bytes = bytes + $3 WHERE org_id = $1"
REMOVE = """
WITH gone AS (DELETE FROM media.assets WHERE org_id = $1 AND id = $2 RETURNING size),
counted AS (
    UPDATE media.asset_totals SET assets = assets - 1, bytes = bytes - (SELECT size FROM gone)
    WHERE org_id = $1 AND EXISTS (SELECT FROM gone)
)
SELECT count(*) FROM gone
"""
NEWEST_FIRST = f"""
SELECT {COLUMNS} FROM media.assets
WHERE org_id = $1 AND {FRESH}
    AND ($3::text IS NULL
        OR (created_at, id) < (SELECT created_at, id FROM media.assets WHERE org_id = $1 AND id = $3))
    AND ($4::text IS NULL OR job_id = $4) AND ($5::text IS NULL OR kind = $5)
ORDER BY created_at DESC, id DESC LIMIT $2
"""  # noqa: S608
OLDEST_FIRST = NEWEST_FIRST.replace("(created_at, id) <", "(created_at, id) >").replace(" DESC", "")


class PostgresAssets:
    """The port `AssetRows`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, asset: Asset, quota_bytes: int) -> Asset | None:
        async with transient(), self._pool.acquire() as connection, connection.transaction():
            return await _add(connection, asset, quota_bytes)

    async def get(self, org_id: str, asset_id: str) -> Asset | None:
        query = f"SELECT {COLUMNS} FROM media.assets WHERE org_id = $1 AND id = $2 AND {FRESH}"  # noqa: S608
        async with transient():
            row = await self._pool.fetchrow(query, org_id, asset_id)
        return None if row is None else Asset(**row)

    async def page(
        self,
        org_id: str,
        limit: int,
        after: str | None,
        job_id: str | None,
        kind: str | None,
        *,
        oldest_first: bool = False,
    ) -> Sequence[Asset]:
        query = OLDEST_FIRST if oldest_first else NEWEST_FIRST
        async with transient():
            return [Asset(**row) for row in await self._pool.fetch(query, org_id, limit, after, job_id, kind)]

    async def remove(self, org_id: str, asset_id: str) -> bool:
        async with transient():
            return bool(await self._pool.fetchval(REMOVE, org_id, asset_id))

    async def of_job(self, org_id: str, job_id: str) -> Sequence[str]:
        query = "SELECT id FROM media.assets WHERE org_id = $1 AND job_id = $2"
        async with transient():
            return [row["id"] for row in await self._pool.fetch(query, org_id, job_id)]

    async def expired(self, limit: int) -> Sequence[tuple[str, str]]:
        query = "SELECT org_id, id FROM media.assets WHERE expires_at <= now() ORDER BY expires_at LIMIT $1"
        async with transient():
            return [(row["org_id"], row["id"]) for row in await self._pool.fetch(query, limit)]

    async def known(self, ids: Sequence[str]) -> Mapping[str, str]:
        query = "SELECT id, org_id FROM media.assets WHERE id = ANY($1::text[])"
        async with transient():
            return {row["id"]: row["org_id"] for row in await self._pool.fetch(query, list(ids))}


async def _add(connection: Connection, asset: Asset, quota_bytes: int) -> Asset | None:
    total = await connection.fetchval(LOCK_TOTAL, asset.org_id)
    old = await connection.fetchrow(OLD, asset.id)
    if old is not None and old["org_id"] != asset.org_id:
        raise Park(f"asset {asset.id} belongs to another organisation")
    more = asset.size - (0 if old is None else old["size"])
    if more > 0 and total + more > quota_bytes:
        return None
    row = await connection.fetchrow(PUT, *(getattr(asset, name) for name in COLUMNS.split(", ")))
    await connection.execute(COUNT, asset.org_id, int(old is None), more)
    return None if row is None else Asset(**row)
