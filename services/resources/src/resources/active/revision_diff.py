"""What differs between two revisions of an active set."""

import difflib
from collections.abc import Mapping
from typing import Literal

from common.events.resource_replies import NamedPin, PinChange
from common.events.resource_terms import Kind, Pin, Pins
from resources.ports import Item
from resources.scopes import Pinned

# Comparing is quadratic at worst; beyond this many lines a diff says only that the text differs.
MAX_LINES = 5_000


def pin_changes(old: Pins, new: Pins, items: Mapping[Pinned, Item]) -> tuple[PinChange, ...]:
    """One change per slot that differs. Items give the names, as far as they are still there."""
    slots: list[tuple[Kind, Pin | None, Pin | None]] = [
        ("config", old.config, new.config),
        ("prompt", old.prompt, new.prompt),
        ("voice", old.voice, new.voice),
    ]
    before, after = ({tool.id: tool for tool in pins.tools} for pins in (old, new))
    slots += [("tool", before.get(id), after.get(id)) for id in dict.fromkeys((*before, *after))]
    return tuple(_change(kind, was, becomes, items) for kind, was, becomes in slots if was != becomes)


def prompt_diff(old: Pins, new: Pins, items: Mapping[Pinned, Item]) -> str | None:
    """A unified diff of the prompts' texts, None where the text is the same."""
    return _text_diff(_prompt(old, items), _prompt(new, items))


def _change(kind: Kind, old: Pin | None, new: Pin | None, items: Mapping[Pinned, Item]) -> PinChange:
    return PinChange(slot=kind, change=_verb(old, new), old=_shown(kind, old, items), new=_shown(kind, new, items))


def _verb(old: Pin | None, new: Pin | None) -> Literal["added", "removed", "replaced", "moved"]:
    if old is None:
        return "added"
    if new is None:
        return "removed"
    return "moved" if old.id == new.id else "replaced"


def _shown(kind: Kind, pin: Pin | None, items: Mapping[Pinned, Item]) -> NamedPin | None:
    if pin is None:
        return None
    item = items.get(Pinned(kind, pin.id, pin.version))
    return NamedPin(id=pin.id, version=pin.version, name=item and item.name)


def _prompt(pins: Pins, items: Mapping[Pinned, Item]) -> Item | None:
    return items.get(Pinned("prompt", pins.prompt.id, pins.prompt.version))


def _text_diff(old: Item | None, new: Item | None) -> str | None:
    """A unified diff in which every line ends with a newline; None for the same text, or one that is gone."""
    if old is None or new is None:
        return None
    before, after = (str(item.content.get("text") or "") for item in (old, new))
    if before == after:
        return None
    lines = [text.splitlines() for text in (before, after)]
    titles = [f"{item.name} (version {item.version})" for item in (old, new)]
    if max(map(len, lines)) > MAX_LINES:
        return f"--- {titles[0]}\n+++ {titles[1]}\n"
    return "".join(f"{line}\n" for line in difflib.unified_diff(lines[0], lines[1], titles[0], titles[1], lineterm=""))
