"""A project as one document: its active sets and the resources in them, exported here and imported elsewhere."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import groupby
from typing import Annotated, Any, Literal, cast

import orjson
from pydantic import ConfigDict, Field, ValidationError

from common.events.envelope import Event
from common.events.first_error import FewUnknown
from common.events.reply import Reply, content
from common.events.resource_replies import (
    ExportedResource,
    ExportedSet,
    ExportedVersion,
    ProjectDocument,
    ProjectImported,
    Status,
)
from common.events.resource_terms import Kind, Pins
from common.events.resources import ProjectExportRequested, ProjectImportRequested
from common.failures import Refused
from resources.active import switch
from resources.catalogue import validation
from resources.catalogue.changes import changed
from resources.catalogue.config_references import references
from resources.dear_work import checked
from resources.deps import Deps
from resources.ports import CatalogueTables, Item, Tables, Work
from resources.resource_ids import is_id
from resources.scopes import MAX_ID_CHARS, ScopeKey, State, key_of, pinned, shown_pins

# More would not be imported within the time of one command, nor travel as one record of the log.
MAX_SETS = 1_000
MAX_RESOURCES = 1_000
MAX_VERSIONS = 10_000
CHECKED_AT_ONCE = 50
MAX_DOCUMENT_BYTES = 3 * 1024 * 1024
# The last millisecond of the year 9998: PostgreSQL and Python both know it.
MAX_MILLISECONDS = 253_370_764_799_999

# -- the document ----------------------------------------------------------------------------------------------


class _Strict(FewUnknown):
    model_config = ConfigDict(extra="forbid")


Milliseconds = Annotated[validation.Whole, Field(ge=0, le=MAX_MILLISECONDS)]


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
    status: Status = "usable"
    provenance: dict[str, Any] | None = None
    versions: Annotated[list[KeptVersion], Field(min_length=1, max_length=MAX_VERSIONS, fail_fast=True)]


class KeptSet(_Strict):
    """The set of the project, or of a user in it; a rollout under way has a candidate."""

    user_id: Annotated[str, Field(max_length=MAX_ID_CHARS)] = ""
    pins: Pins
    candidate: Pins | None = None
    # At 100 there is no candidate any more.
    percent: Annotated[validation.Number, Field(ge=0, lt=100)] = 0.0


class Document(_Strict):
    format: Literal["sonant.project/1"]
    project_id: str
    resources: Annotated[list[KeptResource], Field(max_length=MAX_RESOURCES, fail_fast=True)]
    places: Annotated[list[KeptSet], Field(max_length=MAX_SETS, fail_fast=True)]


# -- export ---------------------------------------------------------------------------------------------------


async def export_project(event: Event[ProjectExportRequested], deps: Deps) -> Reply[ProjectDocument]:
    """200 with the document; 409 `too_large` for a project that does not fit into one."""
    query = event.payload
    project_id = _project(query.project_id).project_id
    # One look at everything: a set and what is in it belong together.
    async with deps.store.snapshot(query.org_id) as tables:
        document = await _document(tables, project_id)
    if len(orjson.dumps(content(document))) > MAX_DOCUMENT_BYTES:
        raise _too_large(f"{MAX_DOCUMENT_BYTES} bytes")
    return Reply(document)


def _project(project_id: str) -> ScopeKey:
    """The project's own scope; raises `Refused` (400) for a project that cannot be."""
    if not project_id or not is_id(project_id):
        raise Refused(400, "'projectId' is no id of a project.", "invalid_value", "projectId")
    return ScopeKey(project_id, "")


def _too_large(limit: str) -> Refused:
    message = f"The project does not fit into one document: it has more than {limit}. Copy the database instead."
    return Refused(409, message, "too_large")


async def _document(tables: Tables, project_id: str) -> ProjectDocument:
    keys = await tables.scopes.occupied(project_id, MAX_SETS + 1)
    if len(keys) > MAX_SETS:
        raise _too_large(f"{MAX_SETS} active sets")
    states = await tables.scopes.states(keys)
    items = await _used(tables.catalogue, list(states.values()))
    resources = [_exported(list(versions)) for _, versions in groupby(items, key=lambda item: (item.kind, item.id))]
    if len(resources) > MAX_RESOURCES or len(items) > MAX_VERSIONS:
        raise _too_large(f"{MAX_RESOURCES} resources or {MAX_VERSIONS} versions")
    return ProjectDocument(
        format="sonant.project/1",
        project_id=project_id,
        resources=tuple(resources),
        places=tuple(_exported_set(states[key]) for key in keys),
    )


async def _used(tables: CatalogueTables, states: Sequence[State]) -> list[Item]:
    """All versions of what is in the sets, and of what their configs name."""
    sets = [pins for state in states for pins in (state.current_pins, state.candidate_pins) if pins is not None]
    used = {(pin.kind, pin.id) for pins in sets for pin in pinned(pins)}
    configs = await tables.whole([named for named in used if named[0] == "config"])
    referred = {(named.kind, named.id) for config in configs for named in references(config.content)}
    return await tables.whole(sorted(used | referred))


def _exported(versions: Sequence[Item]) -> ExportedResource:
    first = versions[0]
    drafted = {} if first.provenance is None else {"provenance": dict(first.provenance)}
    return ExportedResource(
        kind=first.kind,
        id=first.id,
        name=first.name,
        status=first.status,
        **drafted,
        versions=tuple(
            ExportedVersion(
                version=item.version,
                version_description=item.version_description,
                created_on=item.created_on,
                modified_on=item.modified_on,
                content=dict(item.content),
            )
            for item in versions
        ),
    )


def _exported_set(state: State) -> ExportedSet:
    # Scopes without a set are not exported.
    pins = shown_pins(cast(Pins, state.current_pins))
    if state.candidate_pins is None:
        return ExportedSet(user_id=state.key.user_id, pins=pins)
    candidate = shown_pins(state.candidate_pins)
    return ExportedSet(user_id=state.key.user_id, pins=pins, candidate=candidate, percent=state.percent)


# -- import ---------------------------------------------------------------------------------------------------


async def import_project(event: Event[ProjectImportRequested], deps: Deps) -> Reply[ProjectImported]:
    """200 with how much was new; 400 for a wrong document, 409 where something else has a name or a version."""
    command = event.payload
    project = _project(command.project_id)
    if deps.catalogues.of(command.org_id).name != "local":
        message = "The resources of this organisation are kept by its provider, which takes no ids and versions."
        raise Refused(409, message, "not_local")
    document = await checked(deps.workers, command.org_id, "document", _read, command.document)
    resources = [await _checked_items(resource, command.org_id, deps) for resource in document.resources]
    async with deps.units.begin(event) as work:
        new = [await _restored(work, versions) for versions in resources]
        async with _admitted(work, [versions[-1] for versions in resources]):
            switched = [await _switched(work, project, kept) for kept in document.places]
        imported = ProjectImported(resources=sum(map(bool, new)), versions=sum(new), places=sum(switched))
        return await work.answer(Reply(imported))


def _read(document: Mapping[str, Any]) -> Document:
    try:
        return Document.model_validate(document)
    except ValidationError as error:
        raise validation.refused(error) from None


async def _checked_items(resource: KeptResource, org_id: str, deps: Deps) -> list[Item]:
    """Its versions; raises `Refused` (400). So many at a time that the checks of honest ones are done in time."""
    kept = sorted(resource.versions, key=lambda version: version.version)
    items: list[Item] = []
    for start in range(0, len(kept), CHECKED_AT_ONCE):
        part = resource.model_copy(update={"versions": kept[start : start + CHECKED_AT_ONCE]})
        items += await checked(deps.workers, org_id, "resources", _items, part)
    return items


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
        for kept in resource.versions
    ]


async def _restored(work: Work, versions: Sequence[Item]) -> int:
    """How many versions of a resource were new here; raises `Refused` (409) where something else has a number."""
    latest, tables = versions[-1], work.tables.catalogue
    there = {item.version: item for item in await tables.whole([(latest.kind, latest.id)])}
    for item in versions:
        if item.version in there and there[item.version].content != item.content:
            message = f"Version {item.version} of {item.kind} '{item.id}' is another one here."
            raise Refused(409, message, "version_conflict", details={"kind": item.kind, "id": item.id})
    if not there:
        await tables.claim_name(latest.kind, latest.id, latest.name)
    new = await tables.restore("local", versions)
    if not there:
        await tables.set_origin(latest.kind, latest.id, latest.status, latest.provenance)
    if new:
        before = there[max(there)] if there else None
        now = await tables.get(latest.kind, latest.id, None) or latest
        await changed(work, "versioned" if there else "created", now, before=before)
    return len(new)


@asynccontextmanager
async def _admitted(work: Work, resources: Sequence[Item]) -> AsyncIterator[None]:
    """Let sets be imported with tools that the document knows as disabled.

    They are served without them, as they were where they come from: the tools are usable in this transaction alone.
    """
    disabled = [item.id for item in resources if item.kind == "tool" and item.status == "disabled"]
    admitted = await work.tables.catalogue.replace_status(disabled, "disabled", "usable")
    yield
    await work.tables.catalogue.replace_status(admitted, "usable", "disabled")


async def _switched(work: Work, project: ScopeKey, kept: KeptSet) -> bool:
    """Whether the set was another one here."""
    scope = project._replace(user_id=kept.user_id).scope
    key = key_of(scope, work.actor.user_id)
    state = (await work.tables.scopes.states([key])).get(key)
    if state is not None and _same(state, kept):
        return False
    await switch.switch(work, scope, kept.pins, note="imported")
    if kept.candidate is not None:
        await switch.roll_out(work, scope, kept.percent, kept.candidate)
    return True


def _same(state: State, kept: KeptSet) -> bool:
    rollout = (state.candidate_pins, state.percent if state.candidate_pins else 0.0)
    return state.current_pins == kept.pins and rollout == (kept.candidate, kept.percent if kept.candidate else 0.0)
