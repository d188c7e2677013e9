"""A set as it is served: whole resources behind the pins of a place, packed for the cache."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import structlog

from common.clients.resources.entries import NEGATIVE_FRESH_SECONDS, Entry
from common.events.resources import Pins
from resources import places
from resources.look_ups import Known
from resources.metrics import BROKEN_SETS
from resources.places import Pinned, Spot, State
from resources.ports import Item
from resources.store import Reader

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Gone(Exception):
    """Something without which the set must not be served is not there any more."""

    pin: Pinned

    @property
    def message(self) -> str:
        which = self.pin.kind if self.pin.version is None else f"version {self.pin.version} of {self.pin.kind}"
        return f"The active set cannot be served: there is no {which} '{self.pin.id}' any more."


def parts(states: Iterable[State]) -> set[Pinned]:
    """Everything that is in these places, in their current sets and candidates."""
    both = (pins for state in states for pins in (state.current_pins, state.candidate_pins))
    return {pin for pins in both if pins is not None for pin in places.pinned(pins)}


async def entries(
    reader: Reader,
    org_id: str,
    clock: int,
    spots: Sequence[Spot],
    *,
    fresh_until: float,
    now: float,
    known: Callable[[Collection[Pinned]], Known],
) -> list[Entry]:
    """The entries of these places as the tables have them, less what is `known` to be gone. Times are unix seconds."""
    states = await places.states(reader, org_id, spots)
    wanted = parts(states.values())
    told = known(wanted)
    left = list(wanted - told.gone)
    items = await places.contents(reader, org_id, left) if left else {}
    empty = Entry(clock, now + NEGATIVE_FRESH_SECONDS)
    return [
        _entry(states[spot], clock, told.fresh_until(parts([states[spot]]), fresh_until), items)
        if spot in states
        else empty
        for spot in spots
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
        return orjson.dumps(body(state, pins, clock, items, candidate=candidate)), None
    except Gone as missing:
        BROKEN_SETS.labels("candidate" if candidate else "current").inc()
        log.warning("a set cannot be served", place=state.spot.name, candidate=candidate, missing=missing.pin)
        return b"", missing.message


def body(
    state: State, pins: Pins, clock: int, items: Mapping[Pinned, Item], *, candidate: bool = False
) -> dict[str, Any]:
    """The set as it is shown. Raises `Gone`; a tool that is not usable is left out."""
    return {
        "place": state.spot.place.model_dump(),
        "layer": state.spot.layer,
        "revision": state.candidate if candidate else state.revision,
        "candidate": candidate,
        "candidate_revision": state.candidate,
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
