"""Questions about active sets and single versions whose answers other processes read from the cache."""

from datetime import UTC, datetime
from typing import Any

from common.clients.resources.entries import in_candidate
from common.events.envelope import Event
from common.events.reply import Reply
from common.events.resources import (
    ActiveAtRequested,
    ActiveDiffRequested,
    ActiveHistoryRequested,
    ActiveResolveRequested,
    ActiveSwitched,
    Pins,
    ResourceChanged,
    ResourceGetRequested,
    ResourceRequest,
    SetScope,
)
from common.storage.postgres import Pool, transient
from resources import catalogue, places
from resources.answering import answered
from resources.deps import Deps
from resources.diffs import difference
from resources.places import Pinned, Spot
from resources.ports import Refused

MOST_REVISIONS = 200
MOST_STEPS = 200
# The last moment PostgreSQL and Python both know, roughly: the end of the year 9998.
LATEST_TIME = 253_370_764_800.0


async def resolve(event: Event[ActiveResolveRequested], deps: Deps) -> Reply:
    """200 `{"entries": [text, ...]}`: the places that apply as they are in the cache now."""
    asked = event.payload
    spot = places.spot_of(_asked_for(asked.project_id, asked.user_id), asked)
    entries = await deps.resolver.resolve(asked.org_id, *spot)
    return Reply({"entries": [entry.decode() for entry in entries]})


def _asked_for(project_id: str, user_id: str) -> SetScope:
    """The place where the search for a set begins."""
    if not project_id:
        return SetScope(layer="organization")
    return SetScope(layer="user" if user_id else "project", project_id=project_id, user_id=user_id)


async def get(event: Event[ResourceGetRequested], deps: Deps) -> Reply:
    """200 with one version, which is in the cache from now on; 404."""
    asked = event.payload

    async def found() -> Reply:
        return await answered(catalogue.get)(event, deps) or Reply(None, 500)

    return await deps.resolver.version(asked.org_id, asked.kind, asked.id, asked.version, found)


async def on_switched(event: Event[ActiveSwitched], deps: Deps) -> None:
    """See to it that the cache knows of a switch."""
    await deps.resolver.take(event.payload)


async def on_changed(event: Event[ResourceChanged], deps: Deps) -> None:
    """See to it that the cache knows of a change to a resource."""
    await deps.resolver.take(event.payload)


# -- what was --------------------------------------------------------------------------------------------------


async def history(event: Event[ActiveHistoryRequested], deps: Deps) -> Reply:
    """200 `{"data": [revision, ...], "has_more", "steps", "current", "candidate", "percent"}`, newest first.

    `steps` are the changes of what was live since the oldest revision of the page, `MOST_STEPS` at most.
    """
    asked = event.payload
    spot = places.spot_of(asked.place, asked)
    limit = max(1, min(asked.limit, MOST_REVISIONS))
    async with transient(), deps.pool.acquire() as connection:
        state = (await places.states(connection, asked.org_id, [spot])).get(spot)
        before = _bounded(asked.before)
        rows = await places.history(connection, asked.org_id, spot, limit=limit + 1, before=before)
        since = rows[:limit][-1]["created_at"] if rows else datetime.now(UTC)
        steps = await places.steps(connection, asked.org_id, spot, since=since, before=before, limit=MOST_STEPS)
    on = {
        "current": state and state.revision,
        "candidate": state and state.candidate,
        "percent": state.percent if state else 0.0,
    }
    data = [_revision(row) for row in rows[:limit]]
    told = [_step(row) for row in steps]
    return Reply({"object": "list", "data": data, "has_more": len(rows) > limit, "steps": told, **on})


def _step(row: Any) -> dict[str, Any]:
    names = ("revision", "candidate", "percent")
    return {**{name: row[name] for name in names}, "on": _milliseconds(row["at"])}


def _revision(row: Any) -> dict[str, Any]:
    return {
        "revision": row["revision"],
        "pins": Pins.model_validate_json(row["pins"]).model_dump(),
        "note": row["note"],
        "origin": row["origin"],
        "restored": row["restored"],
        "key_id": row["key_id"],
        "user_id": row["by_user"],
        "created_on": _milliseconds(row["created_at"]),
    }


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _bounded(revision: int | None) -> int | None:
    return None if revision is None else max(0, min(revision, 2**31 - 1))


async def diff(event: Event[ActiveDiffRequested], deps: Deps) -> Reply:
    """200 with what changed between two revisions, slot by slot, and in the text of the prompt; 404."""
    asked = event.payload
    spot = places.spot_of(asked.place, asked)
    async with transient(), deps.pool.acquire() as connection:
        old = await _pins(connection, asked, spot, asked.old)
        new = await _pins(connection, asked, spot, asked.new)
        wanted = list({*places.pinned(old), *places.pinned(new)})
        items = await places.contents(connection, asked.org_id, wanted)
    return Reply({"old": asked.old, "new": asked.new, **difference(old, new, items)})


async def _pins(connection: Any, asked: ResourceRequest, spot: Spot, revision: int) -> Pins:
    pins = await places.revision_pins(connection, asked.org_id, spot, _bounded(revision) or 0)
    if pins is None:
        raise Refused(404, f"There is no revision {revision} here.", "not_found", "revision")
    return pins


async def at(event: Event[ActiveAtRequested], deps: Deps) -> Reply:
    """200 with what was live for the user at a moment; 404 where nothing was."""
    asked = event.payload
    if not 0 <= asked.time <= LATEST_TIME:
        raise Refused(400, "'time' must be a moment in unix seconds.", "invalid_value", "time")
    spot = places.spot_of(_asked_for(asked.project_id, asked.user_id), asked)
    moment = datetime.fromtimestamp(asked.time, UTC)
    async with transient():
        for layer in places.layers(*spot):
            live = await places.live_at(deps.pool, asked.org_id, layer, moment)
            if live is not None and live["revision"] is not None:
                return Reply(await _live(deps.pool, asked, layer, live, moment))
    raise Refused(404, "Nothing was active at that time.", "not_found")


async def _live(pool: Pool, asked: ActiveAtRequested, spot: Spot, live: Any, moment: datetime) -> dict[str, Any]:
    reached = live["candidate"] is not None and in_candidate(
        asked.org_id, asked.project_id, asked.user_id, live["percent"]
    )
    revision = live["candidate"] if reached else live["revision"]
    pins = await _pins(pool, asked, spot, revision)
    return {
        "place": spot.place.model_dump(),
        "layer": spot.layer,
        "time": asked.time,
        "since": _milliseconds(live["at"]),
        "revision": revision,
        "candidate": reached,
        "percent": live["percent"],
        "pins": pins.model_dump(),
        "versions": [await _version(pool, asked.org_id, pin, moment) for pin in places.pinned(pins)],
    }


async def _version(pool: Pool, org_id: str, pin: Pinned, moment: datetime) -> dict[str, Any]:
    """A pin with the version it stood for then."""
    version = pin.version
    if version is None:
        version = await places.latest_at(pool, org_id, pin, moment)
    return {"kind": pin.kind, "id": pin.id, "version": version, "follows_latest": pin.version is None}
