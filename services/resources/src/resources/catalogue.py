"""Prompts, configs, tools and voices: what is asked of the catalogue, and what every change leaves behind."""

from collections.abc import Mapping
from typing import Any, Literal

from common.events.envelope import Event
from common.events.reply import Reply
from common.events.resources import (
    RESOURCE_CHANGED,
    Kind,
    Pin,
    ResourceChanged,
    ResourceCreateRequested,
    ResourceDeleteRequested,
    ResourceEditRequested,
    ResourceGetRequested,
    ResourceListRequested,
    ResourceVersionRequested,
    ResourceVersionsRequested,
    SetScope,
)
from resources import active, places, store, validation
from resources.deps import Deps
from resources.ports import Catalogue, Item, Page, Refused, not_found
from resources.work import Work

Action = Literal["created", "versioned", "renamed", "described", "deleted", "promoted", "disabled", "quarantined"]

# -- questions -------------------------------------------------------------------------------------------------


async def list_latest(event: Event[ResourceListRequested], deps: Deps) -> Reply:
    """200 with a page of the latest versions, newest resource first."""
    asked = event.payload
    size = validation.page_size(asked.page_number, asked.page_size)
    name = None if asked.name is None else validation.text(asked.name, "name")
    catalogue = deps.catalogues.of(asked.org_id)
    page = await catalogue.list(asked.org_id, asked.kind, name=name, page=asked.page_number, size=size)
    return Reply(_page(asked.kind, page))


async def list_versions(event: Event[ResourceVersionsRequested], deps: Deps) -> Reply:
    """200 with a page of the versions of one resource, newest first; 404."""
    asked = event.payload
    size = validation.page_size(asked.page_number, asked.page_size)
    id = _id(asked.kind, asked.id)
    catalogue = deps.catalogues.of(asked.org_id)
    return Reply(
        _page(asked.kind, await catalogue.versions(asked.org_id, asked.kind, id, page=asked.page_number, size=size))
    )


async def get(event: Event[ResourceGetRequested], deps: Deps) -> Reply:
    """200 with one version; 404."""
    asked = event.payload
    id = _id(asked.kind, asked.id, asked.version)
    return Reply(_one(await deps.catalogues.of(asked.org_id).get(asked.org_id, asked.kind, id, asked.version)))


def _one(item: Item) -> dict[str, Any]:
    return {item.kind: item.body()}


def _page(kind: Kind, page: Page) -> dict[str, Any]:
    return {
        "page_number": page.number,
        "page_size": page.size,
        "total_pages": -(-page.total // page.size),
        f"{kind}s": [item.body() for item in page.items],
    }


def _id(kind: Kind, id: str, version: int | None = None) -> str:
    """The id, or 404 for one that nothing can have."""
    if not validation.is_id(id) or (version is not None and not 0 <= version <= validation.LARGEST_VERSION):
        raise not_found(kind, id[:80], version)
    return id


# -- commands --------------------------------------------------------------------------------------------------


async def create(event: Event[ResourceCreateRequested], deps: Deps) -> Reply:
    """201 with the resource and its version 0, active if that was asked for; 400, 409 `name_taken`."""
    asked = event.payload
    catalogue = deps.catalogues.of(asked.org_id)
    body = validation.new_resource(asked.kind, asked.body)
    await _references(catalogue, asked.org_id, asked.kind, body)
    async with deps.works.begin(event) as work:
        if asked.activate is not None and catalogue.name != deps.catalogues.local.name:
            await _rehearse(work, deps.catalogues.local, asked.activate, asked.kind, body)
        item = await catalogue.create(work, asked.kind, body)
        await changed(work, "created", item, before=None)
        if asked.activate is not None:
            await _activate(work, asked.activate, item)
        return await work.answer(Reply(_one(item), status=201))


async def _rehearse(work: Work, local: Catalogue, place: SetScope, kind: Kind, body: Mapping[str, Any]) -> None:
    """Raises the `Refused` of `_activate` before a provider makes what no transaction of ours takes back."""
    told = len(work.facts)
    rehearsal = work.connection.transaction()
    await rehearsal.start()
    try:
        # Under a name that nobody has: whether its own is free is for the provider to say.
        item = await local.create(work, kind, {**body, "name": work.event_id})
        await _activate(work, place, item)
    finally:
        await rehearsal.rollback()
        del work.facts[told:]


async def _activate(work: Work, place: SetScope, item: Item) -> None:
    """Put a new resource into the set of a place; raises `Refused` (409 `no_active_set`) where there is none.

    A config that names its prompt makes a first set together with it.
    """
    pin = Pin(id=item.id, version=item.version)
    if item.kind == "tool":
        await active.add_tool(work, place, pin)
        return
    part: dict[str, Any] = {item.kind: pin}
    try:
        await active.replace(work, place, **part)
    except Refused as refused:
        own = item.content.get("prompt") or {}
        if refused.code != "no_active_set" or "id" not in own:
            raise
        await active.replace(work, place, config=pin, prompt=Pin(id=own["id"], version=own.get("version")))


async def create_version(event: Event[ResourceVersionRequested], deps: Deps) -> Reply:
    """200 with the next version; 400, 404."""
    asked = event.payload
    catalogue = deps.catalogues.of(asked.org_id)
    id = _id(asked.kind, asked.id)
    body = validation.new_version(asked.kind, asked.body)
    await _references(catalogue, asked.org_id, asked.kind, body)
    async with deps.works.begin(event) as work:
        before = await _known(work, asked.kind, id)
        item = await catalogue.create_version(work, asked.kind, id, body)
        await changed(work, "versioned", item, before=before)
        return await work.answer(Reply(_one(item)))


async def edit(event: Event[ResourceEditRequested], deps: Deps) -> Reply:
    """200 with the resource under its new name, or the version with its new description; 400, 404, 409."""
    asked = event.payload
    id = _id(asked.kind, asked.id, asked.version)
    renames = validation.edit(asked.kind, asked.name, asked.version, asked.version_description)
    async with deps.works.begin(event) as work:
        before = await _known(work, asked.kind, id, None if renames else asked.version)
        item = await _edited(deps.catalogues.of(asked.org_id), work, asked)
        await changed(work, "renamed" if renames else "described", item, before=before)
        return await work.answer(Reply(_one(item)))


async def _edited(catalogue: Catalogue, work: Work, asked: ResourceEditRequested) -> Item:
    if asked.name is not None:
        return await catalogue.rename(work, asked.kind, asked.id, asked.name)
    # Both are there: validation saw to it.
    version, description = asked.version or 0, asked.version_description or ""
    return await catalogue.describe(work, asked.kind, asked.id, version, description)


async def delete(event: Event[ResourceDeleteRequested], deps: Deps) -> Reply:
    """200 `{"id", "version" | null, "deleted": true}`; 404, 409 `in_use` with `used_by`."""
    asked = event.payload
    id = _id(asked.kind, asked.id, asked.version)
    catalogue = deps.catalogues.of(asked.org_id)
    async with deps.works.begin(event) as work:
        before = await _known(work, asked.kind, id, asked.version)
        await _unused(work, asked)
        if asked.version is None:
            await catalogue.delete(work, asked.kind, id)
        else:
            await catalogue.delete_version(work, asked.kind, id, asked.version)
        await deleted(work, asked.kind, id, asked.version, before=before)
        return await work.answer(Reply({"id": id, "version": asked.version, "deleted": True}))


async def _unused(work: Work, asked: ResourceDeleteRequested) -> None:
    latest = await store.get(work.connection, work.org_id, asked.kind, asked.id, None)
    # Without it those who follow the latest would move back to an older one behind their back.
    is_latest = latest is not None and latest.version == asked.version
    wanted = (work.org_id, asked.kind, asked.id, asked.version, is_latest)
    users = await store.used_by(work.connection, *wanted)
    through = [] if users else await places.using_by_config(work.connection, *wanted)
    if users or through:
        what = f"The {asked.kind}" if asked.version is None else f"Version {asked.version} of the {asked.kind}"
        message = f"{what} is {'named by a config in' if through else 'part of'} an active set."
        raise Refused(409, message, "in_use", details={"used_by": users or through})


async def _references(catalogue: Catalogue, org_id: str, kind: Kind, body: Mapping[str, Any]) -> None:
    """Raises `Refused` (400, naming the field) when a config names something that is not there."""
    if kind != "config":
        return
    for reference in validation.references(body):
        try:
            found = await catalogue.get(org_id, reference.kind, reference.id, reference.version)
        except Refused as refused:
            if refused.status != 404:
                raise
            raise Refused(400, refused.message, "unknown_reference", reference.param) from None
        if found.status != "usable":
            message = f"{reference.kind} '{reference.id}' is {found.status}."
            raise Refused(400, message, "unknown_reference", reference.param)


# -- what a change leaves behind -------------------------------------------------------------------------------


async def _known(work: Work, kind: Kind, id: str, version: int | None = None) -> Item | None:
    """The state before, as far as it is known here; a provider may hold more."""
    return await store.get(work.connection, work.org_id, kind, id, version)


async def changed(work: Work, action: Action, item: Item, *, before: Item | None) -> None:
    """The audit entry and the fact of a change after which `item` is there."""
    await _told(work, action, item.kind, item.id, item.version, before=before, after=item)


async def deleted(work: Work, kind: Kind, id: str, version: int | None = None, *, before: Item | None) -> None:
    """The audit entry and the fact of a deletion: of one version, or with `version` None of the resource."""
    await _told(work, "deleted", kind, id, version, before=before, after=None)


async def _told(
    work: Work, action: Action, kind: Kind, id: str, version: int | None, *, before: Item | None, after: Item | None
) -> None:
    target = f"{kind}:{id}" if version is None else f"{kind}:{id}:{version}"
    states = [None if state is None else state.body() for state in (before, after)]
    await work.audit(f"{kind}.{action}", target, before=states[0], after=states[1])
    fact = ResourceChanged(
        org_id=work.org_id, kind=kind, id=id, version=version, action=action, clock=work.clock, at=work.at
    )
    await work.publish(RESOURCE_CHANGED, fact)
