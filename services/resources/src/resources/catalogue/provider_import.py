"""Copying the provider's resources into our own tables, so that nothing is lost with the account."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from common.events.envelope import Event
from common.events.reply import Reply
from common.events.resource_replies import ResourcesImported, SkippedResource
from common.events.resources import ResourceImportRequested
from common.failures import Refused
from resources.catalogue.changes import changed
from resources.deps import Deps
from resources.ports import Item, Work
from resources.resource_ids import MAX_VERSION, is_id


@dataclass(slots=True)
class Tally:
    """What became of the resources of a page."""

    resources: int = 0
    versions: int = 0
    known: int = 0
    skipped: list[SkippedResource] = field(default_factory=list)

    def reply(self, more: bool) -> ResourcesImported:
        return ResourcesImported(
            resources=self.resources,
            versions=self.versions,
            known=self.known,
            skipped=tuple(self.skipped),
            more=more,
        )


async def copy_page(event: Event[ResourceImportRequested], deps: Deps) -> Reply[ResourcesImported]:
    """200 with what was copied; ids, names, numbers, times and order are the provider's. 502, 503."""
    command = event.payload
    seen = await deps.store.of(command.org_id).audit.newest()
    stock = await deps.provider_of(command.org_id).source.stock(command.kind, command.page)
    tally = Tally()
    async with deps.units.begin(event) as work:
        # Other writes go on while the provider is asked; its answer must not bring back what they deleted.
        gone = await work.tables.audit.deleted(seen)
        for versions in stock.resources:
            if left := [each for each in versions if _names(each).isdisjoint(gone)]:
                await _copy(work, deps.catalogues.of(command.org_id).name, left, tally)
        return await work.answer(Reply(tally.reply(stock.more)))


def _names(item: Item) -> set[str]:
    """What the audit trail calls a version, and the resource it is of."""
    return {f"{item.kind}:{item.id}", f"{item.kind}:{item.id}:{item.version}"}


async def _copy(work: Work, into: str, versions: Sequence[Item], tally: Tally) -> None:
    latest, tables = versions[-1], work.tables.catalogue
    before = await tables.get(latest.kind, latest.id, None)
    try:
        _check(latest)
        if before is None:
            await tables.claim_name(latest.kind, latest.id, latest.name)
    except Refused as refused:
        tally.skipped.append(SkippedResource(id=latest.id, name=latest.name, reason=refused.code or ""))
        return
    for other in await _others(work, versions):
        tally.skipped.append(
            SkippedResource(id=other.id, name=other.name, version=other.version, reason="version_conflict")
        )
    new = await tables.restore(into, versions)
    tally.versions += len(new)
    tally.resources += before is None
    tally.known += before is not None
    if new:
        now = await tables.get(latest.kind, latest.id, None) or latest
        await changed(work, "created" if before is None else "versioned", now, before=before)


async def _others(work: Work, versions: Sequence[Item]) -> Sequence[Item]:
    """Those whose number is here already with another content, which stays."""
    latest = versions[-1]
    known = await work.tables.catalogue.whole([(latest.kind, latest.id)])
    contents = {item.version: item.content for item in known}
    return [item for item in versions if contents.get(item.version, item.content) != item.content]


def _check(item: Item) -> None:
    if not is_id(item.id) or item.version > MAX_VERSION:
        raise Refused(400, f"{item.kind} '{item.id}' has an id that cannot be kept.", "invalid_value", "id")
