"""A set as it is served: whole resources behind the pins of a scope, packed for the cache."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import orjson
import structlog

from common.clients.resources.entries import NEGATIVE_FRESH_SECONDS, Entry
from common.events.reply import content
from common.events.resource_replies import ActiveSet, Resource
from common.events.resource_terms import Pins
from resources.active.freshness import Known
from resources.metrics import BROKEN_SETS
from resources.ports import Item, ScopeTables
from resources.scopes import Pinned, ScopeKey, State, pinned, shown_pins

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class GoneError(Exception):
    """Something without which the set must not be served is not there any more."""

    pin: Pinned

    @property
    def message(self) -> str:
        which = self.pin.kind if self.pin.version is None else f"version {self.pin.version} of {self.pin.kind}"
        return f"The active set cannot be served: there is no {which} '{self.pin.id}' any more."


def parts(states: Iterable[State]) -> set[Pinned]:
    """Everything that is in these scopes, in their current sets and candidates."""
    both = (pins for state in states for pins in (state.current_pins, state.candidate_pins))
    return {pin for pins in both if pins is not None for pin in pinned(pins)}


async def entries(
    tables: ScopeTables,
    keys: Sequence[ScopeKey],
    *,
    fresh_until: float,
    now: float,
    known: Callable[[Collection[Pinned]], Known],
) -> list[Entry]:
    """The entries of these scopes as the tables have them, less what is `known` to be gone. Times are unix seconds."""
    clock = await tables.clock()
    states = await tables.states(keys)
    wanted = parts(states.values())
    heard = known(wanted)
    left = list(wanted - heard.gone)
    items = await tables.contents(left) if left else {}
    empty = Entry(clock, now + NEGATIVE_FRESH_SECONDS)
    return [
        _entry(states[key], clock, heard.fresh_until(parts([states[key]]), fresh_until), items)
        if key in states
        else empty
        for key in keys
    ]


def _entry(state: State, clock: int, fresh_until: float, items: Mapping[Pinned, Item]) -> Entry:
    current, problem = _packed(state, state.current_pins, clock, items)
    candidate, _ = _packed(state, state.candidate_pins, clock, items, candidate=True)
    return Entry(
        clock,
        fresh_until,
        state.switched_at.timestamp(),
        state.revision,
        state.candidate,
        percent=state.percent,
        problem=problem,
        current=current,
        candidate=candidate,
    )


def _packed(
    state: State, pins: Pins | None, clock: int, items: Mapping[Pinned, Item], *, candidate: bool = False
) -> tuple[bytes, str | None]:
    """The set as it is sent, or nothing and why it cannot be."""
    if pins is None:
        return b"", None
    try:
        return orjson.dumps(content(served(state, pins, clock, items, candidate=candidate))), None
    except GoneError as missing:
        BROKEN_SETS.labels("candidate" if candidate else "current").inc()
        log.warning("a set cannot be served", place=state.key.name, candidate=candidate, missing=missing.pin)
        return b"", missing.message


def served(state: State, pins: Pins, clock: int, items: Mapping[Pinned, Item], *, candidate: bool = False) -> ActiveSet:
    """The set as it is shown. Raises `GoneError`; a tool that is not usable is left out."""
    revision = state.candidate if candidate else state.revision
    return ActiveSet(
        place=state.key.scope,
        layer=state.key.layer,
        revision=revision or 0,
        candidate=candidate,
        candidate_revision=state.candidate,
        percent=state.percent,
        clock=clock,
        config=_shown(Pinned("config", pins.config.id, pins.config.version), items),
        prompt=_shown(Pinned("prompt", pins.prompt.id, pins.prompt.version), items),
        voice=pins.voice and _shown(Pinned("voice", pins.voice.id, pins.voice.version), items),
        tools=_tools(pins, items),
        pins=shown_pins(pins),
    )


def _shown(pin: Pinned, items: Mapping[Pinned, Item]) -> Resource:
    item = items.get(pin)
    if item is None or item.status != "usable":
        raise GoneError(pin)
    return item.resource()


def _tools(pins: Pins, items: Mapping[Pinned, Item]) -> tuple[Resource, ...]:
    found = [items.get(Pinned("tool", tool.id, tool.version)) for tool in pins.tools]
    return tuple(item.resource() for item in found if item is not None and item.status == "usable")
