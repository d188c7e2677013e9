"""The tables of active sets: scopes, their revisions, what is pinned, and what was live when.

Writers hold the organisation's row (see `UnitsOfWork`), so what they read here does not change under them.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg

from common.events.resource_terms import Kind, Pins
from resources.adapters.postgres.catalogue_tables import COLUMNS, MAX_USERS_NAMED, item
from resources.adapters.postgres.rows import Rows
from resources.ports import Item, Work
from resources.scopes import Activation, Origin, Pinned, Revision, ScopeKey, State, pinned

STATES = """
SELECT p.project_id, p.user_id, p.revision, p.candidate, p.percent, p.switched_at,
       current.pins AS current_pins, candidate.pins AS candidate_pins
FROM resources.places p
LEFT JOIN resources.revisions current
    ON current.org_id = p.org_id AND current.project_id = p.project_id AND current.user_id = p.user_id
    AND current.revision = p.revision
LEFT JOIN resources.revisions candidate
    ON candidate.org_id = p.org_id AND candidate.project_id = p.project_id AND candidate.user_id = p.user_id
    AND candidate.revision = p.candidate
WHERE p.org_id = $1 AND (p.project_id, p.user_id) IN (SELECT * FROM unnest($2::text[], $3::text[]))
"""

CONTENTS = f"""
SELECT w.version AS wanted, {COLUMNS}
FROM unnest($2::text[], $3::text[], $4::integer[]) AS w (kind, id, version)
JOIN resources.resources r ON r.org_id = $1 AND r.kind = w.kind AND r.id = w.id
CROSS JOIN LATERAL (
    SELECT * FROM resources.versions v
    WHERE v.org_id = r.org_id AND v.kind = r.kind AND v.id = r.id AND (w.version IS NULL OR v.version = w.version)
    ORDER BY v.version DESC LIMIT 1
) v
"""  # noqa: S608  (constants only)


# A config that is followed stands for its latest version. Tools are a list of references, prompt and voice are one.
USING_BY_CONFIG = """
SELECT DISTINCT p.user_id, p.project_id, p.revision, p.id AS config_id, v.version AS config_version
FROM resources.pins p
CROSS JOIN LATERAL (
    SELECT v.version, v.content FROM resources.versions v
    WHERE v.org_id = p.org_id AND v.kind = 'config' AND v.id = p.id AND (p.version IS NULL OR v.version = p.version)
    ORDER BY v.version DESC LIMIT 1
) v
CROSS JOIN LATERAL jsonb_array_elements(
    CASE WHEN $2::text <> 'tool' THEN jsonb_build_array(v.content -> $2::text)
         WHEN jsonb_typeof(v.content -> 'tools') = 'array' THEN v.content -> 'tools' ELSE '[]' END
) named
WHERE p.org_id = $1 AND p.kind = 'config' AND named ->> 'id' = $3
    AND ($4::integer IS NULL OR named ->> 'version' = $4::text OR (named ->> 'version' IS NULL AND $5))
ORDER BY p.project_id, p.user_id, p.revision LIMIT $6
"""


class PostgresScopes:
    """The port `ScopeTables`."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def clock(self) -> int:
        found: int = await self._rows.value(
            "SELECT greatest(floor, (SELECT clock FROM resources.organizations WHERE org_id = $1))"
            " FROM resources.lineage"
        )
        return found

    async def states(self, keys: Sequence[ScopeKey]) -> dict[ScopeKey, State]:
        rows = await self._rows.fetch(STATES, [key.project_id for key in keys], [key.user_id for key in keys])
        found = [_state(row) for row in rows]
        return {state.key: state for state in found}

    async def contents(self, wanted: Sequence[Pinned]) -> dict[Pinned, Item]:
        rows = await self._rows.fetch(
            CONTENTS,
            [pin.kind for pin in wanted],
            [pin.id for pin in wanted],
            [pin.version for pin in wanted],
        )
        return {
            Pinned(row["kind"], row["id"], row["wanted"]): item(row, "LATEST" if row["wanted"] is None else "FIXED")
            for row in rows
        }

    async def revision_pins(self, key: ScopeKey, revision: int) -> Pins | None:
        return _pins(
            await self._rows.value(
                "SELECT pins FROM resources.revisions"
                " WHERE org_id = $1 AND project_id = $2 AND user_id = $3 AND revision = $4",
                *key,
                revision,
            )
        )

    async def former(self, key: ScopeKey, revision: int | None) -> int | None:
        found: int | None = await self._rows.value(
            "SELECT revision FROM resources.activations WHERE org_id = $1 AND project_id = $2 AND user_id = $3"
            " AND revision IS NOT NULL AND revision IS DISTINCT FROM $4 ORDER BY clock DESC LIMIT 1",
            *key,
            revision,
        )
        return found

    async def using(self, kind: Kind, id: str) -> list[ScopeKey]:
        rows = await self._rows.fetch(
            "SELECT DISTINCT project_id, user_id FROM resources.pins WHERE org_id = $1 AND kind = $2 AND id = $3",
            kind,
            id,
        )
        return [ScopeKey(*row) for row in rows]

    async def using_by_config(
        self, kind: Kind, id: str, version: int | None, latest: bool
    ) -> Sequence[Mapping[str, Any]]:
        if kind == "config":
            return []
        rows = await self._rows.fetch(USING_BY_CONFIG, kind, id, version, latest, MAX_USERS_NAMED)
        return [dict(row) for row in rows]

    async def occupied(self, project_id: str, limit: int) -> list[ScopeKey]:
        rows = await self._rows.fetch(
            "SELECT project_id, user_id FROM resources.places"
            " WHERE org_id = $1 AND project_id = $2 AND revision IS NOT NULL ORDER BY user_id LIMIT $3",
            project_id,
            limit,
        )
        return [ScopeKey(*row) for row in rows]

    async def history(self, key: ScopeKey, *, limit: int, before: int | None) -> Sequence[Revision]:
        rows = await self._rows.fetch(
            "SELECT revision, pins, note, origin, restored, key_id, by_user, created_at FROM resources.revisions"
            " WHERE org_id = $1 AND project_id = $2 AND user_id = $3 AND ($4::integer IS NULL OR revision < $4)"
            " ORDER BY revision DESC LIMIT $5",
            *key,
            before,
            limit,
        )
        return [_revision(row) for row in rows]

    async def activations(
        self, key: ScopeKey, *, since: datetime, before: int | None, limit: int
    ) -> Sequence[Activation]:
        rows = await self._rows.fetch(
            "SELECT revision, candidate, percent, at FROM resources.activations"
            " WHERE org_id = $1 AND project_id = $2 AND user_id = $3 AND at >= $4 AND ($5::integer IS NULL OR at < ("
            "SELECT created_at FROM resources.revisions"
            " WHERE org_id = $1 AND project_id = $2 AND user_id = $3 AND revision = $5))"
            " ORDER BY clock DESC LIMIT $6",
            *key,
            since,
            before,
            limit,
        )
        return [Activation(**dict(row)) for row in rows]

    async def live_at(self, key: ScopeKey, moment: datetime) -> Activation | None:
        row = await self._rows.row(
            "SELECT revision, candidate, percent, at FROM resources.activations"
            " WHERE org_id = $1 AND project_id = $2 AND user_id = $3 AND at <= $4 ORDER BY clock DESC LIMIT 1",
            *key,
            moment,
        )
        return None if row is None else Activation(**dict(row))

    async def latest_at(self, pin: Pinned, moment: datetime) -> int | None:
        found: int | None = await self._rows.value(
            "SELECT max(version) FROM resources.versions"
            " WHERE org_id = $1 AND kind = $2 AND id = $3 AND created_at <= $4",
            pin.kind,
            pin.id,
            moment,
        )
        return found


class PostgresScopeWrites(PostgresScopes):
    """The port `ScopeWrites`."""

    def __init__(self, rows: Rows, work: Work) -> None:
        super().__init__(rows)
        self._work = work

    async def add_revision(self, key: ScopeKey, pins: Pins, origin: Origin, note: str, restored: int | None) -> int:
        revision: int = await self._rows.value(
            "INSERT INTO resources.revisions"
            " (org_id, project_id, user_id, revision, pins, note, origin, restored, key_id, by_user, created_at)"
            " SELECT $1, $2, $3, coalesce(max(revision), 0) + 1, $4, $5, $6, $7, $8, $9, $10 FROM resources.revisions"
            " WHERE org_id = $1 AND project_id = $2 AND user_id = $3 RETURNING revision",
            *key,
            pins.model_dump_json(exclude_none=True),
            note,
            origin,
            restored,
            self._work.actor.key_id,
            self._work.actor.user_id,
            self._work.now,
        )
        return revision

    async def put(self, key: ScopeKey, *, revision: int | None, candidate: int | None, percent: float) -> State:
        values = (*key, revision, candidate, percent, self._work.clock, self._work.now)
        await self._rows.execute(
            "INSERT INTO resources.places"
            " (org_id, project_id, user_id, revision, candidate, percent, clock, switched_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (org_id, project_id, user_id)"
            " DO UPDATE SET revision = $4, candidate = $5, percent = $6, clock = $7, switched_at = $8",
            *values,
        )
        await self._rows.execute(
            # One write may switch a scope twice, to a set and to a rollout beside it: what it leaves is what was live.
            "INSERT INTO resources.activations"
            " (org_id, project_id, user_id, revision, candidate, percent, clock, at)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (org_id, project_id, user_id, clock)"
            " DO UPDATE SET revision = $4, candidate = $5, percent = $6",
            *values,
        )
        await self._rows.execute(
            "DELETE FROM resources.pins WHERE org_id = $1 AND project_id = $2 AND user_id = $3", *key
        )
        state = (await self.states([key]))[key]
        await self._pin(key, revision, state.current_pins)
        await self._pin(key, candidate, state.candidate_pins)
        return state

    async def _pin(self, key: ScopeKey, revision: int | None, pins: Pins | None) -> None:
        if revision is None or pins is None:
            return
        await self._rows.execute_all(
            "INSERT INTO resources.pins (org_id, project_id, user_id, revision, kind, id, version)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7)",
            [(*key, revision, *pin) for pin in pinned(pins)],
        )


def _state(row: asyncpg.Record) -> State:
    return State(
        key=ScopeKey(row["project_id"], row["user_id"]),
        revision=row["revision"],
        candidate=row["candidate"],
        percent=row["percent"],
        switched_at=row["switched_at"],
        current_pins=_pins(row["current_pins"]),
        candidate_pins=_pins(row["candidate_pins"]),
    )


def _revision(row: asyncpg.Record) -> Revision:
    return Revision(
        revision=row["revision"],
        pins=Pins.model_validate_json(row["pins"]),
        note=row["note"],
        origin=row["origin"],
        restored=row["restored"],
        key_id=row["key_id"],
        user_id=row["by_user"],
        created_at=row["created_at"],
    )


def _pins(stored: str | None) -> Pins | None:
    return None if stored is None else Pins.model_validate_json(stored)
