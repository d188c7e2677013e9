"""PostgreSQL: what organisations say about their telemetry."""

from collections.abc import Sequence
from typing import Any

from common.events.interaction_queries import PolicyState, PriceRow
from common.events.telemetry_policy import TelemetryPolicy
from common.storage.postgres import Pool, transient
from telemetry.price_list import Price

PRICES = """
SELECT model, extract(epoch FROM valid_from)::float8 AS valid_from, input::float8, output::float8, cached_input::float8
FROM telemetry.prices WHERE org_id = $1 ORDER BY model, telemetry.prices.valid_from
"""
STATE = """
SELECT revision, policy, extract(epoch FROM changed_at)::float8 AS changed_at, changed_by
FROM telemetry.policies WHERE org_id = $1
"""
CHANGE = """
INSERT INTO telemetry.policies AS known (org_id, policy, revision, changed_by)
SELECT $1, $2, 1, $4 WHERE coalesce($3::bigint, 0) = 0
    OR EXISTS (SELECT FROM telemetry.policies WHERE org_id = $1)
ON CONFLICT (org_id) DO UPDATE SET
    policy = excluded.policy, revision = known.revision + 1, changed_by = excluded.changed_by, changed_at = now()
    WHERE $3::bigint IS NULL OR known.revision = $3
RETURNING revision, policy, extract(epoch FROM changed_at)::float8 AS changed_at, changed_by
"""
SET_PRICE = """
INSERT INTO telemetry.prices (org_id, model, valid_from, input, output, cached_input, changed_by)
SELECT $1, $2, to_timestamp($3), $4::float8::numeric, $5::float8::numeric, $6::float8::numeric, $7
WHERE (SELECT count(*) FROM telemetry.prices WHERE org_id = $1) < $8
    OR EXISTS (SELECT FROM telemetry.prices WHERE org_id = $1 AND model = $2 AND valid_from = to_timestamp($3))
ON CONFLICT (org_id, model, valid_from) DO UPDATE SET
    input = excluded.input, output = excluded.output, cached_input = excluded.cached_input,
    changed_by = excluded.changed_by, changed_at = now()
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

    async def state(self, org_id: str) -> PolicyState | None:
        async with transient():
            row = await self._pool.fetchrow(STATE, org_id)
        return None if row is None else _state(row)

    async def change(
        self, org_id: str, policy: TelemetryPolicy, revision: int | None, key_id: str
    ) -> PolicyState | None:
        async with transient():
            row = await self._pool.fetchrow(CHANGE, org_id, policy.model_dump_json(), revision, key_id)
        return None if row is None else _state(row)

    async def set_price(self, org_id: str, price: PriceRow, key_id: str, most: int) -> bool:
        values = (price.model, price.valid_from, price.input, price.output, price.cached_input)
        async with transient():
            status = await self._pool.execute(SET_PRICE, org_id, *values, key_id, most)
        return bool(status.endswith(" 1"))


def _state(row: Any) -> PolicyState:
    policy = TelemetryPolicy.model_validate_json(row["policy"])
    return PolicyState(
        revision=row["revision"], policy=policy, changed_at=row["changed_at"], changed_by=row["changed_by"]
    )
