"""What an image costs, by the tables that OpenAI publishes (guide "Images and vision", "Calculating costs").

Most models see tiles of 512 pixels; the small ones of newer families see patches of 32. Both depend on the size, which
the head of a PNG, JPEG, GIF or WebP tells. An image that is given by its address has no size that could be known
without fetching it: it counts as the largest there is.
"""

import base64
import binascii
import math
import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

# A JPEG may have a preview and a profile before its size.
HEAD_BYTES = (1_024, 65_536)
# Sides of a frame of JPEG stand behind one of these, of which C4, C8 and CC are something else.
FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}

Size = tuple[int, int]


class ImagePrices(Protocol):
    """What images cost for one model."""

    def tokens(self, url: str, detail: str) -> tuple[int, bool]:
        """The tokens of an image, and whether its size is known; `url` holds it, or says where it is."""
        ...


class Tiles(NamedTuple):
    """A base, and so much a tile. A large image is first made to fit 2,048 pixels, then its shorter side 768."""

    base: int
    tile: int

    def tokens(self, url: str, detail: str) -> tuple[int, bool]:
        """As the port says; `low` is the base alone."""
        if detail == "low":
            return self.base, True
        size = size_of(url)
        return self.base + self.tile * _tiles(*(size or (2_048, 768))), size is not None


class Patches(NamedTuple):
    """So much a patch, of which an image has 1,536 at most."""

    factor: float

    def tokens(self, url: str, detail: str) -> tuple[int, bool]:
        """As the port says; `detail` changes nothing."""
        del detail
        size = size_of(url)
        width, height = size or (32 * MOST_PATCHES, 32)
        patches = min(MOST_PATCHES, math.ceil(width / 32) * math.ceil(height / 32))
        return math.ceil(patches * self.factor), size is not None


MOST_PATCHES = 1_536
USUAL = Tiles(85, 170)
# By the beginning of a model's name; the first that fits.
PRICES: Mapping[str, Tiles | Patches] = {
    "gpt-5-mini": Patches(1.62),
    "gpt-5-nano": Patches(2.46),
    "gpt-5": Tiles(70, 140),
    "gpt-4.1-mini": Patches(1.62),
    "gpt-4.1-nano": Patches(2.46),
    "gpt-4o-mini": Tiles(2_833, 5_667),
    "o4-mini": Patches(1.72),
    "o1": Tiles(75, 150),
    "o3": Tiles(75, 150),
}


@lru_cache(maxsize=1_024)
def prices_of(*models: str) -> Tiles | Patches:
    """What images cost for the dearest of these models; one that is not in the table takes what GPT-4o does."""
    found = (next((PRICES[name] for name in PRICES if model.startswith(name)), USUAL) for model in models)
    return max(found, key=lambda prices: prices.tokens("", "auto"))


def image_url_of(part: Mapping[str, Any]) -> tuple[str, str]:
    """The address of an image part, or the image itself, and the detail that is wanted."""
    given = part.get("image_url")
    image = given if type(given) is dict else {"url": given, "detail": part.get("detail")}
    url, detail = image.get("url"), image.get("detail")
    return url if type(url) is str else "", detail if type(detail) is str else "auto"


def _tiles(width: int, height: int) -> int:
    scale = min(1.0, 2_048 / max(width, height))
    width, height = max(1, int(width * scale)), max(1, int(height * scale))
    scale = min(1.0, 768 / min(width, height))
    return math.ceil(width * scale / 512) * math.ceil(height * scale / 512)


def size_of(url: str) -> Size | None:
    """Width and height in pixels of an image in a `data:` URL; None where they cannot be read."""
    start = url.find(";base64,", 0, 100) + len(";base64,")
    if not url.startswith("data:image/") or start < len(";base64,"):
        return None
    for wanted in HEAD_BYTES:
        head = _decoded(url[start : start + wanted * 4 // 3 // 4 * 4])
        if (size := _read(head)) is not None or not head.startswith(b"\xff\xd8"):
            return size
    return None


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError):
        return b""


def _read(head: bytes) -> Size | None:
    """The size that the head of an image tells; None where it tells none, or that of nothing."""
    try:
        width, height = _sides(head)
    except (struct.error, IndexError):
        return None
    return (width, height) if width > 0 and height > 0 else None


def _sides(head: bytes) -> Size:
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return struct.unpack_from(">II", head, 16)
    if head.startswith((b"GIF87a", b"GIF89a")):
        return struct.unpack_from("<HH", head, 6)
    if head.startswith(b"\xff\xd8"):
        return _jpeg_sides(head)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _webp_sides(head)
    return 0, 0


def _jpeg_sides(head: bytes) -> Size:
    at = 2
    while head[at] == 0xFF:
        marker, length = head[at + 1], int.from_bytes(head[at + 2 : at + 4])
        if marker in FRAME_MARKERS:
            height, width = struct.unpack_from(">HH", head, at + 5)
            return width, height
        at += 2 + max(2, length)
    return 0, 0


def _webp_sides(head: bytes) -> Size:
    """The three forms of WebP, as its container specification has them."""
    kind = head[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", head, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    return 0, 0
