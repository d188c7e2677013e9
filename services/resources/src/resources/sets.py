"""A set as it is served: whole resources behind the pins of a place, packed for the cache."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any

import orjson

from common.events.resources import Pins
from common.resources.entries import NEGATIVE_FRESH_SECONDS, Entry
from resources import places
from resources.places import Pinned, Spot, State
from resources.ports import Item
from resources.store import Reader


@dataclass(frozen=True, slots=True)
class Gone(Exception):
    """Something without which the set must not be served is not there any more."""

    pin: Pinned

    @property
    def message(self) -> str:
        which = self.pin.kind if self.pin.version is None else f"version {self.pin.version} of {self.pin.kind}"
        return f"The active set cannot be served: there is no {which} '{self.pin.id}' any more."


async def entries(
    reader: Reader,
    org_id: str,
    clock: int,
    spots: Sequence[Spot],
    *,
    fresh_until: float,
    now: float,
    gone: AbstractSet[Pinned] = frozenset(),
) -> list[Entry]:
    """The entries of these places as the tables have them, `gone` taken for missing. Times are unix seconds."""
    states = await places.states(reader, org_id, spots)
    all_pins = [pins for state in states.values() for pins in (state.current_pins, state.candidate_pins) if pins]
    wanted = {pin for pins in all_pins for pin in places.pinned(pins)} - gone
    items = await places.contents(reader, org_id, list(wanted)) if wanted else {}
    empty = Entry(clock, now + NEGATIVE_FRESH_SECONDS)
    return [_entry(states[spot], clock, fresh_until, items) if spot in states else empty for spot in spots]


def _entry(state: State, clock: int, fresh_until: float, items: Mapping[Pinned, Item]) -> Entry:
    known = Entry(
        clock, fresh_until, state.switched_at.timestamp(), state.revision, state.candidate, percent=state.percent
    )
    if state.current_pins is None:
        return known
    try:
        current = orjson.dumps(body(state, state.current_pins, clock, items))
        rolled_out = state.candidate_pins and body(state, state.candidate_pins, clock, items, candidate=True)
    except Gone as missing:
        return replace(known, problem=missing.message)
    return replace(known, current=current, candidate=orjson.dumps(rolled_out) if rolled_out else b"")


def body(
    state: State, pins: Pins, clock: int, items: Mapping[Pinned, Item], *, candidate: bool = False
) -> dict[str, Any]:
    """The set as it is shown. Raises `Gone`; a tool that is not usable is left out."""
    return {
        "place": state.spot.place.model_dump(),
        "layer": state.spot.layer,
        "revision": state.candidate if candidate else state.revision,
        "candidate": candidate,
        "percent": state.percent,
        "clock": clock,
        "config": _shown(Pinned("config", pins.config.id, pins.config.version), items),
        "prompt": _shown(Pinned("prompt", pins.prompt.id, pins.prompt.version), items),
        "voice": pins.voice and _shown(Pinned("voice", pins.voice.id, pins.voice.version), items),
        "tools": _tools(pins, items),
        "pins": pins.model_dump(),
    }


def _shown(pin: Pinned, items: Mapping[Pinned, Item]) -> dict[str, Any]:
    item = items.get(pin)
    if item is None or item.status != "usable":
        raise Gone(pin)
    return item.body()


def _tools(pins: Pins, items: Mapping[Pinned, Item]) -> list[dict[str, Any]]:
    found = [items.get(Pinned("tool", tool.id, tool.version)) for tool in pins.tools]
    return [item.body() for item in found if item is not None and item.status == "usable"]
