"""The wave of a sound as a picture."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

WIDTH, HEIGHT = 1200, 160
PAPER, INK, MIDDLE = (255, 255, 255), (37, 99, 235), (203, 213, 225)


def draw(wave: Sequence[tuple[float, float]], out: Path) -> None:
    """Lowest and highest values between -1 and 1, in their order, as a PNG file."""
    image = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    lines = ImageDraw.Draw(image)
    half = (HEIGHT - 1) / 2
    lines.line((0, half, WIDTH, half), fill=MIDDLE)
    for x in range(WIDTH):
        part = wave[x * len(wave) // WIDTH : max((x + 1) * len(wave) // WIDTH, x * len(wave) // WIDTH + 1)]
        low, high = min(low for low, _ in part), max(high for _, high in part)
        lines.line((x, half - half * min(1.0, high), x, half - half * max(-1.0, low)), fill=INK)
    image.save(out, "PNG")
