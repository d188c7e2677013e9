"""What a cluster is called: by what its pictures show where that is known, else by their colour."""

import colorsys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from common.events.analyses import ItemKind

# Of the shares of all members together, so much says what they show.
LEAST_SHARE = 0.2
HUES = ((15, "red"), (45, "orange"), (70, "yellow"), (160, "green"), (200, "cyan"), (255, "blue"), (330, "purple"))
GREY, DARK, BRIGHT = 0.18, 0.25, 0.75


def label_of(kind: ItemKind, looks: Sequence[Mapping[str, Any]], number: int) -> str:
    """A label for items that look like this; `number` tells groups of faces apart."""
    if kind == "face":
        return f"face {number}"
    shares = defaultdict[str, float](float)
    for look in looks:
        for name, share in look.get("names", ()):
            shares[name] += share
    if shares:
        name, total = max(shares.items(), key=lambda pair: pair[1])
        if total / len(looks) >= LEAST_SHARE:
            return name
    colours = [look["colour"] for look in looks]
    return f"{colour_name([sum(each[at] for each in colours) / len(colours) for at in range(3)])} pictures"


def colour_name(colour: Sequence[float]) -> str:
    """A word for red, green and blue, each of 255."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*(value / 255 for value in colour))
    shade = "dark " if lightness < DARK else "light " if lightness > BRIGHT else ""
    if saturation < GREY:
        return f"{shade}grey"
    return shade + next((name for below, name in HUES if hue * 360 < below), "red")
