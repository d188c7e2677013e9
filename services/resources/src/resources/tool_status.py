"""Whether a tool may be used: drafted ones wait in quarantine, and any tool can be taken out everywhere at once."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from common.events.envelope import Event
from common.events.reply import Reply
from common.events.resources import ToolStatusRequested
from resources import catalogue, store, validation
from resources.deps import Deps
from resources.policy.reasons import Reason
from resources.ports import Catalogue, Item, Refused, not_found
from resources.store import Reader
from resources.tool_policy import REASONS_MAX, judge_tool
from resources.work import Work

# What is judged within a few seconds at worst; a drafted tool has seldom more than a handful.
VERSIONS_MAX = 100


async def change(event: Event[ToolStatusRequested], deps: Deps) -> Reply:
    """200 with the tool as it is now; 404, 422 `draft_refused` with `reasons` when it may not be promoted any more.

    A set that pins a disabled tool is served without it from the moment this is answered. To ask for the status a
    tool has already changes nothing.
    """
    asked = event.payload
    if not validation.is_id(asked.id):
        raise not_found("tool", asked.id[:80])
    async with deps.works.begin(event) as work:
        before = await store.get(work.connection, work.org_id, "tool", asked.id, None)
        if before is None:
            raise not_found("tool", asked.id)
        item = before
        if before.status != asked.status:
            item = await _changed(work, deps.catalogues.of(work.org_id), before, asked.status)
        return await work.answer(Reply({"tool": item.body()}))


async def _changed(work: Work, own: Catalogue, before: Item, status: str) -> Item:
    if status == "disabled":
        item = await mark(work, before.id, status)
        await catalogue.changed(work, "disabled", item, before=before)
        return item
    await _check(work, before)
    item = await _moved(work, own, before) if await _is_to_move(work, own, before) else before
    item = await mark(work, item.id, status)
    await catalogue.changed(work, "promoted", item, before=before)
    return item


async def _check(work: Work, item: Item) -> None:
    """Raises `Refused` (422) for a drafted tool of which the policy, or what else is there by now, allows not all.

    Every version is checked: once the tool is usable, a set may pin any of them.
    """
    if item.provenance is None:
        return
    others = await names(work.connection, work.org_id, but=item.id)
    versions = await store.versions_page(work.connection, work.org_id, "tool", item.id, 0, VERSIONS_MAX)
    if versions.total > VERSIONS_MAX:
        raise Refused(
            422, f"A tool with more than {VERSIONS_MAX} versions cannot be promoted.", "too_many_versions", "id"
        )
    reasons = await asyncio.to_thread(_reasons, versions.items, others)
    if reasons:
        details = {"reasons": [reason.body() for reason in reasons]}
        raise Refused(422, "The tool does not come through the checks.", "draft_refused", "id", details=details)


def _reasons(versions: Sequence[Item], others: Sequence[str]) -> Sequence[Reason]:
    found = (reason for each in versions for reason in judge_tool(each.name, dict(each.content), taken=others))
    return list(dict.fromkeys(found))[:REASONS_MAX]


async def _is_to_move(work: Work, own: Catalogue, item: Item) -> bool:
    """Whether a draft that was never promoted has still to be put into a provider's catalogue.

    It gets another id there, so whatever a set may have pinned stays where it is, and so does what the provider has.
    """
    kept_in = await work.connection.fetchval(
        "SELECT catalogue FROM resources.resources WHERE org_id = $1 AND kind = 'tool' AND id = $2",
        work.org_id,
        item.id,
    )
    if own.name == "local" or kept_in != "local":
        return False
    return item.status == "quarantined" or (item.provenance is not None and not await _was_promoted(work, item))


async def _was_promoted(work: Work, item: Item) -> bool:
    found: bool = await work.connection.fetchval(
        "SELECT EXISTS (SELECT FROM resources.audit WHERE org_id = $1 AND action = 'tool.promoted'"
        " AND starts_with(target, $2))",
        work.org_id,
        f"tool:{item.id}:",
    )
    return found


async def _moved(work: Work, own: Catalogue, draft: Item) -> Item:
    """The tool in the organisation's own catalogue, under the id it has there, with where it came from."""
    await store.remove(work, "tool", draft.id)
    await catalogue.deleted(work, "tool", draft.id, before=draft)
    item = await own.create(work, "tool", {"name": draft.name, **draft.content})
    return await mark(work, item.id, "usable", {**(draft.provenance or {}), "draft_id": draft.id})


# -- rows ------------------------------------------------------------------------------------------------------


async def names(reader: Reader, org_id: str, *, but: str = "") -> Sequence[str]:
    """The names of an organisation's tools, in every status."""
    rows = await reader.fetch(
        "SELECT name FROM resources.resources WHERE org_id = $1 AND kind = 'tool' AND id <> $2", org_id, but
    )
    return [row["name"] for row in rows]


async def mark(work: Work, id: str, status: str, provenance: Mapping[str, Any] | None = None) -> Item:
    """The tool with another status, and with where it came from if that is given. Raises `Refused` (404)."""
    await work.connection.execute(
        "UPDATE resources.resources SET status = $3, modified_at = $4, provenance = coalesce($5::jsonb, provenance)"
        " WHERE org_id = $1 AND kind = 'tool' AND id = $2",
        work.org_id,
        id,
        status,
        work.now,
        None if provenance is None else orjson.dumps(dict(provenance)).decode(),
    )
    item = await store.get(work.connection, work.org_id, "tool", id, None)
    if item is None:
        raise not_found("tool", id)
    return item
