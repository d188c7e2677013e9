"""Films made for tests, with shots that are known: moving patterns, each of its own colours."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Picture = NDArray[np.uint8]


def pattern(seed: int, width: int = 320, height: int = 180) -> Image.Image:
    """A picture of soft blotches, the same for one seed, as large as twice the width to move about in."""
    random = np.random.default_rng(seed)
    base, spread = random.integers(40, 200, 3), random.integers(30, 90)
    coarse = np.clip(base + random.normal(0, spread, (9, 24, 3)), 0, 255).astype(np.uint8)
    return Image.fromarray(coarse).resize((2 * width, height)).filter(ImageFilter.GaussianBlur(3))


def shot(seed: int, frames: int, width: int = 320, height: int = 180, speed: float = 1.0) -> list[Picture]:
    """Frames in which a camera moves over a pattern."""
    wide = np.asarray(pattern(seed, width, height))
    lefts = [int(number * speed) % width for number in range(frames)]
    return [wide[:, left : left + width] for left in lefts]


def dissolved(one: Sequence[Picture], other: Sequence[Picture], frames: int) -> list[Picture]:
    """Both, the last frames of the one mixed with the first of the other."""
    mixed = [
        (a * (1 - (number + 1) / (frames + 1)) + b * ((number + 1) / (frames + 1))).astype(np.uint8)
        for number, (a, b) in enumerate(zip(one[-frames:], other[:frames], strict=True))
    ]
    return [*one[:-frames], *mixed, *other[frames:]]


def faded(one: Sequence[Picture], other: Sequence[Picture], frames: int) -> list[Picture]:
    """Both, the one down to black and the other up from it."""
    down = [(each * (1 - (number + 1) / frames)).astype(np.uint8) for number, each in enumerate(one[-frames:])]
    up = [(each * ((number + 1) / frames)).astype(np.uint8) for number, each in enumerate(other[:frames])]
    return [*one[:-frames], *down, *up, *other[frames:]]


def film(
    path: Path, frames: Sequence[Picture], rate: int = 25, codec: str = "libx264", pixels: str = "yuv420p"
) -> Path:
    """The frames as a video without sound."""
    with av.open(str(path), "w") as container:
        stream = cast("av.VideoStream", container.add_stream(codec, rate=rate))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        if codec == "libx264":
            stream.options = {"preset": "ultrafast"}
        elif codec == "libx265":
            stream.options = {"preset": "ultrafast", "x265-params": "log-level=none"}
        for number, pixels_of in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels_of), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
