"""Copying the provider's resources into our own tables, so that nothing is lost with the account."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from common.events.envelope import Event
from common.events.reply import Reply
from common.events.resources import ResourceImportRequested
from common.storage.postgres import transient
from resources import audits, catalogue, store, validation
from resources.deps import Deps
from resources.ports import Item, Refused
from resources.work import Work


@dataclass(slots=True)
class Tally:
    """What became of the resources of a page."""

    resources: int = 0
    versions: int = 0
    known: int = 0
    skipped: list[dict[str, Any]] = field(default_factory=list)

    def body(self, more: bool) -> dict[str, Any]:
        """The answer."""
        counts = {"resources": self.resources, "versions": self.versions, "known": self.known}
        return {**counts, "skipped": self.skipped, "more": more}


async def copy_page(event: Event[ResourceImportRequested], deps: Deps) -> Reply:
    """200 with what was copied; ids, names, numbers, times and order are the provider's. 502, 503."""
    asked = event.payload
    async with transient():
        seen = await audits.newest(deps.pool, asked.org_id)
    stock = await deps.provider_of(asked.org_id).source.stock(asked.kind, asked.page)
    tally = Tally()
    async with deps.works.begin(event) as work:
        # Other writes go on while the provider is asked; its answer must not bring back what they deleted.
        gone = await audits.deleted(work.connection, asked.org_id, seen)
        for versions in stock.resources:
            if left := [each for each in versions if _names(each).isdisjoint(gone)]:
                await _copy(work, deps.catalogues.of(asked.org_id).name, left, tally)
        return await work.answer(Reply(tally.body(stock.more)))


def _names(item: Item) -> set[str]:
    """What the audit trail calls a version, and the resource it is of."""
    return {f"{item.kind}:{item.id}", f"{item.kind}:{item.id}:{item.version}"}


async def _copy(work: Work, into: str, versions: Sequence[Item], tally: Tally) -> None:
    latest = versions[-1]
    before = await store.get(work.connection, work.org_id, latest.kind, latest.id, None)
    try:
        _check(latest)
        if before is None:
            await store.claim_name(work, latest.kind, latest.id, latest.name)
    except Refused as refused:
        tally.skipped.append({"id": latest.id, "name": latest.name, "reason": refused.code})
        return
    for other in await _others(work, versions):
        tally.skipped.append(
            {"id": other.id, "name": other.name, "version": other.version, "reason": "version_conflict"}
        )
    new = await store.bring_in(work, into, versions)
    tally.versions += len(new)
    tally.resources += before is None
    tally.known += before is not None
    if new:
        now = await store.get(work.connection, work.org_id, latest.kind, latest.id, None) or latest
        await catalogue.changed(work, "created" if before is None else "versioned", now, before=before)


async def _others(work: Work, versions: Sequence[Item]) -> Sequence[Item]:
    """Those whose number is here already with another content, which stays."""
    latest = versions[-1]
    known = await store.whole(work.connection, work.org_id, [(latest.kind, latest.id)])
    contents = {item.version: item.content for item in known}
    return [item for item in versions if contents.get(item.version, item.content) != item.content]


def _check(item: Item) -> None:
    if not validation.is_id(item.id) or item.version > validation.LARGEST_VERSION:
        raise Refused(400, f"{item.kind} '{item.id}' has an id that cannot be kept.", "invalid_value", "id")
