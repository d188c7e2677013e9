"""A project as one document: its active sets and the resources in them, taken out here and put in elsewhere."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import groupby
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.events.envelope import Event
from common.events.reply import Reply
from common.events.resources import Kind, Pins, ProjectExportRequested, ProjectImportRequested
from common.storage.postgres import transient
from resources import active, catalogue, places, store, validation
from resources.deps import Deps
from resources.places import Spot, State
from resources.ports import Item, Refused
from resources.store import Reader
from resources.work import Work

FORMAT = "sonant.project/1"
# More would not be put in within the time of one command, nor travel as one record of the log.
MOST_PLACES = 1_000
MOST_RESOURCES = 1_000
MOST_VERSIONS = 10_000
LARGEST_DOCUMENT = 3 * 1024 * 1024
# The last millisecond of the year 9998: PostgreSQL and Python both know it.
LATEST_TIME = 253_370_764_799_999

# -- the document ----------------------------------------------------------------------------------------------


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


Milliseconds = Annotated[validation.Whole, Field(ge=0, le=LATEST_TIME)]


class KeptVersion(_Strict):
    version: validation.Version
    version_description: validation.Line = ""
    created_on: Milliseconds
    modified_on: Milliseconds
    content: dict[str, Any]


class KeptResource(_Strict):
    """A resource with all its versions."""

    kind: Kind
    id: validation.Id
    name: str
    status: Literal["usable", "quarantined", "disabled"] = "usable"
    provenance: dict[str, Any] | None = None
    versions: Annotated[list[KeptVersion], Field(min_length=1, max_length=MOST_VERSIONS)]


class KeptPlace(_Strict):
    """The set of the project, or of a user in it; a rollout under way has a candidate."""

    user_id: Annotated[str, Field(max_length=places.LONGEST_ID)] = ""
    pins: Pins
    candidate: Pins | None = None
    # At 100 there is no candidate any more.
    percent: Annotated[validation.Number, Field(ge=0, lt=100)] = 0.0


class Document(_Strict):
    format: Literal["sonant.project/1"]
    project_id: str
    resources: Annotated[list[KeptResource], Field(max_length=MOST_RESOURCES)]
    places: Annotated[list[KeptPlace], Field(max_length=MOST_PLACES)]


# -- taking out ------------------------------------------------------------------------------------------------


async def take_out(event: Event[ProjectExportRequested], deps: Deps) -> Reply:
    """200 with the document; 409 `too_large` for a project that does not fit into one."""
    asked = event.payload
    project_id = _project(asked.project_id).project_id
    async with transient(), deps.pool.acquire() as connection:
        # One look at everything: a set and what is in it belong together.
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            document = await _document(connection, asked.org_id, project_id)
    if len(orjson.dumps(document)) > LARGEST_DOCUMENT:
        raise _too_large(f"{LARGEST_DOCUMENT} bytes")
    return Reply(document)


def _project(project_id: str) -> Spot:
    """The project's own place; raises `Refused` (400) for a project that cannot be."""
    if not project_id or not validation.is_id(project_id):
        raise Refused(400, "'projectId' is no id of a project.", "invalid_value", "projectId")
    return Spot(project_id, "")


def _too_large(limit: str) -> Refused:
    message = f"The project does not fit into one document: it has more than {limit}. Copy the database instead."
    return Refused(409, message, "too_large")


async def _document(reader: Reader, org_id: str, project_id: str) -> dict[str, Any]:
    spots = await places.occupied(reader, org_id, project_id, MOST_PLACES + 1)
    if len(spots) > MOST_PLACES:
        raise _too_large(f"{MOST_PLACES} active sets")
    states = await places.states(reader, org_id, spots)
    items = await _used(reader, org_id, list(states.values()))
    resources = [_kept(list(versions)) for _, versions in groupby(items, key=lambda item: (item.kind, item.id))]
    if len(resources) > MOST_RESOURCES or len(items) > MOST_VERSIONS:
        raise _too_large(f"{MOST_RESOURCES} resources or {MOST_VERSIONS} versions")
    return {
        "format": FORMAT,
        "project_id": project_id,
        "resources": resources,
        "places": [_place(states[spot]) for spot in spots],
    }


async def _used(reader: Reader, org_id: str, states: Sequence[State]) -> list[Item]:
    """All versions of what is in the sets, and of what their configs name."""
    sets = [pins for state in states for pins in (state.current_pins, state.candidate_pins) if pins is not None]
    pinned = {(pin.kind, pin.id) for pins in sets for pin in places.pinned(pins)}
    configs = await store.whole(reader, org_id, [named for named in pinned if named[0] == "config"])
    referred = {(named.kind, named.id) for config in configs for named in validation.references(config.content)}
    return await store.whole(reader, org_id, sorted(pinned | referred))


def _kept(versions: Sequence[Item]) -> dict[str, Any]:
    first = versions[0]
    provenance = {} if first.provenance is None else {"provenance": first.provenance}
    return {
        "kind": first.kind,
        "id": first.id,
        "name": first.name,
        "status": first.status,
        **provenance,
        "versions": [
            {
                "version": item.version,
                "version_description": item.version_description,
                "created_on": item.created_on,
                "modified_on": item.modified_on,
                "content": item.content,
            }
            for item in versions
        ],
    }


def _place(state: State) -> dict[str, Any]:
    rollout = {"candidate": state.candidate_pins.model_dump(), "percent": state.percent} if state.candidate_pins else {}
    pins = state.current_pins
    return {"user_id": state.spot.user_id, "pins": pins and pins.model_dump(), **rollout}


# -- putting in ------------------------------------------------------------------------------------------------


async def put_in(event: Event[ProjectImportRequested], deps: Deps) -> Reply:
    """200 with how much was new; 400 for a wrong document, 409 where something else has a name or a version."""
    asked = event.payload
    project = _project(asked.project_id)
    if deps.catalogues.of(asked.org_id).name != "local":
        message = "The resources of this organisation are kept by its provider, which takes no ids and versions."
        raise Refused(409, message, "not_local")
    document = _read(asked.document)
    resources = [_items(resource) for resource in document.resources]
    async with deps.works.begin(event) as work:
        new = [await _restored(work, versions) for versions in resources]
        async with _admitted(work, [versions[-1] for versions in resources]):
            switched = [await _switched(work, project, place) for place in document.places]
        changed = {"resources": sum(map(bool, new)), "versions": sum(new), "places": sum(switched)}
        return await work.answer(Reply(changed))


def _read(document: Mapping[str, Any]) -> Document:
    try:
        return Document.model_validate(document)
    except ValidationError as error:
        raise validation.refused(error) from None


def _items(resource: KeptResource) -> list[Item]:
    """Its versions, checked as new ones are; raises `Refused` (400)."""
    validation.edit(resource.kind, resource.name, None, None)
    if resource.provenance is not None:
        validation.plain(resource.provenance, "provenance")
    return [
        Item(
            kind=resource.kind,
            id=resource.id,
            name=resource.name,
            version=kept.version,
            created_on=kept.created_on,
            modified_on=kept.modified_on,
            content=validation.new_version(resource.kind, kept.content),
            version_description=kept.version_description,
            status=resource.status,
            provenance=resource.provenance,
        )
        for kept in sorted(resource.versions, key=lambda kept: kept.version)
    ]


async def _restored(work: Work, versions: Sequence[Item]) -> int:
    """How many versions of a resource were new here; raises `Refused` (409) where something else has a number."""
    latest = versions[-1]
    there = {item.version: item for item in await store.whole(work.connection, work.org_id, [(latest.kind, latest.id)])}
    for item in versions:
        if item.version in there and there[item.version].content != item.content:
            message = f"Version {item.version} of {item.kind} '{item.id}' is another one here."
            raise Refused(409, message, "version_conflict", details={"kind": item.kind, "id": item.id})
    if not there:
        await store.claim_name(work, latest.kind, latest.id, latest.name)
    new = await store.bring_in(work, "local", versions)
    if not there:
        await store.mark(work, latest.kind, latest.id, latest.status, latest.provenance)
    if new:
        before = there[max(there)] if there else None
        now = await store.get(work.connection, work.org_id, latest.kind, latest.id, None) or latest
        await catalogue.changed(work, "versioned" if there else "created", now, before=before)
    return len(new)


@asynccontextmanager
async def _admitted(work: Work, resources: Sequence[Item]) -> AsyncIterator[None]:
    """Let sets be put in with tools that the document knows as disabled.

    They are served without them, as they were where they come from: the tools are usable in this transaction alone.
    """
    disabled = [item.id for item in resources if item.kind == "tool" and item.status == "disabled"]
    admitted = await store.turn(work, disabled, "disabled", "usable")
    yield
    await store.turn(work, admitted, "usable", "disabled")


async def _switched(work: Work, project: Spot, kept: KeptPlace) -> bool:
    """Whether the set was another one here."""
    place = project._replace(user_id=kept.user_id).place
    spot = places.spot_of(place, work.asked)
    state = (await places.states(work.connection, work.org_id, [spot])).get(spot)
    if state is not None and _same(state, kept):
        return False
    await active.switch(work, place, kept.pins, note="imported")
    if kept.candidate is not None:
        await active.roll_out(work, place, kept.percent, kept.candidate)
    return True


def _same(state: State, kept: KeptPlace) -> bool:
    rollout = (state.candidate_pins, state.percent if state.candidate_pins else 0.0)
    return state.current_pins == kept.pins and rollout == (kept.candidate, kept.percent if kept.candidate else 0.0)
