"""What may be pinned in an active set, and whether it is there."""

import asyncio
from collections.abc import Mapping, Sequence

from common.events.resource_terms import MAX_TOOLS, Kind, Pins
from common.failures import Refused
from resources.active.set_variables import CHECKED, check_variables
from resources.deps import Deps
from resources.ports import Work
from resources.resource_ids import MAX_VERSION, is_id
from resources.scopes import Pinned, pinned

PARAMS: Mapping[Kind, str] = {"config": "configId", "prompt": "promptId", "voice": "voiceId", "tool": "toolId"}


async def refresh_pins(deps: Deps, org_id: str, pins: Sequence[Pinned]) -> None:
    """Have a provider's catalogue bring the tables up to date about pins, before a transaction waits for it.

    Raises `Refused` (404), and `ProviderDown` where neither the tables nor the provider can tell.
    """
    catalogue = deps.catalogues.of(org_id)
    if catalogue.name == "local":
        return
    await asyncio.gather(*(catalogue.get(org_id, *pin) for pin in pins))
    known = await deps.store.of(org_id).scopes.contents(pins)
    # What is read while something else is kept is not kept itself: one at a time it is.
    for pin in pins:
        if pin not in known:
            await catalogue.get(org_id, *pin)


async def check_pins(work: Work, pins: Pins, kept: frozenset[Pinned] = frozenset()) -> None:
    """Raises `Refused` unless all of a set that is not `kept` is there, this organisation's, and usable.

    The variables of what is not `kept` must be filled.
    """
    _check_tools(pins)
    wanted = [pin for pin in pinned(pins) if pin not in kept]
    items = await work.tables.scopes.contents([pin for pin in wanted if _storable(pin)])
    for pin in wanted:
        item = items.get(pin)
        if item is None:
            raise _missing(pin)
        if item.status != "usable":
            message = f"{pin.kind} '{pin.id}' is {item.status}: it cannot be part of an active set."
            raise Refused(409, message, "not_usable", PARAMS[pin.kind], details=pin._asdict())
    if any(pin.kind in CHECKED for pin in wanted):
        await check_variables(work, pins)


def _check_tools(pins: Pins) -> None:
    tools = pins.tools
    if len(tools) > MAX_TOOLS:
        raise Refused(400, f"At most {MAX_TOOLS} tools can be active.", "too_many_tools", "tools")
    if len({tool.id for tool in tools}) < len(tools):
        raise Refused(400, "A tool can be in a set only once.", "duplicate_tool", "tools")


def _storable(pin: Pinned) -> bool:
    return is_id(pin.id) and 0 <= (pin.version or 0) <= MAX_VERSION


def _missing(pin: Pinned) -> Refused:
    which = f"{pin.kind} '{pin.id[:80]}'"
    which = which if pin.version is None else f"version {pin.version} of {which}"
    return Refused(404, f"There is no {which}.", "not_found", PARAMS[pin.kind], details=pin._asdict())
