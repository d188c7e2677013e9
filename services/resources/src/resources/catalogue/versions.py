"""Prompts, configs, tools and voices: reading their versions, and every way to change them."""

from collections.abc import Callable, Mapping
from typing import Any

from common.events.envelope import Event
from common.events.reply import Reply
from common.events.resource_replies import (
    RESOURCE_PAGES,
    RESOURCE_REPLIES,
    ResourceDeleted,
    ResourcePage,
    ResourceReply,
)
from common.events.resource_terms import Kind, Pin, SetScope
from common.events.resources import (
    ResourceCreateRequested,
    ResourceDeleteRequested,
    ResourceEditRequested,
    ResourceGetRequested,
    ResourceListRequested,
    ResourceVersionRequested,
    ResourceVersionsRequested,
)
from common.failures import Refused
from resources.active import switch
from resources.active.set_variables import check_followers
from resources.catalogue import validation
from resources.catalogue.changes import changed, deleted
from resources.catalogue.config_references import references
from resources.catalogue.page_bounds import page_size
from resources.dear_work import checked
from resources.deps import Deps
from resources.ports import Catalogue, Item, Page, Work, not_found
from resources.resource_ids import MAX_VERSION, is_id

# -- queries -------------------------------------------------------------------------------------------------


async def list_latest(event: Event[ResourceListRequested], deps: Deps) -> Reply[ResourcePage]:
    """200 with a page of the latest versions, newest resource first."""
    query = event.payload
    size = page_size(query.page_number, query.page_size)
    name = None if query.name is None else validation.text(query.name, "name")
    catalogue = deps.catalogues.of(query.org_id)
    page = await catalogue.list(query.org_id, query.kind, name=name, page=query.page_number, size=size)
    return Reply(_page(query.kind, page))


async def list_versions(event: Event[ResourceVersionsRequested], deps: Deps) -> Reply[ResourcePage]:
    """200 with a page of the versions of one resource, newest first; 404."""
    query = event.payload
    size = page_size(query.page_number, query.page_size)
    id = _id(query.kind, query.id)
    catalogue = deps.catalogues.of(query.org_id)
    page = await catalogue.versions(query.org_id, query.kind, id, page=query.page_number, size=size)
    return Reply(_page(query.kind, page))


async def get(event: Event[ResourceGetRequested], deps: Deps) -> Reply[ResourceReply]:
    """200 with one version, which is in the cache from now on; 404."""
    query = event.payload

    async def found() -> Reply[ResourceReply]:
        id = _id(query.kind, query.id, query.version)
        return Reply(_one(await deps.catalogues.of(query.org_id).get(query.org_id, query.kind, id, query.version)))

    return await deps.cache.version(query.org_id, query.kind, query.id, query.version, found)


def _one(item: Item) -> ResourceReply:
    return ResourceReply(RESOURCE_REPLIES[item.kind].model_validate({item.kind: item.resource()}))


def _page(kind: Kind, page: Page) -> ResourcePage:
    fields = {
        "page_number": page.number,
        "page_size": page.size,
        "total_pages": -(-page.total // page.size),
        f"{kind}s": [item.resource() for item in page.items],
    }
    return ResourcePage(RESOURCE_PAGES[kind].model_validate(fields))


def _id(kind: Kind, id: str, version: int | None = None) -> str:
    """The id, or 404 for one that nothing can have."""
    if not is_id(id) or (version is not None and not 0 <= version <= MAX_VERSION):
        raise not_found(kind, id[:80], version)
    return id


# -- commands --------------------------------------------------------------------------------------------------


async def create(event: Event[ResourceCreateRequested], deps: Deps) -> Reply[ResourceReply]:
    """201 with the resource and its version 0, active if that was asked for; 400, 409 `name_taken`."""
    command = event.payload
    catalogue = deps.catalogues.of(command.org_id)
    body = await _body(validation.new_resource, command, deps)
    await _references(catalogue, command.org_id, command.kind, body)
    async with deps.units.begin(event) as work:
        if command.activate is not None and catalogue.name != deps.catalogues.local.name:
            await _rehearse(work, deps.catalogues.local, command.activate, command.kind, body)
        item = await catalogue.create(work, command.kind, body)
        await changed(work, "created", item, before=None)
        if command.activate is not None:
            await _activate(work, command.activate, item)
        return await work.answer(Reply(_one(item), status=201))


async def _body(
    check: Callable[[Kind, Mapping[str, Any]], dict[str, Any]],
    command: ResourceCreateRequested | ResourceVersionRequested,
    deps: Deps,
) -> dict[str, Any]:
    """The body as it is stored; raises `Refused` (400). What the check of a tool's schema costs, its caller chooses."""
    if command.kind != "tool":
        return check(command.kind, command.body)
    return await checked(deps.workers, command.org_id, "parameters", check, command.kind, command.body)


async def _rehearse(work: Work, local: Catalogue, scope: SetScope, kind: Kind, body: Mapping[str, Any]) -> None:
    """Raises the `Refused` of `_activate` before a provider makes what no transaction of ours takes back."""
    async with work.rehearsal():
        # Under a name that nobody has: whether its own is free is for the provider to say.
        item = await local.create(work, kind, {**body, "name": work.event_id})
        await _activate(work, scope, item)


async def _activate(work: Work, scope: SetScope, item: Item) -> None:
    """Put a new resource into the set of a scope; raises `Refused` (409 `no_active_set`) where there is none.

    A config that names its prompt makes a first set together with it.
    """
    pin = Pin(id=item.id, version=item.version)
    if item.kind == "tool":
        await switch.add_tool(work, scope, pin)
        return
    part: dict[str, Any] = {item.kind: pin}
    try:
        await switch.replace(work, scope, **part)
    except Refused as refused:
        own = item.content.get("prompt") or {}
        if refused.code != "no_active_set" or "id" not in own:
            raise
        await switch.replace(work, scope, config=pin, prompt=Pin(id=own["id"], version=own.get("version")))


async def create_version(event: Event[ResourceVersionRequested], deps: Deps) -> Reply[ResourceReply]:
    """200 with the next version; 400, 404, 409 `unfilled_variables` where a set follows the latest one."""
    command = event.payload
    catalogue = deps.catalogues.of(command.org_id)
    id = _id(command.kind, command.id)
    body = await _body(validation.new_version, command, deps)
    await _references(catalogue, command.org_id, command.kind, body)
    async with deps.units.begin(event) as work:
        before = await _known(work, command.kind, id)
        if catalogue.name == deps.catalogues.local.name:
            await check_followers(work, command.kind, id, body)
        item = await catalogue.create_version(work, command.kind, id, body)
        await changed(work, "versioned", item, before=before)
        return await work.answer(Reply(_one(item)))


async def edit(event: Event[ResourceEditRequested], deps: Deps) -> Reply[ResourceReply]:
    """200 with the resource under its new name, or the version with its new description; 400, 404, 409."""
    command = event.payload
    id = _id(command.kind, command.id, command.version)
    renames = validation.edit(command.kind, command.name, command.version, command.version_description)
    async with deps.units.begin(event) as work:
        before = await _known(work, command.kind, id, None if renames else command.version)
        item = await _edited(deps.catalogues.of(command.org_id), work, command)
        await changed(work, "renamed" if renames else "described", item, before=before)
        return await work.answer(Reply(_one(item)))


async def _edited(catalogue: Catalogue, work: Work, command: ResourceEditRequested) -> Item:
    if command.name is not None:
        return await catalogue.rename(work, command.kind, command.id, command.name)
    # Both are there: validation saw to it.
    version, description = command.version or 0, command.version_description or ""
    return await catalogue.describe(work, command.kind, command.id, version, description)


async def delete(event: Event[ResourceDeleteRequested], deps: Deps) -> Reply[ResourceDeleted]:
    """200 with what is gone; 404, 409 `in_use` with `used_by`."""
    command = event.payload
    id = _id(command.kind, command.id, command.version)
    catalogue = deps.catalogues.of(command.org_id)
    async with deps.units.begin(event) as work:
        before = await _known(work, command.kind, id, command.version)
        await _unused(work, command)
        if command.version is None:
            await catalogue.delete(work, command.kind, id)
        else:
            await catalogue.delete_version(work, command.kind, id, command.version)
        await deleted(work, command.kind, id, command.version, before=before)
        return await work.answer(Reply(ResourceDeleted(id=id, version=command.version, deleted=True)))


async def _unused(work: Work, command: ResourceDeleteRequested) -> None:
    tables = work.tables
    latest = await tables.catalogue.get(command.kind, command.id, None)
    # Without it those who follow the latest would move back to an older one behind their back.
    is_latest = latest is not None and latest.version == command.version
    wanted = (command.kind, command.id, command.version, is_latest)
    users = await tables.catalogue.used_by(*wanted)
    through = [] if users else await tables.scopes.using_by_config(*wanted)
    if users or through:
        what = f"The {command.kind}" if command.version is None else f"Version {command.version} of the {command.kind}"
        message = f"{what} is {'named by a config in' if through else 'part of'} an active set."
        raise Refused(409, message, "in_use", details={"used_by": users or through})


async def _references(catalogue: Catalogue, org_id: str, kind: Kind, body: Mapping[str, Any]) -> None:
    """Raises `Refused` (400, naming the field) when a config names something that is not there."""
    if kind != "config":
        return
    for reference in references(body):
        try:
            found = await catalogue.get(org_id, reference.kind, reference.id, reference.version)
        except Refused as refused:
            if refused.status != 404:
                raise
            raise Refused(400, refused.message, "unknown_reference", reference.param) from None
        if found.status != "usable":
            message = f"{reference.kind} '{reference.id}' is {found.status}."
            raise Refused(400, message, "unknown_reference", reference.param)


async def _known(work: Work, kind: Kind, id: str, version: int | None = None) -> Item | None:
    """The state before, as far as it is known here; a provider may hold more."""
    return await work.tables.catalogue.get(kind, id, version)
