"""Whether the variables of a set are filled: asked when it is switched on, not when somebody talks."""

from collections.abc import Mapping
from typing import Any

from common.events.prompt_variables import BUILT_IN, variables_in
from common.events.resource_terms import Kind, Pins
from common.failures import Refused
from resources.ports import Item, Work
from resources.scopes import Pinned

# Named in a refusal.
MAX_NAMED = 20
LOCAL = "local"
CHECKED = frozenset({"config", "prompt"})


def unfilled(config: Mapping[str, Any], prompt: Mapping[str, Any]) -> list[str]:
    """The variables of prompt and greeting that nothing fills: not Sonant, no default, and no request."""
    greeting = (config.get("event_messages") or {}).get("on_new_chat") or {}
    used = variables_in(prompt.get("text") or "") | variables_in(greeting.get("text") or "")
    return sorted(used - BUILT_IN - (config.get("variables") or {}).keys())


async def check_variables(work: Work, pins: Pins) -> None:
    """Raises `Refused` (409 `unfilled_variables`) unless the variables of this set are filled.

    A config of a provider's catalogue has no place to declare any: there a text keeps what nothing fills.
    """
    config, prompt = config_of(pins), prompt_of(pins)
    if await work.tables.catalogue.home("config", config.id) != LOCAL:
        return
    items = await work.tables.scopes.contents([config, prompt])
    _check(items[config].content, items[prompt].content)


async def check_followers(work: Work, kind: Kind, id: str, body: Mapping[str, Any]) -> None:
    """The same for every set that follows the latest version, which `body` is about to become."""
    if kind not in CHECKED or (kind == "prompt" and not variables_in(body["text"]) - BUILT_IN):
        return
    states = await work.tables.scopes.states(await work.tables.scopes.using(kind, id))
    both = (pins for state in states.values() for pins in (state.current_pins, state.candidate_pins))
    this, other = (config_of, prompt_of) if kind == "config" else (prompt_of, config_of)
    beside = {other(pins) for pins in both if pins is not None and this(pins) == Pinned(kind, id, None)}
    items: Mapping[Pinned, Item] = await work.tables.scopes.contents(list(beside)) if beside else {}
    for item in items.values():
        config, prompt = (body, item.content) if kind == "config" else (item.content, body)
        _check(config, prompt)


def config_of(pins: Pins) -> Pinned:
    """The config of a set."""
    return Pinned("config", pins.config.id, pins.config.version)


def prompt_of(pins: Pins) -> Pinned:
    """The prompt of a set."""
    return Pinned("prompt", pins.prompt.id, pins.prompt.version)


def _check(config: Mapping[str, Any], prompt: Mapping[str, Any]) -> None:
    if not (missing := unfilled(config, prompt)):
        return
    named = ", ".join(f"'{name}'" for name in missing[:MAX_NAMED])
    message = (
        f"Nothing fills {named}: declare each in 'variables' of the config, with a default or as required, "
        "or write it with a backslash before its braces where it is no variable."
    )
    raise Refused(409, message, "unfilled_variables", "variables", details={"variables": missing[:MAX_NAMED]})
