"""The tables of active sets: places, their revisions, what is pinned, and what was live when.

Every function takes the connection of a transaction in hand, or the pool. Writers hold the organisation's row (see
`Works`), so what they read here does not change under them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

import asyncpg

from common.clients.resources import entries
from common.events.resources import Kind, Layer, Pin, Pins, ResourceRequest, SetScope
from resources.ports import Item, Refused
from resources.store import COLUMNS, MOST_USERS_NAMED, Reader, item
from resources.work import Work

Origin = Literal["switch", "tool", "rollback", "rollout"]

# As the gateway has it: an id the caller chose.
LONGEST_ID = 200

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


class Spot(NamedTuple):
    """A place by its two coordinates: both empty is the organisation's, without a user it is the project's."""

    project_id: str
    user_id: str

    @property
    def layer(self) -> Layer:
        if self.user_id:
            return "user"
        return "project" if self.project_id else "organization"

    @property
    def place(self) -> SetScope:
        return SetScope(layer=self.layer, project_id=self.project_id, user_id=self.user_id)

    @property
    def name(self) -> str:
        """What the audit trail calls it."""
        return ":".join(("active", *filter(None, self)))


class Pinned(NamedTuple):
    """One thing in a set. `version` None follows the latest."""

    kind: Kind
    id: str
    version: int | None


@dataclass(frozen=True, slots=True)
class State:
    """What is switched on at a place. `revision` None: nothing."""

    spot: Spot
    revision: int | None
    candidate: int | None
    percent: float
    switched_at: datetime
    current_pins: Pins | None
    candidate_pins: Pins | None


def spot_of(place: SetScope, asked: ResourceRequest) -> Spot:
    """The coordinates of a place; raises `Refused` (400) for one that cannot be."""
    if place.layer == "organization":
        return Spot("", "")
    project_id = _checked(place.project_id, "projectId")
    if place.layer == "project":
        return Spot(project_id, "")
    return Spot(project_id, _checked(place.user_id or asked.user_id, "x-user-id"))


def _checked(id: str, param: str) -> str:
    if not 0 < len(id) <= LONGEST_ID or not id.isprintable():
        raise Refused(400, f"'{param}' must be 1 to {LONGEST_ID} printable characters.", "invalid_value", param)
    return id


def layers(project_id: str, user_id: str) -> list[Spot]:
    """The places that apply to a user in a project, the first that has a set wins."""
    return [Spot(*spot) for spot in entries.layers(project_id, user_id)]


def pinned(pins: Pins) -> list[Pinned]:
    """Everything in a set."""
    single: list[tuple[Kind, Pin | None]] = [("config", pins.config), ("prompt", pins.prompt), ("voice", pins.voice)]
    found = [Pinned(kind, pin.id, pin.version) for kind, pin in single if pin is not None]
    return found + [Pinned("tool", tool.id, tool.version) for tool in pins.tools]


# -- reading ---------------------------------------------------------------------------------------------------


async def clock(reader: Reader, org_id: str) -> int:
    """The organisation's clock: 0 before its first write."""
    found: int | None = await reader.fetchval("SELECT clock FROM resources.organizations WHERE org_id = $1", org_id)
    return found or 0


async def states(reader: Reader, org_id: str, spots: Sequence[Spot]) -> dict[Spot, State]:
    """What is switched on at these places; those never switched are left out."""
    rows = await reader.fetch(
        STATES,
        org_id,
        [spot.project_id for spot in spots],
        [spot.user_id for spot in spots],
    )
    found = [_state(row) for row in rows]
    return {state.spot: state for state in found}


def _state(row: asyncpg.Record) -> State:
    return State(
        spot=Spot(row["project_id"], row["user_id"]),
        revision=row["revision"],
        candidate=row["candidate"],
        percent=row["percent"],
        switched_at=row["switched_at"],
        current_pins=_pins(row["current_pins"]),
        candidate_pins=_pins(row["candidate_pins"]),
    )


def _pins(stored: str | None) -> Pins | None:
    return None if stored is None else Pins.model_validate_json(stored)


async def contents(reader: Reader, org_id: str, wanted: Sequence[Pinned]) -> dict[Pinned, Item]:
    """The items behind pins, each as it is shown; those that are not there are left out."""
    rows = await reader.fetch(
        CONTENTS,
        org_id,
        [pin.kind for pin in wanted],
        [pin.id for pin in wanted],
        [pin.version for pin in wanted],
    )
    return {
        Pinned(row["kind"], row["id"], row["wanted"]): item(row, "LATEST" if row["wanted"] is None else "FIXED")
        for row in rows
    }


async def revision_pins(reader: Reader, org_id: str, spot: Spot, revision: int) -> Pins | None:
    """What a revision of a place consists of; None where there is no such revision."""
    return _pins(
        await reader.fetchval(
            "SELECT pins FROM resources.revisions"
            " WHERE org_id = $1 AND project_id = $2 AND user_id = $3 AND revision = $4",
            org_id,
            *spot,
            revision,
        )
    )


async def former(reader: Reader, org_id: str, spot: Spot, revision: int | None) -> int | None:
    """What was switched on last before `revision`; a candidate that was never completed does not count."""
    found: int | None = await reader.fetchval(
        "SELECT revision FROM resources.activations WHERE org_id = $1 AND project_id = $2 AND user_id = $3"
        " AND revision IS NOT NULL AND revision IS DISTINCT FROM $4 ORDER BY clock DESC LIMIT 1",
        org_id,
        *spot,
        revision,
    )
    return found


async def using(reader: Reader, org_id: str, kind: Kind, id: str) -> list[Spot]:
    """The places that have a resource in their current set or candidate."""
    rows = await reader.fetch(
        "SELECT DISTINCT project_id, user_id FROM resources.pins WHERE org_id = $1 AND kind = $2 AND id = $3",
        org_id,
        kind,
        id,
    )
    return [Spot(*row) for row in rows]


async def using_by_config(
    reader: Reader, org_id: str, kind: Kind, id: str, version: int | None, latest: bool
) -> Sequence[Mapping[str, Any]]:
    """Who has this version in an active set through a config there that names it, at most `MOST_USERS_NAMED`.

    With `version` None, who has any; `latest` says that those who name no version have this one.
    """
    if kind == "config":
        return []
    rows = await reader.fetch(USING_BY_CONFIG, org_id, kind, id, version, latest, MOST_USERS_NAMED)
    return [dict(row) for row in rows]


async def occupied(reader: Reader, org_id: str, project_id: str, limit: int) -> list[Spot]:
    """At most `limit` places of a project that have a set, the project's own first."""
    rows = await reader.fetch(
        "SELECT project_id, user_id FROM resources.places"
        " WHERE org_id = $1 AND project_id = $2 AND revision IS NOT NULL ORDER BY user_id LIMIT $3",
        org_id,
        project_id,
        limit,
    )
    return [Spot(*row) for row in rows]


async def history(
    reader: Reader, org_id: str, spot: Spot, *, limit: int, before: int | None
) -> Sequence[Mapping[str, Any]]:
    """Revisions of a place, newest first, behind revision `before`."""
    rows: Sequence[Mapping[str, Any]] = await reader.fetch(
        "SELECT revision, pins, note, origin, restored, key_id, by_user, created_at FROM resources.revisions"
        " WHERE org_id = $1 AND project_id = $2 AND user_id = $3 AND ($4::integer IS NULL OR revision < $4)"
        " ORDER BY revision DESC LIMIT $5",
        org_id,
        *spot,
        before,
        limit,
    )
    return rows


async def steps(
    reader: Reader, org_id: str, spot: Spot, *, since: datetime, before: int | None, limit: int
) -> Sequence[Mapping[str, Any]]:
    """Changes of what was live at a place since a moment, newest first, until its revision `before` came."""
    rows: Sequence[Mapping[str, Any]] = await reader.fetch(
        "SELECT revision, candidate, percent, at FROM resources.activations"
        " WHERE org_id = $1 AND project_id = $2 AND user_id = $3 AND at >= $4 AND ($5::integer IS NULL OR at < ("
        "SELECT created_at FROM resources.revisions"
        " WHERE org_id = $1 AND project_id = $2 AND user_id = $3 AND revision = $5))"
        " ORDER BY clock DESC LIMIT $6",
        org_id,
        *spot,
        since,
        before,
        limit,
    )
    return rows


async def live_at(reader: Reader, org_id: str, spot: Spot, moment: datetime) -> Mapping[str, Any] | None:
    """What was switched on at a place at a moment: revision, candidate, percent and since when."""
    found: Mapping[str, Any] | None = await reader.fetchrow(
        "SELECT revision, candidate, percent, at FROM resources.activations"
        " WHERE org_id = $1 AND project_id = $2 AND user_id = $3 AND at <= $4 ORDER BY clock DESC LIMIT 1",
        org_id,
        *spot,
        moment,
    )
    return found


async def latest_at(reader: Reader, org_id: str, pin: Pinned, moment: datetime) -> int | None:
    """Which version was the latest at a moment, as far as versions of then are still there."""
    found: int | None = await reader.fetchval(
        "SELECT max(version) FROM resources.versions WHERE org_id = $1 AND kind = $2 AND id = $3 AND created_at <= $4",
        org_id,
        pin.kind,
        pin.id,
        moment,
    )
    return found


# -- writing ---------------------------------------------------------------------------------------------------


async def add_revision(work: Work, spot: Spot, pins: Pins, origin: Origin, note: str, restored: int | None) -> int:
    """The number of a new revision, counted from 1 for each place; numbers never come again."""
    revision: int = await work.connection.fetchval(
        "INSERT INTO resources.revisions"
        " (org_id, project_id, user_id, revision, pins, note, origin, restored, key_id, by_user, created_at)"
        " SELECT $1, $2, $3, coalesce(max(revision), 0) + 1, $4, $5, $6, $7, $8, $9, $10 FROM resources.revisions"
        " WHERE org_id = $1 AND project_id = $2 AND user_id = $3 RETURNING revision",
        work.org_id,
        *spot,
        pins.model_dump_json(exclude_none=True),
        note,
        origin,
        restored,
        work.asked.key_id,
        work.asked.user_id,
        work.now,
    )
    return revision


async def put(work: Work, spot: Spot, *, revision: int | None, candidate: int | None, percent: float) -> State:
    """Switch a place over, and note since when."""
    where = (work.org_id, *spot)
    values = (*where, revision, candidate, percent, work.clock, work.now)
    await work.connection.execute(
        "INSERT INTO resources.places"
        " (org_id, project_id, user_id, revision, candidate, percent, clock, switched_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (org_id, project_id, user_id)"
        " DO UPDATE SET revision = $4, candidate = $5, percent = $6, clock = $7, switched_at = $8",
        *values,
    )
    await work.connection.execute(
        # One write may switch a place twice, to a set and to a rollout beside it: what it leaves is what was live.
        "INSERT INTO resources.activations"
        " (org_id, project_id, user_id, revision, candidate, percent, clock, at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (org_id, project_id, user_id, clock)"
        " DO UPDATE SET revision = $4, candidate = $5, percent = $6",
        *values,
    )
    await work.connection.execute(
        "DELETE FROM resources.pins WHERE org_id = $1 AND project_id = $2 AND user_id = $3", *where
    )
    state = (await states(work.connection, work.org_id, [spot]))[spot]
    await _pin(work, spot, revision, state.current_pins)
    await _pin(work, spot, candidate, state.candidate_pins)
    return state


async def _pin(work: Work, spot: Spot, revision: int | None, pins: Pins | None) -> None:
    if revision is None or pins is None:
        return
    await work.connection.executemany(
        "INSERT INTO resources.pins (org_id, project_id, user_id, revision, kind, id, version)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7)",
        [(work.org_id, *spot, revision, *pin) for pin in pinned(pins)],
    )
