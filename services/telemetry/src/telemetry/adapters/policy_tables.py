"""PostgreSQL: what organisations say about their telemetry."""

from collections.abc import Sequence

from common.storage.postgres import Pool, transient
from telemetry.price_list import Price

PRICES = """
SELECT model, extract(epoch FROM valid_from)::float8 AS valid_from, input::float8, output::float8, cached_input::float8
FROM telemetry.prices WHERE org_id = $1
"""


class PostgresPolicies:
    """The port `Policies`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def policy(self, org_id: str) -> bytes | None:
        async with transient():
            written = await self._pool.fetchval("SELECT policy FROM telemetry.policies WHERE org_id = $1", org_id)
        return None if written is None else str(written).encode()

    async def prices(self, org_id: str) -> Sequence[Price]:
        async with transient():
            return [Price(*row) for row in await self._pool.fetch(PRICES, org_id)]
