"""A contact sheet: the keyframes of a video on one picture, each with the second at which it is shown."""

import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from media.analysis.analysis_findings import Keyframe

COLUMNS, MOST = 5, 60
CELL_WIDTH, CELL_HEIGHT, MARGIN, LINE = 240, 136, 6, 16
PAPER, INK = (24, 24, 27), (228, 228, 231)


def contact_sheet(keyframes: Sequence[Keyframe], out: Path) -> int:
    """Write it as a JPEG file; of more than `MOST` pictures evenly spread ones. Returns how many are on it."""
    shown = _some(keyframes)
    columns = min(COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    high = CELL_HEIGHT + LINE + MARGIN
    sheet = Image.new("RGB", (columns * (CELL_WIDTH + MARGIN) + MARGIN, rows * high + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, keyframe in enumerate(shown):
        left, top = MARGIN + number % columns * (CELL_WIDTH + MARGIN), MARGIN + number // columns * high
        with Image.open(keyframe.path) as picture:
            picture.thumbnail((CELL_WIDTH, CELL_HEIGHT))
            room = CELL_WIDTH - picture.width, CELL_HEIGHT - picture.height
            sheet.paste(picture, (left + room[0] // 2, top + room[1] // 2))
        draw.text((left, top + CELL_HEIGHT + 2), clock(keyframe.seconds), fill=INK)
    sheet.save(out, "JPEG", quality=85)
    return len(shown)


def clock(seconds: float) -> str:
    """Hours, minutes and seconds, as players show them."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{seconds % 60:04.1f}"


def _some(keyframes: Sequence[Keyframe]) -> Sequence[Keyframe]:
    if len(keyframes) <= MOST:
        return keyframes
    return [keyframes[number * len(keyframes) // MOST] for number in range(MOST)]
