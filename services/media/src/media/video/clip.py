"""Renders a clip here, and looks at one: a title, motion, the prompt's words, as H.264.

For the worker processes. Heavy packages are imported where they are used, so that the service itself never loads them.
"""

import colorsys
import hashlib
import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from common.failures import Refused
from common.kernel.worker_main import report

if TYPE_CHECKING:
    from PIL.Image import Image

TITLE_WORDS = 6
# Beyond these nobody could read them in the time.
MAX_WORDS = 60
REPORTS_PER_CLIP = 50
# Of the clip: what is said at the end stays to be read.
WORDS_SHARE = 0.8
# How far the picture is enlarged on its way through a seed image.
ZOOM = 0.15
MAX_IMAGE_PIXELS = 50_000_000


@dataclass(frozen=True, slots=True)
class ClipWish:
    """A clip to be rendered; `image` is the path of a picture to begin with."""

    prompt: str
    duration: float
    width: int
    height: int
    fps: int
    seed: int | None = None
    image: str | None = None


@dataclass(frozen=True, slots=True)
class ClipFound:
    """What a file is; seconds, pixels, frames a second."""

    duration: float
    width: int
    height: int
    fps: float
    codec: str


def render(wish: ClipWish, path: str) -> None:
    """Write the clip to `path`, reporting the share that is done. Raises Refused for an image that cannot be read."""
    import av

    frames = max(1, round(wish.duration * wish.fps))
    scene = _Scene(wish)
    with av.open(path, "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream: Any = container.add_stream("libx264", rate=wish.fps)
        stream.width, stream.height, stream.pix_fmt = wish.width, wish.height, "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "24", "threads": "1", "g": str(wish.fps * 2)}
        for number in range(frames):
            picture = scene.frame(number / frames)
            frame = av.VideoFrame.from_image(picture)  # type: ignore[no-untyped-call]
            for packet in stream.encode(frame):
                container.mux(packet)
            if number % max(1, frames // REPORTS_PER_CLIP) == 0:
                report((number + 1) / frames)
        for packet in stream.encode(None):
            container.mux(packet)


class _Scene:
    """The pictures of a clip, by the share of it that is over."""

    def __init__(self, wish: ClipWish) -> None:
        from PIL import ImageFont

        self._wish = wish
        self._dice = hashlib.sha256(f"{wish.seed}/{wish.prompt}".encode()).digest()
        words = wish.prompt.split()[:MAX_WORDS]
        self._title = " ".join(words[:TITLE_WORDS])
        self._words = words
        self._fonts = [ImageFont.load_default(max(10, wish.height // part)) for part in (12, 20)]
        image = _opened(wish.image) if wish.image else None
        self._ground = partial(_zoomed, wish, image) if image else partial(_panned, wish, _gradient(wish, self._dice))
        self._overlay: tuple[int, Image] | None = None

    def frame(self, share: float) -> "Image":
        picture = self._ground(share)
        said = min(len(self._words), 1 + int(share / WORDS_SHARE * len(self._words)))
        layer = self._text(said)
        picture.paste(layer, (0, 0), layer)
        return picture

    def _text(self, said: int) -> "Image":
        """The title, and as many words below it as have been said."""
        from PIL import Image, ImageDraw

        if self._overlay is not None and self._overlay[0] == said:
            return self._overlay[1]
        width, height = self._wish.width, self._wish.height
        layer = Image.new("RGBA", (width, height))
        draw = ImageDraw.Draw(layer)
        margin, (large, small) = width // 16, self._fonts
        y = self._lines(draw, self._title.split(), large, margin, height // 6)
        self._lines(draw, self._words[:said], small, margin, y + height // 16)
        self._overlay = said, layer
        return layer

    def _lines(self, draw: Any, words: list[str], font: Any, margin: int, y: int) -> int:
        """Write words in lines as wide as the picture; returns where the next line would be."""
        line: list[str] = []
        step = int(font.size * 1.35)
        room = self._wish.width - 2 * margin
        for word in [*words, None]:
            if word is not None and (not line or draw.textlength(" ".join([*line, word]), font=font) < room):
                line.append(word)
                continue
            draw.text((margin + 2, y + 2), " ".join(line), font=font, fill=(0, 0, 0, 160))
            draw.text((margin, y), " ".join(line), font=font, fill=(255, 255, 255, 235))
            y += step
            line = [] if word is None else [word]
        return y


def _panned(wish: ClipWish, ground: Any, share: float) -> "Image":
    """A part of the ground that swings from side to side."""
    from PIL import Image

    at = int((0.5 - 0.5 * math.cos(2 * math.pi * share)) * wish.width)
    return Image.fromarray(ground[:, at : at + wish.width])


def _zoomed(wish: ClipWish, image: "Image", share: float) -> "Image":
    """The middle of the image in the shape of the clip, nearer and nearer."""
    from PIL import Image

    wanted = wish.width / wish.height
    width, height = image.size
    box_w, box_h = (height * wanted, height) if width / height > wanted else (width, width / wanted)
    scale = 1 - ZOOM * share
    box_w, box_h = box_w * scale, box_h * scale
    left, top = (width - box_w) / 2, (height - box_h) / 2
    box = (left, top, left + box_w, top + box_h)
    return image.resize((wish.width, wish.height), Image.Resampling.BILINEAR, box=box)


def _gradient(wish: ClipWish, dice: bytes) -> Any:
    """A picture twice as wide as the clip, along which it pans."""
    import numpy as np

    hues = [dice[at] / 255 for at in (0, 1, 2)]
    colours = np.array([colorsys.hsv_to_rgb(hue, 0.65, 0.55) for hue in hues]) * 255
    x = np.linspace(0, 2, wish.width * 2)[None, :, None]
    y = np.linspace(0, 1, wish.height)[:, None, None]
    wave = 0.5 + 0.5 * np.sin(math.pi * (x + y * (1 + dice[3] / 255)) + dice[4])
    mixed = colours[0] * wave + colours[1] * (1 - wave)
    rings = 0.5 + 0.5 * np.sin((x * (4 + dice[5] % 5) - y * 6) * math.pi)
    return np.clip(mixed * 0.8 + colours[2] * 0.2 * rings, 0, 255).astype(np.uint8)


def _opened(path: str) -> "Image":
    from PIL import Image, ImageOps, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = MAX_IMAGE_PIXELS
    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > MAX_IMAGE_PIXELS:
                raise _unreadable("it has too many pixels")
            return ImageOps.exif_transpose(picture).convert("RGB")
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError):
        raise _unreadable("it is no picture that can be read") from None


def _unreadable(why: str) -> Refused:
    return Refused(400, f"The seed image cannot be used: {why}.", "invalid_seed_image", "seed_image")


def as_jpeg(path: str, target: str) -> None:
    """A picture of any usual kind as a JPEG, turned as it is meant to be seen. Raises Refused."""
    _opened(path).save(target, "JPEG", quality=92)


def probe(path: str) -> ClipFound:
    """What the file is, having decoded its first picture. Raises Refused 422 for one that does not play."""
    import av

    av.logging.set_level(av.logging.PANIC)
    try:
        with av.open(path, metadata_errors="ignore") as container:
            stream = container.streams.video[0]
            picture = next(container.decode(stream))
            length = container.duration / av.time_base if container.duration else 0.0
            if stream.duration is not None and stream.time_base is not None:
                length = float(stream.duration * stream.time_base)
            rate = float(stream.average_rate or stream.guessed_rate or 0)
            return ClipFound(round(length, 3), picture.width, picture.height, round(rate, 3), stream.codec.name)
    except (av.error.FFmpegError, IndexError, StopIteration, ValueError) as error:
        raise Refused(422, f"The clip does not play: {type(error).__name__}.", "unplayable_video") from None
