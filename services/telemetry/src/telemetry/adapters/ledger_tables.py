"""PostgreSQL: the ledger, and what became of batches."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from common.storage.postgres import Pool, transient

BATCH = """
SELECT ids, positions, sampled_out, repeated, parked FROM telemetry.batches
WHERE day = $1 AND batch_id = $2 AND org_id = $3
"""
# What a process says it has accepted, and what came of it: the larger number is what was.
HOURS = """
WITH accepted AS (
    SELECT org_id, hour, sum(greatest(confirmed, arrived))::bigint AS accepted
    FROM telemetry.tallies
    WHERE ($1::text IS NULL OR org_id = $1) AND hour >= $2 AND hour < $3
    GROUP BY org_id, hour
)
SELECT hour, coalesce(accepted, 0) AS accepted, coalesce(stored, 0) AS stored, coalesce(sampled_out, 0) AS sampled_out,
    coalesce(parked, 0) AS parked, coalesce(repeated, 0) AS repeated
FROM accepted FULL JOIN (
    SELECT * FROM telemetry.ledger WHERE ($1::text IS NULL OR org_id = $1) AND hour >= $2 AND hour < $3
) AS became USING (org_id, hour)
ORDER BY hour
"""
FORGET = ("DELETE FROM telemetry.ledger WHERE hour < $1", "DELETE FROM telemetry.tallies WHERE hour < $1")

Row = Mapping[str, Any]


class PostgresLedger:
    """The port `LedgerBook`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def batch(self, org_id: str, day: date, batch_id: str) -> Row | None:
        async with transient():
            return await self._pool.fetchrow(BATCH, day, batch_id, org_id)

    async def hours(self, org_id: str | None, first: int, last: int) -> Sequence[Row]:
        async with transient():
            return await self._pool.fetch(HOURS, org_id, first, last)

    async def forget(self, before: int) -> None:
        async with transient():
            for statement in FORGET:
                await self._pool.execute(statement, before)
