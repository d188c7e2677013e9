"""Organisations and API keys in PostgreSQL, schema `gateway`."""

import zlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from common.storage.postgres import UNAVAILABLE, Pool
from gateway.adapters.availability import needing
from gateway.ports import BudgetLimits, KeyLimits, KeyRecord

DATABASE = "the database"

_COLUMNS = """id, digest, name, org_id, scopes, requests_per_minute, tokens_per_minute, concurrent_streams,
    created_at, expires_at, revoked_at, last_used_at, budget_tokens, budget_usd, budget_period, budget_id"""

_GET = f"SELECT {_COLUMNS} FROM gateway.api_keys WHERE id = $1"  # noqa: S608  constants only
_ADD_ORGANIZATION = "INSERT INTO gateway.organizations (id) VALUES ($1) ON CONFLICT DO NOTHING"
_ADD = f"""INSERT INTO gateway.api_keys ({_COLUMNS})
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"""  # noqa: S608  constants only
_PAGE = f"""SELECT {_COLUMNS} FROM gateway.api_keys
    WHERE ($1::text IS NULL OR org_id = $1)
      AND ($3::text IS NULL OR (created_at, id) < (SELECT created_at, id FROM gateway.api_keys WHERE id = $3))
    ORDER BY created_at DESC, id DESC LIMIT $2"""  # noqa: S608  constants only
_REVOKE = f"""UPDATE gateway.api_keys SET revoked_at = coalesce(revoked_at, $2),
    changed_at = clock_timestamp()
    WHERE id = $1 RETURNING {_COLUMNS}"""  # noqa: S608  constants only
_RETIRE = """UPDATE gateway.api_keys SET expires_at = least(expires_at, $2), replaced_by = $4,
    changed_at = clock_timestamp()
    WHERE id = $1 AND replaced_by IS NULL AND revoked_at IS NULL
      AND (expires_at IS NULL OR expires_at > $3) RETURNING id"""
_CHANGED = "SELECT id FROM gateway.api_keys WHERE changed_at > clock_timestamp() - make_interval(secs => $1)"
# Repetitions of one request take turns; after a day its name may be used again.
_MAKING_TURN = "SELECT pg_advisory_xact_lock(hashtextextended(encode($1::bytea, 'hex'), 0))"
_FORGET_MAKING = """UPDATE gateway.api_keys SET made_by = NULL
    WHERE made_by = $1 AND created_at < now() - interval '1 day'"""
_MADE_BY = "SELECT id FROM gateway.api_keys WHERE made_by = $1"
_NOTE_MAKING = "UPDATE gateway.api_keys SET made_by = $2 WHERE id = $1"
_FIRST_ADMIN = "SELECT EXISTS (SELECT FROM gateway.first_admin)"
_NOTE_FIRST_ADMIN = "INSERT INTO gateway.first_admin (key_id, made_at) VALUES ($1, $2)"
_ADMIN_TURN = zlib.crc32(b"sonant-first-admin")
_TOUCH = """UPDATE gateway.api_keys AS k SET last_used_at = greatest(k.last_used_at, u.at)
    FROM unnest($1::text[], $2::timestamptz[]) AS u (id, at) WHERE k.id = u.id"""


class PostgresKeys:
    """The `KeyStore` on a connection pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def get(self, key_id: str) -> KeyRecord | None:
        with needing(DATABASE, UNAVAILABLE):
            row = await self._pool.fetchrow(_GET, key_id)
        return None if row is None else _record(row)

    async def add(self, record: KeyRecord, made_by: bytes | None = None) -> str:
        async with self._transaction() as connection:
            if (made := await _made_before(connection, made_by)) is not None:
                return made
            await _insert(connection, record, made_by)
        return record.id

    async def changed(self, seconds: float) -> Sequence[str]:
        with needing(DATABASE, UNAVAILABLE):
            return [row["id"] for row in await self._pool.fetch(_CHANGED, seconds)]

    async def page(self, org_id: str | None, limit: int, after: str | None) -> Sequence[KeyRecord]:
        with needing(DATABASE, UNAVAILABLE):
            rows = await self._pool.fetch(_PAGE, org_id, limit, after)
        return [_record(row) for row in rows]

    async def revoke(self, key_id: str, at: datetime) -> KeyRecord | None:
        with needing(DATABASE, UNAVAILABLE):
            row = await self._pool.fetchrow(_REVOKE, key_id, at)
        return None if row is None else _record(row)

    async def replace(
        self, old_id: str, new: KeyRecord, old_expires_at: datetime, made_by: bytes | None = None
    ) -> str | None:
        async with self._transaction() as connection:
            if (made := await _made_before(connection, made_by)) is not None:
                return made
            retired = await connection.fetchval(_RETIRE, old_id, old_expires_at, new.created_at, new.id)
            if retired is None:
                return None
            await _insert(connection, new, made_by)
        return new.id

    async def add_first_admin(self, record: KeyRecord, hand_over: Callable[[], None]) -> bool:
        async with self._transaction() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _ADMIN_TURN)
            if await connection.fetchval(_FIRST_ADMIN):
                return False
            hand_over()
            await _insert(connection, record)
            await connection.execute(_NOTE_FIRST_ADMIN, record.id, record.created_at)
        return True

    async def touch(self, used: Mapping[str, datetime]) -> None:
        # In one order everywhere, so that two instances never wait for each other's rows.
        ids = sorted(used)
        with needing(DATABASE, UNAVAILABLE):
            await self._pool.execute(_TOUCH, ids, [used[key_id] for key_id in ids])

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Any]:
        with needing(DATABASE, UNAVAILABLE):
            async with self._pool.acquire() as connection, connection.transaction():
                yield connection


async def _made_before(connection: Any, made_by: bytes | None) -> str | None:
    """The id of the key this request made already."""
    if made_by is None:
        return None
    await connection.execute(_MAKING_TURN, made_by)
    await connection.execute(_FORGET_MAKING, made_by)
    made: str | None = await connection.fetchval(_MADE_BY, made_by)
    return made


async def _insert(connection: Any, record: KeyRecord, made_by: bytes | None = None) -> None:
    limits = record.limits
    budget = limits.budget
    await connection.execute(_ADD_ORGANIZATION, record.org_id)
    await connection.execute(
        _ADD,
        record.id,
        record.digest,
        record.name,
        record.org_id,
        sorted(record.scopes),
        limits.requests_per_minute,
        limits.tokens_per_minute,
        limits.concurrent_streams,
        record.created_at,
        record.expires_at,
        record.revoked_at,
        record.last_used_at,
        None if budget is None else budget.tokens,
        None if budget is None else budget.usd,
        None if budget is None else budget.period,
        record.budget_id,
    )
    if made_by is not None:
        await connection.execute(_NOTE_MAKING, record.id, made_by)


def _record(row: Mapping[str, Any]) -> KeyRecord:
    budget = None
    if row["budget_period"] is not None:
        budget = BudgetLimits(row["budget_period"], row["budget_tokens"], row["budget_usd"])
    limits = KeyLimits(row["requests_per_minute"], row["tokens_per_minute"], row["concurrent_streams"], budget)
    return KeyRecord(
        id=row["id"],
        digest=row["digest"],
        name=row["name"],
        org_id=row["org_id"],
        scopes=frozenset(row["scopes"]),
        limits=limits,
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        last_used_at=row["last_used_at"],
        budget_id=row["budget_id"],
    )
