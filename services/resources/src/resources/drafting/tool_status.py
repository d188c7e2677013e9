"""Whether a tool may be used: drafted ones wait in quarantine, and any tool can be taken out everywhere at once."""

from collections.abc import Sequence

from common.events.envelope import Event
from common.events.reply import Reply
from common.events.resource_replies import ToolReply
from common.events.resources import ToolStatusRequested
from common.failures import Refused
from common.kernel.worker_processes import WorkerProcesses
from resources.catalogue.changes import changed, deleted
from resources.dear_work import checked
from resources.deps import Deps
from resources.drafting.judge import MAX_REASONS, judge_tool
from resources.drafting.rules.reasons import Reason
from resources.ports import Catalogue, Item, Work, not_found
from resources.resource_ids import is_id

# What is judged within a few seconds at worst; a drafted tool has seldom more than a handful.
MAX_VERSIONS = 100


async def change(event: Event[ToolStatusRequested], deps: Deps) -> Reply[ToolReply]:
    """200 with the tool as it is now; 404, 422 `draft_refused` with `reasons` when it may not be promoted any more.

    A set that pins a disabled tool is served without it from the moment this is answered. To ask for the status a
    tool has already changes nothing.
    """
    command = event.payload
    if not is_id(command.id):
        raise not_found("tool", command.id[:80])
    async with deps.units.begin(event) as work:
        before = await work.tables.catalogue.get("tool", command.id, None)
        if before is None:
            raise not_found("tool", command.id)
        item = before
        if before.status != command.status:
            item = await _changed(work, deps, before, command.status)
        return await work.answer(Reply(ToolReply(tool=item.resource())))


async def _changed(work: Work, deps: Deps, before: Item, status: str) -> Item:
    own = deps.catalogues.of(work.org_id)
    if status == "disabled":
        item = await work.tables.catalogue.set_status(before.id, status)
        await changed(work, "disabled", item, before=before)
        return item
    await _check(work, deps.workers, before)
    item = await _moved(work, own, before) if await _is_to_move(work, own, before) else before
    item = await work.tables.catalogue.set_status(item.id, status)
    await changed(work, "promoted", item, before=before)
    return item


async def _check(work: Work, workers: WorkerProcesses, item: Item) -> None:
    """Raises `Refused` (422) for a drafted tool of which the rules, or what else is there by now, allow not all.

    Every version is checked: once the tool is usable, a set may pin any of them.
    """
    if item.provenance is None:
        return
    others = await work.tables.catalogue.tool_names(but=item.id)
    versions = await work.tables.catalogue.versions_page("tool", item.id, 0, MAX_VERSIONS)
    if versions.total > MAX_VERSIONS:
        raise Refused(
            422, f"A tool with more than {MAX_VERSIONS} versions cannot be promoted.", "too_many_versions", "id"
        )
    reasons = await _reasons(work.org_id, workers, versions.items, others)
    if reasons:
        details = {"reasons": [reason.body() for reason in reasons]}
        raise Refused(422, "The tool does not come through the checks.", "draft_refused", "id", details=details)


async def _reasons(
    org_id: str, workers: WorkerProcesses, versions: Sequence[Item], others: Sequence[str]
) -> Sequence[Reason]:
    found: dict[Reason, None] = {}
    for each in versions:
        content = dict(each.content)
        found |= dict.fromkeys(await checked(workers, org_id, "id", judge_tool, each.name, content, taken=others))
    return list(found)[:MAX_REASONS]


async def _is_to_move(work: Work, own: Catalogue, item: Item) -> bool:
    """Whether a draft that was never promoted has still to be put into a provider's catalogue.

    It gets another id there, so whatever a set may have pinned stays where it is, and so does what the provider has.
    """
    home = await work.tables.catalogue.home("tool", item.id)
    if own.name == "local" or home != "local":
        return False
    if item.status == "quarantined":
        return True
    return item.provenance is not None and not await work.tables.audit.was_promoted(item.id)


async def _moved(work: Work, own: Catalogue, draft: Item) -> Item:
    """The tool in the organisation's own catalogue, under the id it has there, with where it came from."""
    await work.tables.catalogue.remove("tool", draft.id)
    await deleted(work, "tool", draft.id, before=draft)
    item = await own.create(work, "tool", {"name": draft.name, **draft.content})
    provenance = {**(draft.provenance or {}), "draft_id": draft.id}
    return await work.tables.catalogue.set_status(item.id, "usable", provenance)
