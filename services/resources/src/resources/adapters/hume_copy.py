"""The last known copy of what the provider holds, in the tables of resources."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

import asyncpg
import orjson

from common.storage.postgres import Pool, transient
from resources.ports import Item
from resources.store import moment
from resources.work import Connection

CATALOGUE = "hume"

# Names are unique here and perhaps not there; the one seen last has it, of several seen at once the first.
_STEP_ASIDE = """
UPDATE resources.resources SET name = name || ' (' || id || ')'
WHERE org_id = $1 AND kind = $2 AND id <> $3 AND name = $4
"""
_RESOURCE = """
INSERT INTO resources.resources AS r (org_id, kind, id, catalogue, name, next_version, created_at, modified_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (org_id, kind, id) DO UPDATE SET
    catalogue = excluded.catalogue, name = excluded.name,
    next_version = greatest(r.next_version, excluded.next_version), modified_at = excluded.modified_at
WHERE (r.catalogue, r.name) <> (excluded.catalogue, excluded.name) OR r.next_version < excluded.next_version
"""
_VERSION = """
INSERT INTO resources.versions AS v
    (org_id, kind, id, version, content, version_description, created_at, modified_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (org_id, kind, id, version) DO UPDATE SET
    content = excluded.content, version_description = excluded.version_description, modified_at = excluded.modified_at
WHERE (v.content, v.version_description) IS DISTINCT FROM (excluded.content, excluded.version_description)
"""


async def clock(pool: Pool, org_id: str) -> int:
    """The organisation's clock before a question to the provider; raises `Retry` while the database is away."""
    async with transient():
        now = await pool.fetchval("SELECT clock FROM resources.organizations WHERE org_id = $1", org_id)
        if now is None:
            # The row is what `remember` locks. Whoever inserts it at the same time has moved on from 0.
            await pool.execute(
                "INSERT INTO resources.organizations (org_id, clock) VALUES ($1, 0) ON CONFLICT DO NOTHING", org_id
            )
        return now or 0


async def remember(pool: Pool, org_id: str, items: Sequence[Item], seen: int) -> None:
    """Write what was read through to the copy, unless the organisation changed something since clock `seen`.

    What was read may be older than such a change, and would bring back what it deleted. A writer at work now
    (its row is locked) is one as well. Readers share the row: what several of them saw is all kept.
    """
    # Another reader keeps one of the same name right now: the next to read this keeps it.
    with suppress(asyncpg.UniqueViolationError):
        await _remember(pool, org_id, items, seen)


async def _remember(pool: Pool, org_id: str, items: Sequence[Item], seen: int) -> None:
    async with transient(), pool.acquire() as connection, connection.transaction():
        now = await connection.fetchval(
            "SELECT clock FROM resources.organizations WHERE org_id = $1 FOR SHARE SKIP LOCKED", org_id
        )
        if now == seen:
            await keep(connection, org_id, items)


async def keep(connection: Connection, org_id: str, items: Sequence[Item]) -> None:
    """Write versions to the copy."""
    items = list(_told_apart(items))
    await connection.executemany(_STEP_ASIDE, [(org_id, item.kind, item.id, item.name) for item in items])
    await connection.executemany(_RESOURCE, [_resource(org_id, item) for item in items])
    await connection.executemany(_VERSION, [_version(org_id, item) for item in items])


def _told_apart(items: Sequence[Item]) -> Iterator[Item]:
    """The same, without one name for two resources."""
    owners: dict[tuple[str, str], str] = {}
    for item in items:
        owner = owners.setdefault((item.kind, item.name), item.id)
        yield item if owner == item.id else replace(item, name=f"{item.name} ({item.id})")


def _resource(org_id: str, item: Item) -> tuple[object, ...]:
    times = (moment(item.created_on), moment(item.modified_on))
    return (org_id, item.kind, item.id, CATALOGUE, item.name, item.version + 1, *times)


def _version(org_id: str, item: Item) -> tuple[object, ...]:
    content = orjson.dumps(dict(item.content)).decode()
    times = (moment(item.created_on), moment(item.modified_on))
    return (org_id, item.kind, item.id, item.version, content, item.version_description, *times)
