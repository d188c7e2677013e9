"""The tables of resources and versions: our own catalogue, and the last known copy of a provider's.

Every function takes the connection of a transaction in hand, or the pool. Writers hold the organisation's row (see
`Works`), so what they read here does not change under them.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import asyncpg
import orjson

from common.events.resources import Kind
from common.storage.postgres import Pool
from resources.ports import Item, Page, Refused
from resources.work import Connection, Work

Reader: TypeAlias = "Connection | Pool"

COLUMNS = (
    "r.kind, r.id, r.name, r.status, r.provenance,"
    " v.version, v.content, v.version_description, v.created_at, v.modified_at"
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Enough to act on; a popular version may be in use by every user of an organisation.
MOST_USERS_NAMED = 20

LATEST = f"""
SELECT {COLUMNS} FROM resources.resources r
CROSS JOIN LATERAL (
    SELECT * FROM resources.versions v
    WHERE v.org_id = r.org_id AND v.kind = r.kind AND v.id = r.id ORDER BY version DESC LIMIT 1
) v
WHERE r.org_id = $1 AND r.kind = $2
"""  # noqa: S608  (constants only)

FIXED = f"""
SELECT {COLUMNS} FROM resources.resources r JOIN resources.versions v USING (org_id, kind, id)
WHERE r.org_id = $1 AND r.kind = $2 AND r.id = $3
"""  # noqa: S608  (constants only)

WHOLE = f"""
SELECT {COLUMNS} FROM unnest($2::text[], $3::text[]) AS w (kind, id)
JOIN resources.resources r ON r.org_id = $1 AND r.kind = w.kind AND r.id = w.id
JOIN resources.versions v ON v.org_id = r.org_id AND v.kind = r.kind AND v.id = r.id
ORDER BY r.kind, r.id, v.version
"""  # noqa: S608  (constants only)


def item(row: asyncpg.Record, version_type: str = "FIXED") -> Item:
    """A row of `COLUMNS` as the item it is."""
    return Item(
        kind=row["kind"],
        id=row["id"],
        name=row["name"],
        version=row["version"],
        created_on=_milliseconds(row["created_at"]),
        modified_on=_milliseconds(row["modified_at"]),
        content=orjson.loads(row["content"]),
        version_description=row["version_description"],
        status=row["status"],
        provenance=_parsed(row["provenance"]),
        version_type=version_type,
    )


def moment(milliseconds: int) -> datetime:
    """Unix milliseconds as the database keeps them."""
    return EPOCH + timedelta(milliseconds=milliseconds)


def _parsed(document: str | None) -> Any:
    return None if document is None else orjson.loads(document)


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


# -- reading ---------------------------------------------------------------------------------------------------


async def get(reader: Reader, org_id: str, kind: Kind, id: str, version: int | None) -> Item | None:
    """One version, None for the latest; None when it is not there."""
    if version is None:
        row = await reader.fetchrow(f"{LATEST} AND r.id = $3", org_id, kind, id)
        return row and item(row, "LATEST")
    row = await reader.fetchrow(f"{FIXED} AND v.version = $4", org_id, kind, id, version)
    return row and item(row)


async def standing(reader: Reader, org_id: str, tools: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
    """`status` and `provenance` of those of these tools that have more to say than that they are usable."""
    rows = await reader.fetch(
        "SELECT id, status, provenance FROM resources.resources WHERE org_id = $1 AND kind = 'tool' AND id = ANY($2)"
        " AND (status <> 'usable' OR provenance IS NOT NULL)",
        org_id,
        tools,
    )
    return {row["id"]: {"status": row["status"], "provenance": _parsed(row["provenance"])} for row in rows}


async def quarantined(reader: Reader, org_id: str, kind: Kind, name: str) -> str | None:
    """The id of what waits in quarantine under this name."""
    id: str | None = await reader.fetchval(
        "SELECT id FROM resources.resources WHERE org_id = $1 AND kind = $2 AND name = $3 AND status = 'quarantined'",
        org_id,
        kind,
        name,
    )
    return id


async def latest_page(
    reader: Reader, org_id: str, kind: Kind, name: str | None, page: int, size: int, *, drafts: bool = True
) -> Page:
    """The latest version of each resource, newest resource first; `name` filters exactly.

    With `drafts` False what waits in quarantine is left out.
    """
    where = (org_id, kind, name, drafts)
    some = "($3::text IS NULL OR r.name = $3) AND ($4 OR r.status <> 'quarantined')"
    total = await reader.fetchval(
        f"SELECT count(*) FROM resources.resources r WHERE org_id = $1 AND kind = $2 AND {some}",  # noqa: S608
        *where,
    )
    rows = await reader.fetch(
        f"{LATEST} AND {some} ORDER BY r.created_at DESC, r.id LIMIT $5 OFFSET $6", *where, size, page * size
    )
    return Page([item(row, "LATEST") for row in rows], page, size, total)


async def versions_page(reader: Reader, org_id: str, kind: Kind, id: str, page: int, size: int) -> Page:
    """The versions of one resource, newest first; a total of 0 says that there is no such resource."""
    where = (org_id, kind, id)
    total = await reader.fetchval(
        "SELECT count(*) FROM resources.versions WHERE org_id = $1 AND kind = $2 AND id = $3", *where
    )
    rows = await reader.fetch(f"{FIXED} ORDER BY v.version DESC LIMIT $4 OFFSET $5", *where, size, page * size)
    return Page([item(row) for row in rows], page, size, total)


async def whole(reader: Reader, org_id: str, named: Sequence[tuple[Kind, str]]) -> list[Item]:
    """Every version of these resources, by kind, id and version; what is not there is left out."""
    rows = await reader.fetch(
        WHOLE,
        org_id,
        [kind for kind, _ in named],
        [id for _, id in named],
    )
    return [item(row) for row in rows]


async def used_by(
    reader: Reader, org_id: str, kind: Kind, id: str, version: int | None, latest: bool
) -> Sequence[Mapping[str, Any]]:
    """Who has this version in an active set, at most `MOST_USERS_NAMED`; with `version` None, who has any.

    `latest` says that those who follow the latest version have this one.
    """
    rows = await reader.fetch(
        "SELECT user_id, project_id, revision FROM resources.pins WHERE org_id = $1 AND kind = $2 AND id = $3"
        " AND ($4::integer IS NULL OR version = $4 OR (version IS NULL AND $5))"
        " ORDER BY project_id, user_id, revision LIMIT $6",
        org_id,
        kind,
        id,
        version,
        latest,
        MOST_USERS_NAMED,
    )
    return [dict(row) for row in rows]


# -- writing ---------------------------------------------------------------------------------------------------


async def add(work: Work, kind: Kind, id: str, catalogue: str, name: str) -> None:
    """A resource without a version yet; raises `Refused` (409) for a name that is taken."""
    await claim_name(work, kind, id, name)
    await work.connection.execute(
        "INSERT INTO resources.resources (org_id, kind, id, catalogue, name, created_at, modified_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $6)",
        work.org_id,
        kind,
        id,
        catalogue,
        name,
        work.now,
    )


async def mark(work: Work, kind: Kind, id: str, status: str, provenance: Mapping[str, Any] | None) -> None:
    """Say whether a resource may be used, and where it comes from."""
    await work.connection.execute(
        "UPDATE resources.resources SET status = $4, provenance = $5 WHERE org_id = $1 AND kind = $2 AND id = $3",
        work.org_id,
        kind,
        id,
        status,
        None if provenance is None else orjson.dumps(dict(provenance)).decode(),
    )


async def turn(work: Work, tools: Sequence[str], before: str, after: str) -> Sequence[str]:
    """Give those of these tools that have one status another; returns which they were."""
    rows = await work.connection.fetch(
        "UPDATE resources.resources SET status = $4"
        " WHERE org_id = $1 AND kind = 'tool' AND id = ANY($2) AND status = $3 RETURNING id",
        work.org_id,
        tools,
        before,
        after,
    )
    return [row["id"] for row in rows]


async def add_version(work: Work, kind: Kind, id: str, content: Mapping[str, Any], description: str) -> int | None:
    """The number of the next version, which holds this; None without such a resource. Numbers never come again."""
    version: int | None = await work.connection.fetchval(
        "UPDATE resources.resources SET next_version = next_version + 1, modified_at = $4"
        " WHERE org_id = $1 AND kind = $2 AND id = $3 RETURNING next_version - 1",
        work.org_id,
        kind,
        id,
        work.now,
    )
    if version is None:
        return None
    await work.connection.execute(
        "INSERT INTO resources.versions"
        " (org_id, kind, id, version, content, version_description, created_at, modified_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $7)",
        work.org_id,
        kind,
        id,
        version,
        orjson.dumps(dict(content)).decode(),
        description,
        work.now,
    )
    return version


async def claim_name(work: Work, kind: Kind, id: str, name: str) -> None:
    """Raises `Refused` (409) when another resource of the kind has this name."""
    taken = await work.connection.fetchval(
        "SELECT id FROM resources.resources WHERE org_id = $1 AND kind = $2 AND name = $3 AND id <> $4",
        work.org_id,
        kind,
        name,
        id,
    )
    if taken is not None:
        message = f"The name '{name}' belongs to another {kind}."
        raise Refused(409, message, "name_taken", "name", details={"id": taken})


async def rename(work: Work, kind: Kind, id: str, name: str) -> None:
    await work.connection.execute(
        "UPDATE resources.resources SET name = $4, modified_at = $5 WHERE org_id = $1 AND kind = $2 AND id = $3",
        work.org_id,
        kind,
        id,
        name,
        work.now,
    )


async def describe(work: Work, kind: Kind, id: str, version: int, description: str) -> None:
    await work.connection.execute(
        "UPDATE resources.versions SET version_description = $5, modified_at = $6"
        " WHERE org_id = $1 AND kind = $2 AND id = $3 AND version = $4",
        work.org_id,
        kind,
        id,
        version,
        description,
        work.now,
    )


async def remove_version(work: Work, kind: Kind, id: str, version: int) -> None:
    """Take one version away, and with the last one the resource."""
    where = (work.org_id, kind, id)
    await work.connection.execute(
        "DELETE FROM resources.versions WHERE org_id = $1 AND kind = $2 AND id = $3 AND version = $4", *where, version
    )
    await work.connection.execute(
        "DELETE FROM resources.resources r WHERE org_id = $1 AND kind = $2 AND id = $3 AND NOT EXISTS ("
        "SELECT FROM resources.versions v WHERE v.org_id = r.org_id AND v.kind = r.kind AND v.id = r.id)",
        *where,
    )


async def remove(work: Work, kind: Kind, id: str) -> None:
    """Take the resource away with all its versions."""
    await work.connection.execute(
        "DELETE FROM resources.resources WHERE org_id = $1 AND kind = $2 AND id = $3", work.org_id, kind, id
    )


async def bring_in(work: Work, catalogue: str, versions: Sequence[Item]) -> Sequence[int]:
    """Put in the versions of one resource as they are, under their own ids, numbers and times.

    What is here already stays. Answers the numbers that are new.
    """
    first, last = versions[0], versions[-1]
    await work.connection.execute(
        "INSERT INTO resources.resources AS r"
        " (org_id, kind, id, catalogue, name, next_version, created_at, modified_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (org_id, kind, id) DO UPDATE"
        " SET next_version = greatest(r.next_version, excluded.next_version)",
        work.org_id,
        last.kind,
        last.id,
        catalogue,
        last.name,
        last.version + 1,
        moment(first.created_on),
        moment(last.modified_on),
    )
    return [version.version for version in versions if await _bring_in_version(work, version)]


async def _bring_in_version(work: Work, version: Item) -> bool:
    added = await work.connection.fetchval(
        "INSERT INTO resources.versions"
        " (org_id, kind, id, version, content, version_description, created_at, modified_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING RETURNING TRUE",
        work.org_id,
        version.kind,
        version.id,
        version.version,
        orjson.dumps(dict(version.content)).decode(),
        version.version_description,
        moment(version.created_on),
        moment(version.modified_on),
    )
    return bool(added)
