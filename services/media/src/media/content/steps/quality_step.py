"""The step that sums up how good the pictures are: sharpness, exposure, motion, black and frozen stretches."""

from collections.abc import Sequence
from statistics import mean, median
from typing import Any

from media.analysis.analysis_findings import Footage, Sharpness
from media.content.analysis_course import Course

VERSION = 1
# A picture (480 pixels wide) below this variance of its Laplacian has no sharp edge.
BLURRED = 60.0
# Mean brightness outside of these, of 255, or so large a share of clipped points, is wrongly exposed.
DARK, BRIGHT, CLIPPED = 40.0, 215.0, 0.25


async def run(course: Course) -> None:
    """Fill `quality`."""
    pictures = [keyframe.quality for keyframe in course.keyframes]
    course.quality = {**_of_pictures(pictures), **({} if course.footage is None else _of_footage(course.footage))}


def _of_pictures(pictures: Sequence[Sharpness]) -> dict[str, Any]:
    return {
        "sharpness": round(median(each.sharpness for each in pictures), 1),
        "brightness": round(mean(each.brightness for each in pictures), 1),
        "contrast": round(mean(each.contrast for each in pictures), 1),
        "clipped_dark": round(mean(each.clipped_dark for each in pictures), 4),
        "clipped_bright": round(mean(each.clipped_bright for each in pictures), 4),
        "blurred_share": round(mean(each.sharpness < BLURRED for each in pictures), 3),
        "exposure": _exposure(pictures),
    }


def _exposure(pictures: Sequence[Sharpness]) -> str:
    if mean(each.brightness for each in pictures) < DARK or mean(each.clipped_dark for each in pictures) > CLIPPED:
        return "dark"
    if mean(each.brightness for each in pictures) > BRIGHT or mean(each.clipped_bright for each in pictures) > CLIPPED:
        return "bright"
    return "normal"


def _of_footage(footage: Footage) -> dict[str, Any]:
    return {
        "motion": footage.motion,
        "black": [list(span) for span in footage.black],
        "frozen": [list(span) for span in footage.frozen],
    }
