"""What differs between two revisions of an active set."""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Literal, TypeAlias

from common.events.resource_replies import NamedPin, PinChange
from common.events.resource_terms import Kind, Pin, Pins
from resources.ports import Item
from resources.scopes import Pinned

# Beyond this many lines nobody reads, nor looks for, the least changes.
MAX_LINES = 5_000
# Beside each change, as `diff -u` shows them.
CONTEXT_LINES = 3


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
    """A unified diff of the prompts' texts, None where the text is the same.

    What it costs grows with the square of the lines, and faster with some texts: not for the event loop.
    """
    return _text_diff(_prompt(old, items), _prompt(new, items), _least)


def rough_prompt_diff(old: Pins, new: Pins, items: Mapping[Pinned, Item]) -> str | None:
    """The same as one change from the first line that differs to the last, which takes no longer than reading both."""
    return _text_diff(_prompt(old, items), _prompt(new, items), _rough)


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


Lines: TypeAlias = Sequence[str]
Compare: TypeAlias = Callable[[Lines, Lines], Iterable[str]]


def _text_diff(old: Item | None, new: Item | None, compare: Compare) -> str | None:
    """A unified diff in which every line ends with a newline; None for the same text, or one that is gone."""
    if old is None or new is None:
        return None
    before, after = (str(item.content.get("text") or "") for item in (old, new))
    if before == after:
        return None
    titles = [f"{sign} {item.name} (version {item.version})" for sign, item in (("---", old), ("+++", new))]
    changes = compare(before.splitlines(), after.splitlines())
    return "".join(f"{line}\n" for line in (*titles, *changes))


def _least(before: Lines, after: Lines) -> Iterable[str]:
    if max(len(before), len(after)) > MAX_LINES:
        return _rough(before, after)
    return islice(difflib.unified_diff(before, after, lineterm=""), 2, None)


def _rough(before: Lines, after: Lines) -> Iterable[str]:
    """One hunk around everything that differs."""
    most = min(len(before), len(after))
    same = next((at for at in range(most) if before[at] != after[at]), most)
    most -= same
    tail = next((at for at in range(most) if before[-1 - at] != after[-1 - at]), most)
    start, end = max(0, same - CONTEXT_LINES), max(0, tail - CONTEXT_LINES)
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    if not old[same - start : len(old) - (tail - end)] and not new[same - start : len(new) - (tail - end)]:
        return  # nothing but the ends of lines differs
    yield f"@@ -{_range(start, len(old))} +{_range(start, len(new))} @@"
    yield from (f" {line}" for line in old[: same - start])
    yield from (f"-{line}" for line in old[same - start : len(old) - (tail - end)])
    yield from (f"+{line}" for line in new[same - start : len(new) - (tail - end)])
    yield from (f" {line}" for line in old[len(old) - (tail - end) :])


def _range(start: int, count: int) -> str:
    """As unified diffs write it: lines count from 1, an empty range names the line before it."""
    return f"{start + 1}" if count == 1 else f"{start + bool(count)},{count}"
