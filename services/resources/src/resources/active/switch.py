"""Active sets: what is switched on for a user, a project or the organisation, and every way to change it.

A change is a revision that never changes itself, and one row that says which revision is on. A rollout gives a share
of the users another revision; whatever else switches the scope ends it.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from common.clients.resources.entries import etag
from common.events.envelope import Event
from common.events.reply import Reply
from common.events.resource_replies import ActiveCleared, ActiveSet
from common.events.resource_terms import Pin, Pins, SetScope
from common.events.resources import (
    ACTIVE_SWITCHED,
    ActiveClearRequested,
    ActiveRollbackRequested,
    ActiveRolloutRequested,
    ActiveSwitched,
    ActiveSwitchRequested,
    ActiveToolRequested,
)
from common.failures import Refused
from resources.active.pins import check_pins, refresh_pins
from resources.active.served_set import GoneError, served
from resources.deps import Deps
from resources.metrics import SWITCHES
from resources.ports import Work
from resources.resource_ids import MAX_VERSION
from resources.scopes import Origin, Pinned, ScopeKey, State, key_of, pinned

MAX_NOTE_CHARS = 1_000

# What a caller says it saw last: the revision, or the etag of what was on.
Seen = int | str | None
Guarded = (
    ActiveSwitchRequested
    | ActiveToolRequested
    | ActiveRollbackRequested
    | ActiveRolloutRequested
    | ActiveClearRequested
)


class _Live(NamedTuple):
    """What a scope is switched to; `revision` None: nothing."""

    revision: int | None
    candidate: int | None = None
    percent: float = 0.0


# -- commands --------------------------------------------------------------------------------------------------


async def on_switch(event: Event[ActiveSwitchRequested], deps: Deps) -> Reply[ActiveSet]:
    """200 with the set; 400, 404 for a pin that is nowhere, 409 `not_usable`, 412 `revision_mismatch`."""
    command = event.payload
    await refresh_pins(deps, command.org_id, pinned(command.pins))
    async with deps.units.begin(event) as work:
        now = await switch(work, command.place, command.pins, if_match=_seen(command), note=command.note)
        return await work.answer(Reply(now))


async def on_tool(event: Event[ActiveToolRequested], deps: Deps) -> Reply[ActiveSet]:
    """200 with the set; 404 for a tool that is nowhere or not in the set, 409, 412."""
    command = event.payload
    if command.action == "add":
        await refresh_pins(deps, command.org_id, [Pinned("tool", command.tool.id, command.tool.version)])
    async with deps.units.begin(event) as work:
        change = add_tool if command.action == "add" else remove_tool
        return await work.answer(Reply(await change(work, command.place, command.tool, if_match=_seen(command))))


async def on_rollback(event: Event[ActiveRollbackRequested], deps: Deps) -> Reply[ActiveSet]:
    """200 with the set; 404 for a revision that never was, 409 `version_gone` or `no_earlier_revision`, 412."""
    command = event.payload
    async with deps.units.begin(event) as work:
        now = await roll_back(work, command.place, command.revision, if_match=_seen(command))
        return await work.answer(Reply(now))


async def on_rollout(event: Event[ActiveRolloutRequested], deps: Deps) -> Reply[ActiveSet]:
    """200 with the set that is current; 400, 404, 409 `no_active_set` or `no_rollout`, 412."""
    command = event.payload
    if command.pins is not None:
        await refresh_pins(deps, command.org_id, pinned(command.pins))
    async with deps.units.begin(event) as work:
        now = await roll_out(work, command.place, command.percent, command.pins, if_match=_seen(command))
        return await work.answer(Reply(now))


async def on_clear(event: Event[ActiveClearRequested], deps: Deps) -> Reply[ActiveCleared]:
    """200 `{"revision": null}`; 404 where nothing is switched on, 412."""
    command = event.payload
    async with deps.units.begin(event) as work:
        return await work.answer(Reply(await clear(work, command.place, if_match=_seen(command))))


# -- what they do, in a unit of work ----------------------------------------------------------------------------


async def switch(
    work: Work,
    scope: SetScope,
    pins: Pins,
    *,
    if_match: Seen = None,
    note: str = "",
    origin: Origin = "switch",
    restored: int | None = None,
    kept: Pins | None = None,
) -> ActiveSet:
    """Make `pins` the set of a scope; returns it as it is shown.

    `if_match` is the revision the caller saw, 0 for none, or its etag. What stays as it was in the set `kept` is not
    looked at again: a tool that was disabled meanwhile is no reason to refuse another change. Raises `Refused`.
    """
    key, before = await _before(work, scope, if_match)
    await check_pins(work, pins, frozenset(pinned(kept)) if kept else frozenset())
    revision = await work.tables.scopes.add_revision(key, pins, origin, _note(note), restored)
    return await _put_set(work, key, before, origin, _Live(revision))


async def replace(
    work: Work,
    scope: SetScope,
    *,
    config: Pin | None = None,
    prompt: Pin | None = None,
    voice: Pin | None = None,
    if_match: Seen = None,
    note: str = "",
) -> ActiveSet:
    """Switch to the current set with some of its parts replaced; without one, config and prompt make a first set.

    Raises `Refused`, with 409 `no_active_set` where there is nothing to replace them in.
    """
    _, before = await _before(work, scope, if_match)
    given = {"config": config, "prompt": prompt, "voice": voice}
    changes = {slot: pin for slot, pin in given.items() if pin is not None}
    current = None if before is None else before.current_pins
    if current is not None:
        pins = current.model_copy(update=changes)
    elif config is not None and prompt is not None:
        pins = Pins(config=config, prompt=prompt, voice=voice)
    else:
        raise _no_set("Nothing is active here yet: name a config and a prompt.")
    return await switch(work, scope, pins, if_match=if_match, note=note, kept=current)


async def add_tool(work: Work, scope: SetScope, tool: Pin, *, if_match: Seen = None) -> ActiveSet:
    """Add a tool to the set, or move its pin."""
    pins = await _current(work, scope, if_match)
    there = [one.id for one in pins.tools]
    tools = tuple(tool if one.id == tool.id else one for one in pins.tools)
    tools = tools if tool.id in there else (*tools, tool)
    changed = pins.model_copy(update={"tools": tools})
    note = f"tool {tool.id} added"
    return await switch(work, scope, changed, if_match=if_match, note=note, origin="tool", kept=pins)


async def remove_tool(work: Work, scope: SetScope, tool: Pin, *, if_match: Seen = None) -> ActiveSet:
    """Remove a tool from the set; raises `Refused` (404) when it is not in it."""
    pins = await _current(work, scope, if_match)
    left = tuple(one for one in pins.tools if one.id != tool.id)
    if len(left) == len(pins.tools):
        raise Refused(404, f"The tool '{tool.id[:80]}' is not in the active set.", "not_found", "toolId")
    changed = pins.model_copy(update={"tools": left})
    note = f"tool {tool.id} removed"
    return await switch(work, scope, changed, if_match=if_match, note=note, origin="tool", kept=pins)


async def roll_back(work: Work, scope: SetScope, revision: int | None = None, *, if_match: Seen = None) -> ActiveSet:
    """Make an earlier revision's set the current one again; None is the one that was on before.

    Raises `Refused` with 409 `version_gone` when something in it is there no more.
    """
    key, before = await _before(work, scope, if_match)
    target = revision
    if target is None:
        current = None if before is None else before.revision
        target = await work.tables.scopes.former(key, current)
        if target is None:
            raise Refused(409, "No set was active here before the current one.", "no_earlier_revision")
    pins = await _revision(work, key, target)
    try:
        return await switch(work, scope, pins, if_match=if_match, origin="rollback", restored=target)
    except Refused as refused:
        if refused.code not in ("not_found", "not_usable"):
            raise
        message = f"Revision {target} cannot come back: {refused.message}"
        raise Refused(409, message, "version_gone", details=refused.details) from None


async def _revision(work: Work, key: ScopeKey, revision: int) -> Pins:
    known = 0 < revision <= MAX_VERSION
    pins = await work.tables.scopes.revision_pins(key, revision) if known else None
    if pins is None:
        raise Refused(404, f"There is no revision {revision} here.", "not_found", "revision")
    return pins


async def roll_out(
    work: Work, scope: SetScope, percent: float, pins: Pins | None = None, *, if_match: Seen = None
) -> ActiveSet:
    """Give a share of the users another set: start with `pins`, go on without, complete at 100, call off at 0."""
    if not 0 <= percent <= 100:
        raise Refused(400, "'percent' must be between 0 and 100.", "invalid_value", "percent")
    key, before = await _before(work, scope, if_match)
    if before is None or before.revision is None:
        raise _no_set("Nothing is active here that another set could be rolled out beside.")
    candidate = before.candidate
    if pins is not None:
        await check_pins(work, pins)
        candidate = await work.tables.scopes.add_revision(key, pins, "rollout", "", None)
    elif candidate is None:
        raise Refused(409, "No rollout is under way here: it starts with the set to roll out.", "no_rollout")
    live = _Live(before.revision, candidate, percent)
    if percent == 100:
        live = _Live(candidate)
    elif percent == 0 and pins is None:
        live = _Live(before.revision)
    return await _put_set(work, key, before, "rollout", live)


async def clear(work: Work, scope: SetScope, *, if_match: Seen = None) -> ActiveCleared:
    """Switch a scope off, so that the next layer's set applies."""
    key, before = await _before(work, scope, if_match)
    if before is None or before.revision is None:
        raise Refused(404, "Nothing is active here.", "not_found")
    await _put(work, key, before, "clear", _Live(None))
    SWITCHES.labels("clear").inc()
    return ActiveCleared(revision=None)


# -- steps -------------------------------------------------------------------------------------------------------


def _seen(command: Guarded) -> Seen:
    """Of a command's two preconditions the more exact one."""
    return command.if_match if command.if_etag is None else command.if_etag


async def _before(work: Work, scope: SetScope, if_match: Seen) -> tuple[ScopeKey, State | None]:
    """What is on; raises `Refused` (412) when the caller saw something else.

    During a rollout a caller who names a revision may have seen either set.
    """
    key = key_of(scope, work.actor.user_id)
    state = (await work.tables.scopes.states([key])).get(key)
    tag = "0" if state is None else etag(state.revision, state.candidate, state.percent)
    current = state.revision or 0 if state is not None else 0
    seen = {tag, current, state.candidate if state is not None else current}
    if if_match is not None and if_match not in seen:
        message = f"The active set is at revision {tag}, not {if_match}: somebody else has switched it."
        raise Refused(412, message, "revision_mismatch", "If-Match", details={"current": current})
    return key, state


async def _current(work: Work, scope: SetScope, if_match: Seen) -> Pins:
    _, state = await _before(work, scope, if_match)
    if state is None or state.current_pins is None:
        raise _no_set("Nothing is active here that a tool could be in.")
    return state.current_pins


async def _put(work: Work, key: ScopeKey, before: State | None, action: str, live: _Live) -> State:
    """Switch over, with all that tells of it; returns what is on."""
    state = await work.tables.scopes.put(key, **live._asdict())
    await work.audit(f"active.{action}", key.name, before=_known(before), after=_known(state))
    fact = ActiveSwitched(
        org_id=work.org_id,
        place=key.scope,
        revision=live.revision,
        percent=live.percent,
        clock=work.clock,
        at=work.at,
    )
    await work.publish(ACTIVE_SWITCHED, fact)
    return state


async def _put_set(work: Work, key: ScopeKey, before: State | None, action: str, live: _Live) -> ActiveSet:
    """Switch over to a set; returns it as it is shown. Raises `Refused` (409) when it cannot be served."""
    shown = await _shown(work, await _put(work, key, before, action, live))
    SWITCHES.labels(action).inc()
    return shown


async def _shown(work: Work, state: State) -> ActiveSet:
    # Whoever switches to a revision has just read it.
    pins = cast(Pins, state.current_pins)
    items = await work.tables.scopes.contents(pinned(pins))
    try:
        return served(state, pins, work.clock, items)
    except GoneError as gone:
        raise Refused(409, gone.message, "version_gone", details=gone.pin._asdict()) from None


def _known(state: State | None) -> Mapping[str, Any] | None:
    """What the digests of the audit trail are made of."""
    if state is None or state.revision is None:
        return None
    return {
        "revision": state.revision,
        "pins": state.current_pins and state.current_pins.model_dump(),
        "candidate": state.candidate,
        "candidate_pins": state.candidate_pins and state.candidate_pins.model_dump(),
        "percent": state.percent,
    }


def _note(note: str) -> str:
    if len(note) > MAX_NOTE_CHARS or "\0" in note:
        raise Refused(400, f"'note' must be at most {MAX_NOTE_CHARS} characters.", "invalid_value", "note")
    return note


def _no_set(message: str) -> Refused:
    return Refused(409, message, "no_active_set")
