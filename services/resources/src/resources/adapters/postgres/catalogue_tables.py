"""The tables of resources and versions: our own catalogue, and the last known copy of a provider's.

Writers hold the organisation's row (see `UnitsOfWork`), so what they read here does not change under them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from common.events.resource_terms import Kind
from resources.adapters.postgres.rows import Rows, decoded, encoded
from resources.ports import Item, Page, Work, name_taken, not_found
from resources.scopes import milliseconds

COLUMNS = (
    "r.kind, r.id, r.name, r.status, r.provenance,"
    " v.version, v.content, v.version_description, v.created_at, v.modified_at"
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Enough to act on; a popular version may be in use by every user of an organisation.
MAX_USERS_NAMED = 20

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

# Names are unique here and perhaps not there; the one seen last has it, of several seen at once the first.
STEP_ASIDE = """
UPDATE resources.resources SET name = name || ' (' || id || ')'
WHERE org_id = $1 AND kind = $2 AND id <> $3 AND name = $4
"""
KEEP_RESOURCE = """
INSERT INTO resources.resources AS r (org_id, kind, id, catalogue, name, next_version, created_at, modified_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (org_id, kind, id) DO UPDATE SET
    catalogue = excluded.catalogue, name = excluded.name,
    next_version = greatest(r.next_version, excluded.next_version), modified_at = excluded.modified_at
WHERE (r.catalogue, r.name) <> (excluded.catalogue, excluded.name) OR r.next_version < excluded.next_version
"""
KEEP_VERSION = """
INSERT INTO resources.versions AS v
    (org_id, kind, id, version, content, version_description, created_at, modified_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (org_id, kind, id, version) DO UPDATE SET
    content = excluded.content, version_description = excluded.version_description, modified_at = excluded.modified_at
WHERE (v.content, v.version_description) IS DISTINCT FROM (excluded.content, excluded.version_description)
"""


def item(row: asyncpg.Record, version_type: str = "FIXED") -> Item:
    """A row of `COLUMNS` as the item it is."""
    return Item(
        kind=row["kind"],
        id=row["id"],
        name=row["name"],
        version=row["version"],
        created_on=milliseconds(row["created_at"]),
        modified_on=milliseconds(row["modified_at"]),
        content=decoded(row["content"]),
        version_description=row["version_description"],
        status=row["status"],
        provenance=decoded(row["provenance"]),
        version_type=version_type,
    )


class PostgresCatalogue:
    """The port `CatalogueTables`."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def get(self, kind: Kind, id: str, version: int | None) -> Item | None:
        if version is None:
            row = await self._rows.row(f"{LATEST} AND r.id = $3", kind, id)
            return None if row is None else item(row, "LATEST")
        row = await self._rows.row(f"{FIXED} AND v.version = $4", kind, id, version)
        return None if row is None else item(row)

    async def latest_page(self, kind: Kind, name: str | None, page: int, size: int, *, drafts: bool = True) -> Page:
        where = (kind, name, drafts)
        some = "($3::text IS NULL OR r.name = $3) AND ($4 OR r.status <> 'quarantined')"
        total = await self._rows.value(
            f"SELECT count(*) FROM resources.resources r WHERE org_id = $1 AND kind = $2 AND {some}",  # noqa: S608
            *where,
        )
        rows = await self._rows.fetch(
            f"{LATEST} AND {some} ORDER BY r.created_at DESC, r.id LIMIT $5 OFFSET $6", *where, size, page * size
        )
        return Page([item(row, "LATEST") for row in rows], page, size, total)

    async def versions_page(self, kind: Kind, id: str, page: int, size: int) -> Page:
        total = await self._rows.value(
            "SELECT count(*) FROM resources.versions WHERE org_id = $1 AND kind = $2 AND id = $3", kind, id
        )
        rows = await self._rows.fetch(
            f"{FIXED} ORDER BY v.version DESC LIMIT $4 OFFSET $5", kind, id, size, page * size
        )
        return Page([item(row) for row in rows], page, size, total)

    async def whole(self, named: Sequence[tuple[Kind, str]]) -> list[Item]:
        rows = await self._rows.fetch(WHOLE, [kind for kind, _ in named], [id for _, id in named])
        return [item(row) for row in rows]

    async def standing(self, tools: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
        rows = await self._rows.fetch(
            "SELECT id, status, provenance FROM resources.resources"
            " WHERE org_id = $1 AND kind = 'tool' AND id = ANY($2)"
            " AND (status <> 'usable' OR provenance IS NOT NULL)",
            tools,
        )
        return {row["id"]: {"status": row["status"], "provenance": decoded(row["provenance"])} for row in rows}

    async def quarantined(self, kind: Kind, name: str) -> str | None:
        id: str | None = await self._rows.value(
            "SELECT id FROM resources.resources"
            " WHERE org_id = $1 AND kind = $2 AND name = $3 AND status = 'quarantined'",
            kind,
            name,
        )
        return id

    async def tool_names(self, *, but: str = "") -> Sequence[str]:
        rows = await self._rows.fetch(
            "SELECT name FROM resources.resources WHERE org_id = $1 AND kind = 'tool' AND id <> $2", but
        )
        return [row["name"] for row in rows]

    async def home(self, kind: Kind, id: str) -> str | None:
        found: str | None = await self._rows.value(
            "SELECT catalogue FROM resources.resources WHERE org_id = $1 AND kind = $2 AND id = $3", kind, id
        )
        return found

    async def used_by(self, kind: Kind, id: str, version: int | None, latest: bool) -> Sequence[Mapping[str, Any]]:
        rows = await self._rows.fetch(
            "SELECT user_id, project_id, revision FROM resources.pins WHERE org_id = $1 AND kind = $2 AND id = $3"
            " AND ($4::integer IS NULL OR version = $4 OR (version IS NULL AND $5))"
            " ORDER BY project_id, user_id, revision LIMIT $6",
            kind,
            id,
            version,
            latest,
            MAX_USERS_NAMED,
        )
        return [dict(row) for row in rows]


class PostgresCatalogueWrites(PostgresCatalogue):
    """The port `CatalogueWrites`."""

    def __init__(self, rows: Rows, work: Work) -> None:
        super().__init__(rows)
        self._now = work.now

    # -- new ---------------------------------------------------------------------------------------------------

    async def add(self, kind: Kind, id: str, catalogue: str, name: str) -> None:
        await self.claim_name(kind, id, name)
        await self._rows.execute(
            "INSERT INTO resources.resources (org_id, kind, id, catalogue, name, created_at, modified_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, $6)",
            kind,
            id,
            catalogue,
            name,
            self._now,
        )

    async def add_version(self, kind: Kind, id: str, content: Mapping[str, Any], description: str) -> int | None:
        version: int | None = await self._rows.value(
            "UPDATE resources.resources SET next_version = next_version + 1, modified_at = $4"
            " WHERE org_id = $1 AND kind = $2 AND id = $3 RETURNING next_version - 1",
            kind,
            id,
            self._now,
        )
        if version is None:
            return None
        await self._rows.execute(
            "INSERT INTO resources.versions"
            " (org_id, kind, id, version, content, version_description, created_at, modified_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $7)",
            kind,
            id,
            version,
            encoded(dict(content)),
            description,
            self._now,
        )
        return version

    async def claim_name(self, kind: Kind, id: str, name: str) -> None:
        owner = await self._rows.value(
            "SELECT id FROM resources.resources WHERE org_id = $1 AND kind = $2 AND name = $3 AND id <> $4",
            kind,
            name,
            id,
        )
        if owner is not None:
            raise name_taken(kind, name, owner)

    async def restore(self, catalogue: str, versions: Sequence[Item]) -> Sequence[int]:
        first, last = versions[0], versions[-1]
        await self._rows.execute(
            "INSERT INTO resources.resources AS r"
            " (org_id, kind, id, catalogue, name, next_version, created_at, modified_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (org_id, kind, id) DO UPDATE"
            " SET next_version = greatest(r.next_version, excluded.next_version)",
            last.kind,
            last.id,
            catalogue,
            last.name,
            last.version + 1,
            _moment(first.created_on),
            _moment(last.modified_on),
        )
        return [version.version for version in versions if await self._restore_version(version)]

    async def _restore_version(self, version: Item) -> bool:
        added = await self._rows.value(
            "INSERT INTO resources.versions"
            " (org_id, kind, id, version, content, version_description, created_at, modified_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING RETURNING TRUE",
            *_version(version),
        )
        return bool(added)

    async def keep(self, catalogue: str, items: Sequence[Item]) -> None:
        await keep(self._rows, catalogue, items)

    # -- changes -----------------------------------------------------------------------------------------------

    async def rename(self, kind: Kind, id: str, name: str) -> None:
        await self._rows.execute(
            "UPDATE resources.resources SET name = $4, modified_at = $5 WHERE org_id = $1 AND kind = $2 AND id = $3",
            kind,
            id,
            name,
            self._now,
        )

    async def describe(self, kind: Kind, id: str, version: int, description: str) -> None:
        await self._rows.execute(
            "UPDATE resources.versions SET version_description = $5, modified_at = $6"
            " WHERE org_id = $1 AND kind = $2 AND id = $3 AND version = $4",
            kind,
            id,
            version,
            description,
            self._now,
        )

    async def set_origin(self, kind: Kind, id: str, status: str, provenance: Mapping[str, Any] | None) -> None:
        await self._rows.execute(
            "UPDATE resources.resources SET status = $4, provenance = $5 WHERE org_id = $1 AND kind = $2 AND id = $3",
            kind,
            id,
            status,
            None if provenance is None else encoded(dict(provenance)),
        )

    async def set_status(self, id: str, status: str, provenance: Mapping[str, Any] | None = None) -> Item:
        await self._rows.execute(
            "UPDATE resources.resources"
            " SET status = $3, modified_at = $4, provenance = coalesce($5::jsonb, provenance)"
            " WHERE org_id = $1 AND kind = 'tool' AND id = $2",
            id,
            status,
            self._now,
            None if provenance is None else encoded(dict(provenance)),
        )
        tool = await self.get("tool", id, None)
        if tool is None:
            raise not_found("tool", id)
        return tool

    async def replace_status(self, tools: Sequence[str], before: str, after: str) -> Sequence[str]:
        rows = await self._rows.fetch(
            "UPDATE resources.resources SET status = $4"
            " WHERE org_id = $1 AND kind = 'tool' AND id = ANY($2) AND status = $3 RETURNING id",
            tools,
            before,
            after,
        )
        return [row["id"] for row in rows]

    # -- removal -----------------------------------------------------------------------------------------------

    async def remove_version(self, kind: Kind, id: str, version: int) -> None:
        await self._rows.execute(
            "DELETE FROM resources.versions WHERE org_id = $1 AND kind = $2 AND id = $3 AND version = $4",
            kind,
            id,
            version,
        )
        await self._rows.execute(
            "DELETE FROM resources.resources r WHERE org_id = $1 AND kind = $2 AND id = $3 AND NOT EXISTS ("
            "SELECT FROM resources.versions v WHERE v.org_id = r.org_id AND v.kind = r.kind AND v.id = r.id)",
            kind,
            id,
        )

    async def remove(self, kind: Kind, id: str) -> None:
        await self._rows.execute(
            "DELETE FROM resources.resources WHERE org_id = $1 AND kind = $2 AND id = $3", kind, id
        )


# -- the copy of a provider's catalogue ------------------------------------------------------------------------


async def keep(rows: Rows, catalogue: str, items: Sequence[Item]) -> None:
    """Write versions to the copy of a catalogue."""
    items = list(_named_apart(items))
    await rows.execute_all(STEP_ASIDE, [(item.kind, item.id, item.name) for item in items])
    await rows.execute_all(KEEP_RESOURCE, [_resource(catalogue, item) for item in items])
    await rows.execute_all(KEEP_VERSION, [_version(item) for item in items])


def _named_apart(items: Sequence[Item]) -> Iterator[Item]:
    """The same, without one name for two resources."""
    owners: dict[tuple[str, str], str] = {}
    for each in items:
        owner = owners.setdefault((each.kind, each.name), each.id)
        yield each if owner == each.id else replace(each, name=f"{each.name} ({each.id})")


def _resource(catalogue: str, item: Item) -> tuple[object, ...]:
    times = (_moment(item.created_on), _moment(item.modified_on))
    return (item.kind, item.id, catalogue, item.name, item.version + 1, *times)


def _version(item: Item) -> tuple[object, ...]:
    content = encoded(dict(item.content))
    times = (_moment(item.created_on), _moment(item.modified_on))
    return (item.kind, item.id, item.version, content, item.version_description, *times)


def _moment(milliseconds: int) -> datetime:
    """Unix milliseconds as the database keeps them."""
    return EPOCH + timedelta(milliseconds=milliseconds)
