"""PostgreSQL: what organisations say about their telemetry."""

from collections.abc import Sequence
from typing import Any

from common.events.interaction_queries import PolicyState, PriceRow
from common.events.telemetry_policy import TelemetryPolicy
from common.storage.postgres import Pool, transient
from common.storage.unit_of_work import UnitOfWork
from telemetry.ports import PolicyWrites
from telemetry.price_list import Price

ALL_PRICES = """
SELECT model, extract(epoch FROM valid_from)::float8 AS valid_from, input::float8, output::float8, cached_input::float8
FROM telemetry.prices WHERE org_id = $1
"""
PRICES = f"{ALL_PRICES} ORDER BY model, telemetry.prices.valid_from"
PRICE = f"{ALL_PRICES} AND model = $2 AND telemetry.prices.valid_from = to_timestamp($3)"
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


class PostgresPolicyWrites:
    """The port `PolicyWrites`, on the connection of a unit of work; raises asyncpg's errors, which that sorts."""

    def __init__(self, work: UnitOfWork[PolicyWrites]) -> None:
        self._connection = work.connection
        self._org_id, self._key_id = work.actor.org_id, work.actor.key_id

    async def state(self) -> PolicyState | None:
        row = await self._connection.fetchrow(STATE, self._org_id)
        return None if row is None else _state(row)

    async def change(self, policy: TelemetryPolicy, revision: int | None) -> PolicyState | None:
        row = await self._connection.fetchrow(CHANGE, self._org_id, policy.model_dump_json(), revision, self._key_id)
        return None if row is None else _state(row)

    async def price(self, model: str, valid_from: float) -> Price | None:
        row = await self._connection.fetchrow(PRICE, self._org_id, model, valid_from)
        return None if row is None else Price(*row)

    async def set_price(self, price: PriceRow, most: int) -> bool:
        values = (price.model, price.valid_from, price.input, price.output, price.cached_input)
        status = await self._connection.execute(SET_PRICE, self._org_id, *values, self._key_id, most)
        return bool(status.endswith(" 1"))


def _state(row: Any) -> PolicyState:
    policy = TelemetryPolicy.model_validate_json(row["policy"])
    return PolicyState(
        revision=row["revision"], policy=policy, changed_at=row["changed_at"], changed_by=row["changed_by"]
    )
