"""Active sets: what is switched on for a user, a project or the organisation, and every way to change it.

A change is a revision that never changes itself, and one row that says which revision is on. A rollout gives a share
of the users another revision; whatever else switches the place ends it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from common.clients.resources.entries import etag
from common.events.envelope import Event
from common.events.reply import Reply
from common.events.resources import (
    ACTIVE_SWITCHED,
    MAX_TOOLS,
    ActiveClearRequested,
    ActiveRollbackRequested,
    ActiveRolloutRequested,
    ActiveSwitched,
    ActiveSwitchRequested,
    ActiveToolRequested,
    Kind,
    Pin,
    Pins,
    SetScope,
)
from common.storage.postgres import transient
from resources import places, sets, validation
from resources.deps import Deps
from resources.metrics import SWITCHES
from resources.places import Origin, Pinned, Spot, State
from resources.ports import Refused
from resources.work import Work

LONGEST_NOTE = 1_000

# What a caller says it saw last: the revision, or the etag of what was on.
Seen = int | str | None
Guarded = (
    ActiveSwitchRequested
    | ActiveToolRequested
    | ActiveRollbackRequested
    | ActiveRolloutRequested
    | ActiveClearRequested
)

# -- commands --------------------------------------------------------------------------------------------------


async def on_switch(event: Event[ActiveSwitchRequested], deps: Deps) -> Reply:
    """200 with the set; 400, 404 for a pin that is nowhere, 409 `not_usable`, 412 `revision_mismatch`."""
    asked = event.payload
    await look_up(deps, asked.org_id, places.pinned(asked.pins))
    async with deps.works.begin(event) as work:
        body = await switch(work, asked.place, asked.pins, if_match=_seen(asked), note=asked.note)
        return await work.answer(Reply(body))


async def on_tool(event: Event[ActiveToolRequested], deps: Deps) -> Reply:
    """200 with the set; 404 for a tool that is nowhere or not in the set, 409, 412."""
    asked = event.payload
    if asked.action == "add":
        await look_up(deps, asked.org_id, [Pinned("tool", asked.tool.id, asked.tool.version)])
    async with deps.works.begin(event) as work:
        change = add_tool if asked.action == "add" else remove_tool
        return await work.answer(Reply(await change(work, asked.place, asked.tool, if_match=_seen(asked))))


async def on_rollback(event: Event[ActiveRollbackRequested], deps: Deps) -> Reply:
    """200 with the set; 404 for a revision that never was, 409 `version_gone` or `no_earlier_revision`, 412."""
    asked = event.payload
    async with deps.works.begin(event) as work:
        body = await roll_back(work, asked.place, asked.revision, if_match=_seen(asked))
        return await work.answer(Reply(body))


async def on_rollout(event: Event[ActiveRolloutRequested], deps: Deps) -> Reply:
    """200 with the set that is current; 400, 404, 409 `no_active_set` or `no_rollout`, 412."""
    asked = event.payload
    if asked.pins is not None:
        await look_up(deps, asked.org_id, places.pinned(asked.pins))
    async with deps.works.begin(event) as work:
        body = await roll_out(work, asked.place, asked.percent, asked.pins, if_match=_seen(asked))
        return await work.answer(Reply(body))


async def on_clear(event: Event[ActiveClearRequested], deps: Deps) -> Reply:
    """200 `{"revision": null}`; 404 where nothing is switched on, 412."""
    asked = event.payload
    async with deps.works.begin(event) as work:
        return await work.answer(Reply(await clear(work, asked.place, if_match=_seen(asked))))


# -- what they do, in a write at hand ----------------------------------------------------------------------------


async def switch(
    work: Work,
    place: SetScope,
    pins: Pins,
    *,
    if_match: Seen = None,
    note: str = "",
    origin: Origin = "switch",
    restored: int | None = None,
    kept: Pins | None = None,
) -> dict[str, Any]:
    """Make `pins` the set of a place; returns it as it is shown.

    `if_match` is the revision the caller saw, 0 for none, or its etag. What stays as it was in the set `kept` is not
    looked at again: a tool that was disabled meanwhile is no reason to refuse another change. Raises `Refused`.
    """
    spot, before = await _before(work, place, if_match)
    await _check(work, pins, frozenset(places.pinned(kept)) if kept else frozenset())
    revision = await places.add_revision(work, spot, pins, origin, _note(note), restored)
    return await _put(work, spot, before, origin, revision=revision)


async def replace(
    work: Work,
    place: SetScope,
    *,
    config: Pin | None = None,
    prompt: Pin | None = None,
    voice: Pin | None = None,
    if_match: Seen = None,
    note: str = "",
) -> dict[str, Any]:
    """Switch to the current set with some of its parts replaced; without one, config and prompt make a first set.

    Raises `Refused`, with 409 `no_active_set` where there is nothing to replace them in.
    """
    _, before = await _before(work, place, if_match)
    given = {"config": config, "prompt": prompt, "voice": voice}
    changes = {slot: pin for slot, pin in given.items() if pin is not None}
    current = None if before is None else before.current_pins
    if current is not None:
        pins = current.model_copy(update=changes)
    elif config is not None and prompt is not None:
        pins = Pins(config=config, prompt=prompt, voice=voice)
    else:
        raise _no_set("Nothing is active here yet: name a config and a prompt.")
    return await switch(work, place, pins, if_match=if_match, note=note, kept=current)


async def add_tool(work: Work, place: SetScope, tool: Pin, *, if_match: Seen = None) -> dict[str, Any]:
    """Put a tool into the set, or move its pin."""
    pins = await _current(work, place, if_match)
    there = [one.id for one in pins.tools]
    tools = tuple(tool if one.id == tool.id else one for one in pins.tools)
    tools = tools if tool.id in there else (*tools, tool)
    changed = pins.model_copy(update={"tools": tools})
    note = f"tool {tool.id} added"
    return await switch(work, place, changed, if_match=if_match, note=note, origin="tool", kept=pins)


async def remove_tool(work: Work, place: SetScope, tool: Pin, *, if_match: Seen = None) -> dict[str, Any]:
    """Take a tool out of the set; raises `Refused` (404) when it is not in it."""
    pins = await _current(work, place, if_match)
    left = tuple(one for one in pins.tools if one.id != tool.id)
    if len(left) == len(pins.tools):
        raise Refused(404, f"The tool '{tool.id[:80]}' is not in the active set.", "not_found", "toolId")
    changed = pins.model_copy(update={"tools": left})
    note = f"tool {tool.id} removed"
    return await switch(work, place, changed, if_match=if_match, note=note, origin="tool", kept=pins)


async def roll_back(
    work: Work, place: SetScope, revision: int | None = None, *, if_match: Seen = None
) -> dict[str, Any]:
    """Make an earlier revision's set the current one again; None is the one that was on before.

    Raises `Refused` with 409 `version_gone` when something in it is there no more.
    """
    spot, before = await _before(work, place, if_match)
    target = revision
    if target is None:
        current = None if before is None else before.revision
        target = await places.former(work.connection, work.org_id, spot, current)
        if target is None:
            raise Refused(409, "No set was active here before the current one.", "no_earlier_revision")
    pins = await _revision(work, spot, target)
    try:
        return await switch(work, place, pins, if_match=if_match, origin="rollback", restored=target)
    except Refused as refused:
        if refused.code not in ("not_found", "not_usable"):
            raise
        message = f"Revision {target} cannot come back: {refused.message}"
        raise Refused(409, message, "version_gone", details=refused.details) from None


async def _revision(work: Work, spot: Spot, revision: int) -> Pins:
    known = 0 < revision <= validation.LARGEST_VERSION
    pins = await places.revision_pins(work.connection, work.org_id, spot, revision) if known else None
    if pins is None:
        raise Refused(404, f"There is no revision {revision} here.", "not_found", "revision")
    return pins


async def roll_out(
    work: Work, place: SetScope, percent: float, pins: Pins | None = None, *, if_match: Seen = None
) -> dict[str, Any]:
    """Give a share of the users another set: start with `pins`, go on without, complete at 100, call off at 0."""
    if not 0 <= percent <= 100:
        raise Refused(400, "'percent' must be between 0 and 100.", "invalid_value", "percent")
    spot, before = await _before(work, place, if_match)
    if before is None or before.revision is None:
        raise _no_set("Nothing is active here that another set could be rolled out beside.")
    candidate = before.candidate
    if pins is not None:
        await _check(work, pins)
        candidate = await places.add_revision(work, spot, pins, "rollout", "", None)
    elif candidate is None:
        raise Refused(409, "No rollout is under way here: it starts with the set to roll out.", "no_rollout")
    if percent == 100:
        return await _put(work, spot, before, "rollout", revision=candidate)
    if percent == 0 and pins is None:
        return await _put(work, spot, before, "rollout", revision=before.revision)
    return await _put(work, spot, before, "rollout", revision=before.revision, candidate=candidate, percent=percent)


async def clear(work: Work, place: SetScope, *, if_match: Seen = None) -> dict[str, Any]:
    """Switch a place off, so that the next layer shows through."""
    spot, before = await _before(work, place, if_match)
    if before is None or before.revision is None:
        raise Refused(404, "Nothing is active here.", "not_found")
    return await _put(work, spot, before, "clear", revision=None)


# -- steps -------------------------------------------------------------------------------------------------------


def _seen(asked: Guarded) -> Seen:
    """Of a command's two preconditions the more exact one."""
    return asked.if_match if asked.if_etag is None else asked.if_etag


async def _before(work: Work, place: SetScope, if_match: Seen) -> tuple[Spot, State | None]:
    """What is on; raises `Refused` (412) when the caller saw something else.

    During a rollout a caller who names a revision may have seen either set.
    """
    spot = places.spot_of(place, work.asked)
    state = (await places.states(work.connection, work.org_id, [spot])).get(spot)
    tag = "0" if state is None else etag(state.revision, state.candidate, state.percent)
    current = state.revision or 0 if state is not None else 0
    seen = {tag, current, state.candidate if state is not None else current}
    if if_match is not None and if_match not in seen:
        message = f"The active set is at revision {tag}, not {if_match}: somebody else has switched it."
        raise Refused(412, message, "revision_mismatch", "If-Match", details={"current": current})
    return spot, state


async def _current(work: Work, place: SetScope, if_match: Seen) -> Pins:
    _, state = await _before(work, place, if_match)
    if state is None or state.current_pins is None:
        raise _no_set("Nothing is active here that a tool could be in.")
    return state.current_pins


async def _put(
    work: Work,
    spot: Spot,
    before: State | None,
    action: str,
    *,
    revision: int | None,
    candidate: int | None = None,
    percent: float = 0.0,
) -> dict[str, Any]:
    """Switch over, with all that tells of it; returns the set as it is shown."""
    state = await places.put(work, spot, revision=revision, candidate=candidate, percent=percent)
    await work.audit(f"active.{action}", spot.name, before=_known(before), after=_known(state))
    fact = ActiveSwitched(
        org_id=work.org_id, place=spot.place, revision=revision, percent=percent, clock=work.clock, at=work.at
    )
    await work.publish(ACTIVE_SWITCHED, fact)
    shown = await _shown(work, state)
    SWITCHES.labels(action).inc()
    return shown


async def _shown(work: Work, state: State) -> dict[str, Any]:
    if state.current_pins is None:
        return {"revision": None}
    items = await places.contents(work.connection, work.org_id, places.pinned(state.current_pins))
    try:
        return sets.body(state, state.current_pins, work.clock, items)
    except sets.Gone as gone:
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
    if len(note) > LONGEST_NOTE or "\0" in note:
        raise Refused(400, f"'note' must be at most {LONGEST_NOTE} characters.", "invalid_value", "note")
    return note


def _no_set(message: str) -> Refused:
    return Refused(409, message, "no_active_set")


# -- what may be pinned ------------------------------------------------------------------------------------------

PARAMS: Mapping[Kind, str] = {"config": "configId", "prompt": "promptId", "voice": "voiceId", "tool": "toolId"}


async def look_up(deps: Deps, org_id: str, pins: Sequence[Pinned]) -> None:
    """Have a provider's catalogue bring the tables up to date about pins, before a transaction waits for it.

    Raises `Refused` (404), and `ProviderDown` where neither the tables nor the provider can tell.
    """
    catalogue = deps.catalogues.of(org_id)
    if catalogue.name == "local":
        return
    await asyncio.gather(*(catalogue.get(org_id, *pin) for pin in pins))
    async with transient():
        known = await places.contents(deps.pool, org_id, pins)
    # What is read while something else is kept is not kept itself: one at a time it is.
    for pin in pins:
        if pin not in known:
            await catalogue.get(org_id, *pin)


async def _check(work: Work, pins: Pins, kept: frozenset[Pinned] = frozenset()) -> None:
    """Raises `Refused` unless all of a set that is not `kept` is there, this organisation's, and usable."""
    _check_tools(pins)
    wanted = [pin for pin in places.pinned(pins) if pin not in kept]
    items = await places.contents(work.connection, work.org_id, [pin for pin in wanted if _storable(pin)])
    for pin in wanted:
        item = items.get(pin)
        if item is None:
            raise _missing(pin)
        if item.status != "usable":
            message = f"{pin.kind} '{pin.id}' is {item.status}: it cannot be part of an active set."
            raise Refused(409, message, "not_usable", PARAMS[pin.kind], details=pin._asdict())


def _check_tools(pins: Pins) -> None:
    tools = pins.tools
    if len(tools) > MAX_TOOLS:
        raise Refused(400, f"At most {MAX_TOOLS} tools can be active.", "too_many_tools", "tools")
    if len({tool.id for tool in tools}) < len(tools):
        raise Refused(400, "A tool can be in a set only once.", "duplicate_tool", "tools")


def _storable(pin: Pinned) -> bool:
    return validation.is_id(pin.id) and 0 <= (pin.version or 0) <= validation.LARGEST_VERSION


def _missing(pin: Pinned) -> Refused:
    which = f"{pin.kind} '{pin.id[:80]}'"
    which = which if pin.version is None else f"version {pin.version} of {which}"
    return Refused(404, f"There is no {which}.", "not_found", PARAMS[pin.kind], details=pin._asdict())
