"""Endpoints and deliveries of webhooks in PostgreSQL."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg
import orjson

from common.events.webhook_endpoints import MAX_SHOWN_ATTEMPTS, DeliveryState
from common.storage.postgres import Executor, Pool, transient
from media.webhook_ports import Delivery, Due, Endpoint

ENDPOINT = (
    "id, org_id, url, description, events, state, disabled_reason, signing, sealed_secret, public_key,"
    " sealed_old_secret, old_public_key, old_secret_until, created_at, rotated_at, failing_since"
)
DELIVERY = "id, endpoint_id, message_id, type, state, created_at, attempts_made, next_at, delivered_at"
# Without a single success for so long, an endpoint is switched off.
DEAD_AFTER = "interval '5 days'"

CLAIM = f"""
WITH due AS (
    SELECT found.id FROM media.webhook_endpoints AS endpoint
    LEFT JOIN unnest($3::text[], $4::int[]) AS busy (id, count) ON busy.id = endpoint.id
    CROSS JOIN LATERAL (
        SELECT id FROM media.webhook_deliveries
        WHERE endpoint_id = endpoint.id AND state = 'pending' AND next_at <= now()
        ORDER BY next_at LIMIT greatest(0, $2 - coalesce(busy.count, 0)) FOR UPDATE SKIP LOCKED
    ) AS found
    WHERE endpoint.state = 'enabled' LIMIT $1
)
UPDATE media.webhook_deliveries AS delivery SET next_at = now() + make_interval(secs => $5)
FROM due, media.webhook_endpoints AS endpoint
WHERE delivery.id = due.id AND endpoint.id = delivery.endpoint_id
RETURNING delivery.id AS delivery_id, delivery.message_id, delivery.body, delivery.tries,
    {", ".join("endpoint." + column.strip() for column in ENDPOINT.split(","))}
"""  # noqa: S608
SETTLE = f"""
UPDATE media.webhook_deliveries SET state = $2, attempts_made = attempts_made + 1, tries = tries + 1,
    next_at = CASE WHEN $2 = 'pending' THEN now() + make_interval(secs => $3) END,
    delivered_at = CASE WHEN $2 = 'delivered' THEN now() ELSE delivered_at END,
    attempts = CASE WHEN jsonb_array_length(attempts) < {MAX_SHOWN_ATTEMPTS} THEN attempts ELSE attempts - 0 END
        || $4::jsonb
WHERE id = $1
"""  # noqa: S608
NOTE_SUCCESS = "UPDATE media.webhook_endpoints SET failing_since = NULL WHERE id = $1 AND failing_since IS NOT NULL"
NOTE_FAILURE = f"""
UPDATE media.webhook_endpoints SET failing_since = coalesce(failing_since, now()),
    state = CASE WHEN $2::text IS NOT NULL OR ($4 AND failing_since < now() - {DEAD_AFTER})
        THEN 'disabled' ELSE state END,
    disabled_reason = CASE WHEN $2::text IS NOT NULL THEN $2
        WHEN $4 AND failing_since < now() - {DEAD_AFTER} THEN $3 ELSE disabled_reason END
WHERE id = $1 AND state = 'enabled' RETURNING state
"""  # noqa: S608


class PostgresWebhookTables:
    """The port `WebhookTables`, on a connection or on whichever one of the pool is free."""

    def __init__(self, executor: Executor, org_id: str) -> None:
        self._db = executor
        self._org_id = org_id

    async def endpoint(self, id: str) -> Endpoint | None:
        async with transient():
            row = await self._db.fetchrow(
                f"SELECT {ENDPOINT} FROM media.webhook_endpoints WHERE org_id = $1 AND id = $2",  # noqa: S608
                self._org_id,
                id,
            )
        return None if row is None else Endpoint(**dict(row))

    async def endpoints(self) -> Sequence[Endpoint]:
        async with transient():
            rows = await self._db.fetch(
                f"SELECT {ENDPOINT} FROM media.webhook_endpoints WHERE org_id = $1 ORDER BY created_at, id",  # noqa: S608
                self._org_id,
            )
        return [Endpoint(**dict(row)) for row in rows]

    async def insert(self, endpoint: Endpoint) -> None:
        columns = [column.strip() for column in ENDPOINT.split(",")]
        places = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
        async with transient():
            await self._db.execute(
                f"INSERT INTO media.webhook_endpoints ({ENDPOINT}) VALUES ({places})",  # noqa: S608
                *(getattr(endpoint, column) for column in columns),
            )

    async def update(self, endpoint: Endpoint) -> None:
        columns = [column.strip() for column in ENDPOINT.split(",")][2:]
        changes = ", ".join(f"{column} = ${number}" for number, column in enumerate(columns, 3))
        async with transient():
            await self._db.execute(
                f"UPDATE media.webhook_endpoints SET {changes} WHERE org_id = $1 AND id = $2",  # noqa: S608
                self._org_id,
                endpoint.id,
                *(getattr(endpoint, column) for column in columns),
            )

    async def delete(self, id: str) -> None:
        async with transient():
            await self._db.execute(
                "DELETE FROM media.webhook_endpoints WHERE org_id = $1 AND id = $2", self._org_id, id
            )

    async def delivery(self, id: str) -> Delivery | None:
        async with transient():
            row = await self._db.fetchrow(
                f"SELECT {DELIVERY}, attempts FROM media.webhook_deliveries WHERE org_id = $1 AND id = $2",  # noqa: S608
                self._org_id,
                id,
            )
        return None if row is None else _delivery(row, orjson.loads(row["attempts"]))

    async def deliveries(
        self, *, endpoint_id: str | None, state: DeliveryState | None, after: str | None, limit: int
    ) -> Sequence[Delivery]:
        async with transient():
            rows = await self._db.fetch(
                f"SELECT {DELIVERY} FROM media.webhook_deliveries WHERE org_id = $1"  # noqa: S608
                " AND ($2::text IS NULL OR endpoint_id = $2) AND ($3::text IS NULL OR state = $3)"
                " AND ($4::text IS NULL OR number <"
                " (SELECT number FROM media.webhook_deliveries WHERE org_id = $1 AND id = $4))"
                " ORDER BY number DESC LIMIT $5",
                self._org_id,
                endpoint_id,
                state,
                after,
                limit,
            )
        return [_delivery(row, ()) for row in rows]

    async def add(self, message_id: str, type: str, body: bytes, *, named: str | None = None) -> int:
        async with transient():
            done: str = await self._db.execute(
                "INSERT INTO media.webhook_deliveries (id, org_id, endpoint_id, message_id, type, body, state, next_at)"
                " SELECT 'whd_' || replace(gen_random_uuid()::text, '-', ''), $1, id, $2, $3, $4, 'pending', now()"
                " FROM media.webhook_endpoints WHERE org_id = $1 AND state = 'enabled'"
                " AND ($3 = ANY (events) OR id = $5) ON CONFLICT (endpoint_id, message_id) DO NOTHING",
                self._org_id,
                message_id,
                type,
                body,
                named,
            )
        return int(done.rpartition(" ")[2])

    async def add_to(self, endpoint_id: str, message_id: str, type: str, body: bytes) -> str:
        id = f"whd_{uuid.uuid4().hex}"
        async with transient():
            await self._db.execute(
                "INSERT INTO media.webhook_deliveries (id, org_id, endpoint_id, message_id, type, body, state, next_at)"
                " VALUES ($1, $2, $3, $4, $5, $6, 'pending', now())",
                id,
                self._org_id,
                endpoint_id,
                message_id,
                type,
                body,
            )
        return id

    async def begin_anew(self, delivery_id: str) -> None:
        async with transient():
            await self._db.execute(
                "UPDATE media.webhook_deliveries SET state = 'pending', tries = 0, next_at = now()"
                " WHERE org_id = $1 AND id = $2",
                self._org_id,
                delivery_id,
            )

    async def begin_failed_anew(self, endpoint_id: str, since: datetime) -> int:
        async with transient():
            done: str = await self._db.execute(
                "UPDATE media.webhook_deliveries SET state = 'pending', tries = 0, next_at = now()"
                " WHERE org_id = $1 AND endpoint_id = $2 AND state = 'failed' AND created_at >= $3",
                self._org_id,
                endpoint_id,
                since,
            )
        return int(done.rpartition(" ")[2])


class PostgresWebhooks:
    """The ports `WebhookStore` and `WebhookQueue`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def of(self, org_id: str) -> PostgresWebhookTables:
        return PostgresWebhookTables(self._pool, org_id)

    async def public_keys(self, endpoint_id: str) -> Sequence[str] | None:
        async with transient():
            row = await self._pool.fetchrow(
                "SELECT public_key, CASE WHEN old_secret_until > now() THEN old_public_key END AS old"
                " FROM media.webhook_endpoints WHERE id = $1",
                endpoint_id,
            )
        return None if row is None else [key for key in (row["public_key"], row["old"]) if key is not None]

    async def claim(self, room: int, per_endpoint: int, busy: Mapping[str, int], hold_seconds: float) -> Sequence[Due]:
        async with transient():
            rows = await self._pool.fetch(
                CLAIM, room, per_endpoint, list(busy.keys()), list(busy.values()), hold_seconds
            )
        return [_due(dict(row)) for row in rows]

    async def settle(
        self,
        due: Due,
        attempt: Mapping[str, object],
        *,
        state: DeliveryState,
        wait: float | None,
        disable: str | None,
        dead: str,
    ) -> bool:
        async with transient(), self._pool.acquire() as connection, connection.transaction():
            await connection.execute(SETTLE, due.id, state, wait, orjson.dumps([attempt]).decode())
            if state == "delivered":
                await connection.execute(NOTE_SUCCESS, due.endpoint.id)
                return False
            now = await connection.fetchval(NOTE_FAILURE, due.endpoint.id, disable, dead, state == "failed")
        return bool(now == "disabled")

    async def prune(self, days: float) -> int:
        """Forget deliveries of before that; how many there were. What still waits is listed as failed for a while."""
        async with transient():
            await self._pool.execute(
                "UPDATE media.webhook_deliveries SET state = 'failed', next_at = NULL, created_at = now()"
                " WHERE state = 'pending' AND created_at < now() - make_interval(secs => $1)",
                days * 86400,
            )
            done: str = await self._pool.execute(
                "DELETE FROM media.webhook_deliveries WHERE id IN (SELECT id FROM media.webhook_deliveries"
                " WHERE created_at < now() - make_interval(secs => $1) ORDER BY created_at LIMIT 5000)",
                days * 86400,
            )
        return int(done.rpartition(" ")[2])


def _delivery(row: asyncpg.Record, attempts: Sequence[dict[str, Any]]) -> Delivery:
    return Delivery(**dict(row) | {"attempts": attempts})


def _due(row: dict[str, Any]) -> Due:
    own = {name: row.pop(name) for name in ("message_id", "body", "tries")}
    return Due(id=row.pop("delivery_id"), **own, endpoint=Endpoint(**row))
