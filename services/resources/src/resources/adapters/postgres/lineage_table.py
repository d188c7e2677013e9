"""Which history the database is in, told from what a restore cannot leave as it is."""

import uuid
from collections.abc import Collection, Mapping

import asyncpg

from common.failures import StoreUnavailableError
from common.storage.postgres import Pool, transient
from resources.ports import Lineage

NOW = """
SELECT token, 'resources.outbox'::regclass::oid::bigint AS tables,
    (SELECT last_value FROM resources.outbox_id_seq) AS position
FROM resources.lineage
"""
CLOCKS = """
SELECT o.org_id, greatest(o.clock, l.floor) AS clock FROM resources.organizations o, resources.lineage l
WHERE o.org_id = ANY($1)
"""
BEGIN_ANEW = """
UPDATE resources.lineage SET token = $1,
    floor = greatest(floor, $2, (SELECT coalesce(max(clock), 0) FROM resources.organizations)) + 1
"""


class PostgresLineage:
    """The port `LineageTable`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def now(self) -> Lineage:
        try:
            async with transient():
                row = await self._pool.fetchrow(NOW)
        except asyncpg.UndefinedTableError as error:
            raise StoreUnavailableError("the database is being restored") from error
        if row is None:
            raise StoreUnavailableError("the database is being restored")
        return Lineage(**dict(row))

    async def is_new(self) -> bool:
        async with transient():
            return not await self._pool.fetchval("SELECT EXISTS (SELECT FROM resources.organizations)")

    async def clocks(self, org_ids: Collection[str]) -> Mapping[str, int]:
        async with transient():
            return dict(await self._pool.fetch(CLOCKS, list(org_ids)))

    async def begin_anew(self, above: int) -> None:
        async with transient():
            await self._pool.execute(BEGIN_ANEW, str(uuid.uuid4()), above)
