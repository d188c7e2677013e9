"""What was: the revisions of a set, what differs between two of them, and what was live at a moment."""

from datetime import UTC, datetime
from typing import Any

from common.clients.resources.entries import in_candidate
from common.events.envelope import Event
from common.events.reply import Reply
from common.events.resource_replies import (
    ActiveAt,
    ActiveDiff,
    ActiveHistory,
    ActiveRevision,
    ActiveStep,
    PinnedThen,
)
from common.events.resource_terms import Pins
from common.events.resources import ActiveAtRequested, ActiveDiffRequested, ActiveHistoryRequested
from common.failures import Refused
from common.kernel.worker_processes import TooDear, WorkersBusy
from resources.active.revision_diff import pin_changes, prompt_diff, rough_prompt_diff
from resources.deps import Deps
from resources.ports import ScopeTables
from resources.scopes import (
    Activation,
    Pinned,
    Revision,
    ScopeKey,
    first_scope,
    key_of,
    layers,
    milliseconds,
    pinned,
    shown_pins,
)

MAX_REVISIONS = 200
MAX_STEPS = 200
# The last moment PostgreSQL and Python both know, roughly: the end of the year 9998.
MAX_TIME = 253_370_764_800.0


async def history(event: Event[ActiveHistoryRequested], deps: Deps) -> Reply[ActiveHistory]:
    """200 with the revisions, newest first, and what is live; `MAX_STEPS` steps at most."""
    query = event.payload
    key = key_of(query.place, query.user_id)
    limit = max(1, min(query.limit, MAX_REVISIONS))
    before = _bounded(query.before)
    async with deps.store.snapshot(query.org_id) as tables:
        state = (await tables.scopes.states([key])).get(key)
        found = await tables.scopes.history(key, limit=limit + 1, before=before)
        page = found[:limit]
        since = page[-1].created_at if page else datetime.now(UTC)
        steps = await tables.scopes.activations(key, since=since, before=before, limit=MAX_STEPS)
    return Reply(
        ActiveHistory(
            object="list",
            data=tuple(_revision(each) for each in page),
            has_more=len(found) > limit,
            steps=tuple(_step(each) for each in steps),
            current=state and state.revision,
            candidate=state and state.candidate,
            percent=state.percent if state else 0.0,
        )
    )


def _step(activation: Activation) -> ActiveStep:
    return ActiveStep(
        revision=activation.revision,
        candidate=activation.candidate,
        percent=activation.percent,
        on=milliseconds(activation.at),
    )


def _revision(revision: Revision) -> ActiveRevision:
    return ActiveRevision(
        revision=revision.revision,
        pins=shown_pins(revision.pins),
        note=revision.note,
        origin=revision.origin,
        restored=revision.restored,
        key_id=revision.key_id,
        user_id=revision.user_id,
        created_on=milliseconds(revision.created_at),
    )


def _bounded(revision: int | None) -> int | None:
    return None if revision is None else max(0, min(revision, 2**31 - 1))


async def diff(event: Event[ActiveDiffRequested], deps: Deps) -> Reply[ActiveDiff]:
    """200 with what changed between two revisions, slot by slot, and in the text of the prompt; 404."""
    query = event.payload
    key = key_of(query.place, query.user_id)
    async with deps.store.snapshot(query.org_id) as tables:
        old = await _pins(tables.scopes, key, query.old)
        new = await _pins(tables.scopes, key, query.new)
        items = await tables.scopes.contents(list({*pinned(old), *pinned(new)}))
    changes = pin_changes(old, new, items)
    text = await _prompt_diff(query.org_id, deps, old, new, {pin: items[pin] for pin in items if pin.kind == "prompt"})
    return Reply(ActiveDiff(old=query.old, new=query.new, changes=changes, prompt_text=text))


async def _prompt_diff(org_id: str, deps: Deps, *between: Any) -> str | None:
    """The least changes, where they are found in time; else all that stands between the first and the last one."""
    try:
        return await deps.workers.run(org_id, prompt_diff, *between)
    except (TooDear, WorkersBusy):
        return rough_prompt_diff(*between)


async def _pins(tables: ScopeTables, key: ScopeKey, revision: int) -> Pins:
    pins = await tables.revision_pins(key, _bounded(revision) or 0)
    if pins is None:
        raise Refused(404, f"There is no revision {revision} here.", "not_found", "revision")
    return pins


async def at(event: Event[ActiveAtRequested], deps: Deps) -> Reply[ActiveAt]:
    """200 with what was live for the user at a moment; 404 where nothing was."""
    query = event.payload
    if not 0 <= query.time <= MAX_TIME:
        raise Refused(400, "'time' must be a moment in unix seconds.", "invalid_value", "time")
    first = key_of(first_scope(query.project_id, query.user_id), query.user_id)
    moment = datetime.fromtimestamp(query.time, UTC)
    tables = deps.store.of(query.org_id).scopes
    for key in layers(*first):
        live = await tables.live_at(key, moment)
        if live is not None and live.revision is not None:
            return Reply(await _live(tables, query, key, live, live.revision))
    raise Refused(404, "Nothing was active at that time.", "not_found")


async def _live(
    tables: ScopeTables, query: ActiveAtRequested, key: ScopeKey, live: Activation, current: int
) -> ActiveAt:
    revision, reached = current, False
    if live.candidate is not None and in_candidate(query.org_id, query.project_id, query.user_id, live.percent):
        revision, reached = live.candidate, True
    pins = await _pins(tables, key, revision)
    moment = datetime.fromtimestamp(query.time, UTC)
    return ActiveAt(
        place=key.scope,
        layer=key.layer,
        time=query.time,
        since=milliseconds(live.at),
        revision=revision,
        candidate=reached,
        percent=live.percent,
        pins=shown_pins(pins),
        versions=tuple([await _version(tables, pin, moment) for pin in pinned(pins)]),
    )


async def _version(tables: ScopeTables, pin: Pinned, moment: datetime) -> PinnedThen:
    """A pin with the version it stood for then."""
    version = await tables.latest_at(pin, moment) if pin.version is None else pin.version
    return PinnedThen(kind=pin.kind, id=pin.id, version=version, follows_latest=pin.version is None)
