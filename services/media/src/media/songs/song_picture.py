"""A catalogue as a picture: its vectors in the two dimensions in which they differ most. Runs in worker processes."""

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from common.events.songs import DIMENSIONS
from media.songs.song_calls import PictureWish

MARGIN = 40
RADIUS = 4
# Colours for so many groups; the songs of all others are grey.
COLOURS = (
    (31, 119, 180),
    (255, 127, 14),
    (44, 160, 44),
    (214, 39, 40),
    (148, 103, 189),
    (140, 86, 75),
    (227, 119, 194),
    (188, 189, 34),
    (23, 190, 207),
    (57, 59, 121),
)
OTHERS = (150, 150, 150)
# The outermost points would leave the others in a heap.
QUANTILE = 0.01
Floats = NDArray[np.float64]


def draw(vectors: Path, wish: PictureWish, out: Path) -> tuple[list[tuple[float, float]], float]:
    """Write a PNG; returns the place of each vector, from 0 to 1, and the share of the variance that is seen."""
    data = np.fromfile(vectors, dtype="<f4").reshape(-1, DIMENSIONS)
    flat, explained = _principal(data)
    places = _spread(flat)
    image = Image.new("RGB", (wish.width, wish.height), "white")
    pen = ImageDraw.Draw(image)
    common = [name for name, _ in Counter(name for name in wish.groups if name).most_common(len(COLOURS))]
    for (x, y), group in zip(places, wish.groups, strict=True):
        at_x = MARGIN + x * (wish.width - 2 * MARGIN)
        at_y = MARGIN + y * (wish.height - 2 * MARGIN)
        colour = COLOURS[common.index(group)] if group in common else OTHERS
        pen.ellipse((at_x - RADIUS, at_y - RADIUS, at_x + RADIUS, at_y + RADIUS), fill=colour)
    _legend(pen, common)
    image.save(out, "PNG")
    return [(round(float(x), 4), round(float(y), 4)) for x, y in places], explained


def _principal(data: NDArray[np.float32]) -> tuple[Floats, float]:
    """The first two principal components, each with a sign that does not change from run to run."""
    centred = data.astype(np.float64) - data.mean(axis=0)
    values, axes = np.linalg.eigh(centred.T @ centred)
    first = axes[:, ::-1][:, :2]
    first = first * np.where(first[np.abs(first).argmax(axis=0), (0, 1)] < 0, -1.0, 1.0)
    total = float(values.sum())
    return centred @ first, round(float(values[-2:].sum()) / total, 4) if total > 0 else 1.0


def _spread(flat: Floats) -> Floats:
    """Places from 0 to 1. Songs of one vector would hide one another: each is moved by a hair of its own."""
    low, high = np.quantile(flat, [QUANTILE, 1 - QUANTILE], axis=0)
    placed = np.clip((flat - low) / np.maximum(high - low, 1e-9), 0, 1)
    seed = int.from_bytes(hashlib.sha256(b"map").digest()[:4])
    moved = placed + np.random.default_rng(seed).normal(0, 0.004, placed.shape)
    return np.asarray(np.clip(moved, 0, 1), dtype=np.float64)


def _legend(pen: ImageDraw.ImageDraw, names: list[str]) -> None:
    font = ImageFont.load_default(14)
    for at, name in enumerate(names):
        y = 10 + 20 * at
        pen.rectangle((10, y, 22, y + 12), fill=COLOURS[at])
        pen.text((28, y - 2), name[:40], font=font, fill="black")
