"""The catalogue at Hume, with a copy here of everything seen, which answers while the provider is away."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from common.events.resource_terms import Kind
from common.failures import ProviderDown, Refused
from common.providers.metrics import API_FALLBACKS
from common.providers.policy import Budget
from resources.adapters.hume.api import MAX_PAGE_SIZE, HumeApi, Shown, all_of
from resources.adapters.hume.call_policy import PROVIDER, WRITE_BACKOFF
from resources.adapters.hume.shapes import is_marked, item, marked
from resources.ports import CatalogueTables, Item, Page, ProviderCopy, Store, Work, name_taken, not_found

T = TypeVar("T", Item, Page)
Look = Callable[[], Awaitable[Shown | None]]

CUSTOM, LIBRARY = "CUSTOM_VOICE", "HUME_AI"


class HumeCatalogue:
    """The port `Catalogue` on the provider's API.

    Creations are looked up before every try, so one whose answer was lost is found rather than done twice, by this
    or a later call: resources by name, all by the mark of the command in their description. A voice has no
    description; one of that name that was never seen here is taken for the work of a lost answer.
    """

    name = "hume"

    def __init__(self, store: Store, copy: ProviderCopy, api: HumeApi) -> None:
        self._store = store
        self._copy = copy
        self._api = api

    # -- reading ---------------------------------------------------------------------------------------------------

    async def list(self, org_id: str, kind: Kind, *, name: str | None, page: int, size: int) -> Page:
        """Of voices the custom ones; the library's are found by id, and so are drafts that wait in quarantine here."""

        async def ask(budget: Budget) -> Page:
            if kind == "voice" and name is not None:
                named = await self._voice(budget, CUSTOM, lambda voice: getattr(voice, "name", None) == name)
                return _cut([] if named is None else [item(kind, named, "LATEST")], page, size)
            if kind == "voice":
                shown, pages = await self._api.voices(budget, CUSTOM, page=page, size=size)
            else:
                shown, pages = await self._api.page(budget, kind, name=name, page=page, size=size)
            return _page([item(kind, each, "LATEST") for each in shown], pages, page, size)

        async def recall() -> Page | None:
            known = await self._store.of(org_id).catalogue.latest_page(kind, name, page, size, drafts=False)
            return known if known.total else None

        return await self._read(org_id, ask, recall)

    async def versions(self, org_id: str, kind: Kind, id: str, *, page: int, size: int) -> Page:
        if kind == "voice":
            return _cut([await self.get(org_id, kind, id, 0)], page, size)

        async def ask(budget: Budget) -> Page:
            shown, pages = await self._api.versions(budget, kind, id, page=page, size=size)
            newest_first = sorted((item(kind, each) for each in shown), key=lambda each: -each.version)
            if not newest_first and not pages:
                raise not_found(kind, id)
            return _page(newest_first, pages, page, size)

        async def recall() -> Page | None:
            known = await self._store.of(org_id).catalogue.versions_page(kind, id, page, size)
            return known if known.total else None

        return await self._read(org_id, ask, recall)

    async def get(self, org_id: str, kind: Kind, id: str, version: int | None, *, or_copy: bool = True) -> Item:
        if kind == "voice" and version:
            raise not_found(kind, id, version)

        async def ask(budget: Budget) -> Item:
            if kind == "voice":
                return await self._any_voice(budget, id, version)
            if version is None:
                return await self._latest(budget, kind, id)
            return item(kind, await self._api.version(budget, kind, id, version))

        async def recall() -> Item | None:
            return await self._store.of(org_id).catalogue.get(kind, id, version)

        return await self._read(org_id, ask, recall, or_copy=or_copy)

    async def _read(
        self,
        org_id: str,
        ask: Callable[[Budget], Awaitable[T]],
        recall: Callable[[], Awaitable[T | None]],
        *,
        or_copy: bool = True,
    ) -> T:
        """What the provider says, kept; while it is away, or our account there, what was last known.

        That something is not there any more is not kept: a service that is switched off says so of everything.
        """
        seen = await self._copy.clock(org_id)
        budget = self._api.begin_query() if await recall() is None else self._api.begin_brief()
        try:
            found = await ask(budget)
        except (ProviderDown, Refused) as failure:
            known = await self._recalled(failure, recall) if or_copy else None
            if known is None:
                raise
            return known
        await self._copy.remember(org_id, _items(found), seen)
        return await _standing(self._store.of(org_id).catalogue, found)

    async def _recalled(self, failure: ProviderDown | Refused, recall: Callable[[], Awaitable[T | None]]) -> T | None:
        """What was last known; of what the provider has never seen, a draft that waits here in quarantine."""
        missing = isinstance(failure, Refused) and failure.status == 404
        if isinstance(failure, Refused) and failure.status < 500 and not missing:
            return None
        known = await recall()
        if known is None or (missing and any(each.status != "quarantined" for each in _items(known))):
            return None
        if not missing:
            API_FALLBACKS.labels(PROVIDER).inc()
        return known

    async def _latest(self, budget: Budget, kind: Kind, id: str) -> Item:
        shown, _ = await self._api.versions(budget, kind, id, page=0, size=MAX_PAGE_SIZE, latest=True)
        if not shown:
            raise not_found(kind, id)
        return max((item(kind, each, "LATEST") for each in shown), key=lambda each: each.version)

    async def _any_voice(self, budget: Budget, id: str, version: int | None) -> Item:
        for provider in (CUSTOM, LIBRARY):
            voice = await self._voice(budget, provider, lambda voice: getattr(voice, "id", None) == id)
            if voice is not None:
                return item("voice", voice, "LATEST" if version is None else "FIXED")
        raise not_found("voice", id)

    async def _voice(self, budget: Budget, provider: str, wanted: Callable[[Shown], bool]) -> Shown | None:
        async for voice in all_of(partial(self._api.voices, budget, provider, size=MAX_PAGE_SIZE)):
            if wanted(voice):
                return voice
        return None

    # -- creating --------------------------------------------------------------------------------------------------

    async def create(self, work: Work, kind: Kind, body: Mapping[str, Any]) -> Item:
        _kept_there(body)
        await _no_draft(work, kind, body["name"])
        budget = self._api.begin()
        if kind == "voice":
            sent, look = _voice_body(body), partial(self._lost_voice, work, budget, body["name"])
        else:
            sent, look = _with_mark(body, work), partial(self._lost, work, budget, kind, body["name"])
        made = await self._once(budget, look, partial(self._api.create, budget, kind, sent))
        return await _kept(work, item(kind, made))

    async def create_version(self, work: Work, kind: Kind, id: str, body: Mapping[str, Any]) -> Item:
        _supported(kind)
        _kept_there(body)
        budget, sent = self._api.begin(), _with_mark(body, work)
        look = partial(self._lost_version, work, budget, kind, id)
        made = await self._once(budget, look, partial(self._api.create_version, budget, kind, id, sent))
        return await _kept(work, item(kind, made))

    async def _once(self, budget: Budget, look: Look, send: Callable[[], Awaitable[Shown]]) -> Shown:
        """What `send` makes, or what it made when its answer was lost; `look` tells."""
        attempt = 0
        while True:
            attempt += 1
            if (made := await look()) is not None:
                return made
            try:
                return await send()
            except ProviderDown as down:
                await budget.pause(WRITE_BACKOFF, attempt, down)
            except Refused as refused:
                # Perhaps a conflict with our own former try, which arrived after all.
                if refused.status != 409 or (made := await look()) is None:
                    raise
                return made

    async def _lost(self, work: Work, budget: Budget, kind: Kind, name: str) -> Shown | None:
        """What this command created under the name; raises `Refused` (409) when somebody else did."""
        for id in await self._named(budget, kind, name):
            first = await self._first(budget, kind, id)
            if first is None or not is_marked(first, work.event_id):
                raise name_taken(kind, name, id)
            return first
        return None

    async def _named(self, budget: Budget, kind: Kind, name: str) -> Sequence[str]:
        """The ids of the resources with exactly this name; the provider's filter may be a looser one."""
        get_page = partial(self._api.page, budget, kind, name=name, size=MAX_PAGE_SIZE)
        found = [item(kind, each) async for each in all_of(get_page)]
        return [each.id for each in found if each.name == name]

    async def _first(self, budget: Budget, kind: Kind, id: str) -> Shown | None:
        try:
            return await self._api.version(budget, kind, id, 0)
        except Refused as refused:
            if refused.status != 404:
                raise
            return None

    async def _lost_version(self, work: Work, budget: Budget, kind: Kind, id: str) -> Shown | None:
        async for version in all_of(partial(self._api.versions, budget, kind, id, size=MAX_PAGE_SIZE)):
            if is_marked(version, work.event_id):
                return version
        return None

    async def _lost_voice(self, work: Work, budget: Budget, name: str) -> Shown | None:
        voice = await self._voice(budget, CUSTOM, lambda voice: getattr(voice, "name", None) == name)
        if voice is None:
            return None
        id = item("voice", voice).id
        if await work.tables.catalogue.get("voice", id, None) is not None:
            raise name_taken("voice", name, id)
        return voice

    # -- changing --------------------------------------------------------------------------------------------------

    async def rename(self, work: Work, kind: Kind, id: str, name: str) -> Item:
        _supported(kind)
        budget = self._api.begin()
        await _no_draft(work, kind, name)
        for other in await self._named(budget, kind, name):
            if other != id:
                raise name_taken(kind, name, other)
        await self._api.rename(budget, kind, id, name)
        return await _kept(work, await self._latest(budget, kind, id))

    async def describe(self, work: Work, kind: Kind, id: str, version: int, description: str) -> Item:
        _supported(kind)
        shown = await self._api.describe(self._api.begin(), kind, id, version, description)
        return await _kept(work, item(kind, shown))

    async def delete_version(self, work: Work, kind: Kind, id: str, version: int) -> None:
        _supported(kind)
        await _gone(work, kind, id, version, self._api.delete_version(self._api.begin(), kind, id, version))
        await work.tables.catalogue.remove_version(kind, id, version)

    async def delete(self, work: Work, kind: Kind, id: str) -> None:
        budget = self._api.begin()
        if kind == "voice":
            await _gone(work, kind, id, None, self._delete_voice(budget, id))
        else:
            await _gone(work, kind, id, None, self._api.delete(budget, kind, id))
        await work.tables.catalogue.remove(kind, id)

    async def _delete_voice(self, budget: Budget, id: str) -> None:
        voice = await self._voice(budget, CUSTOM, lambda voice: getattr(voice, "id", None) == id)
        if voice is None:
            raise not_found("voice", id)
        await self._api.delete_voice(budget, item("voice", voice).name)


# -- what a change leaves in the copy ------------------------------------------------------------------------------


async def _kept(work: Work, made: Item) -> Item:
    await work.tables.catalogue.keep(HumeCatalogue.name, [made])
    return await _standing(work.tables.catalogue, made)


async def _standing(tables: CatalogueTables, found: T) -> T:
    """With what only we know of a tool: whether it may be used, and where it came from."""
    tools = [each.id for each in _items(found) if each.kind == "tool"]
    if not tools:
        return found
    standing = await tables.standing(tools)
    items = [replace(each, **standing.get(each.id, {})) for each in _items(found)]
    return items[0] if isinstance(found, Item) else replace(found, items=items)


def _items(found: Item | Page) -> Sequence[Item]:
    return [found] if isinstance(found, Item) else found.items


async def _gone(work: Work, kind: Kind, id: str, version: int | None, deletion: Awaitable[None]) -> None:
    """Delete at the provider. What is gone there and still known here was deleted by a try whose answer was lost."""
    try:
        await deletion
    except Refused as refused:
        known = await work.tables.catalogue.get(kind, id, version)
        if refused.status != 404 or known is None:
            raise


async def _no_draft(work: Work, kind: Kind, name: str) -> None:
    """Raises `Refused` (409) when a draft that waits here in quarantine has this name."""
    held = await work.tables.catalogue.quarantined(kind, name)
    if held is not None:
        raise name_taken(kind, name, held)


# -- bodies, pages and refusals ------------------------------------------------------------------------------------


def _with_mark(body: Mapping[str, Any], work: Work) -> dict[str, Any]:
    return {**body, "version_description": marked(body.get("version_description", ""), work.event_id)}


def _voice_body(body: Mapping[str, Any]) -> dict[str, Any]:
    if "generation_id" not in body:
        message = "A voice is made from speech: give the 'generation_id' it was made with."
        raise Refused(400, message, "missing_required_parameter", "generation_id")
    return {"generation_id": body["generation_id"], "name": body["name"]}


def _page(items: Sequence[Item], pages: int, page: int, size: int) -> Page:
    """A page of the provider's, which counts pages and not items: before the last the total is rounded up."""
    total = page * size + len(items) if page + 1 == pages else pages * size
    return Page(items, page, size, total)


def _cut(items: Sequence[Item], page: int, size: int) -> Page:
    return Page(items[page * size : (page + 1) * size], page, size, len(items))


def _kept_there(body: Mapping[str, Any]) -> None:
    """Raises `Refused` (400) for what only our own catalogue has a field for."""
    if "run" in body:
        raise Refused(400, "The provider's catalogue keeps no tools that Sonant runs.", "not_supported", "run")
    if "session" in body:
        message = "'session': The provider keeps no rules for sessions in a config; our own catalogue does."
        raise Refused(400, message, "not_supported", "session")
    if "prosody" in body:
        message = "'prosody': The provider keeps no summary of prosody in a config; our own catalogue does."
        raise Refused(400, message, "not_supported", "prosody")
    for name in ("variables", "flags"):
        if name in body:
            message = f"'{name}': The provider keeps none in a config; our own catalogue does."
            raise Refused(400, message, "not_supported", name)
    if "answer" in (body.get("timeouts") or {}):
        message = "'timeouts.answer': The provider keeps none in a config; our own catalogue does."
        raise Refused(400, message, "not_supported", "timeouts.answer")


def _supported(kind: Kind) -> None:
    if kind == "voice":
        message = "Voices have no versions and keep their name at the provider: create another one."
        raise Refused(409, message, "not_supported")
