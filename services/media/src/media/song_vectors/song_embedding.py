"""The vector of a song: 256 values for what is said of it, 128 for what it sounds like.

Each part has length √½ where it is known, and is zero where it is not. So the inner product of two songs is the mean of
how alike both parts are, and a text or a sound alone compares with that part of every song.

A text's vector has 384 values. Its last 128 are added to its first, each with a sign of its own: a count sketch, which
keeps inner products but for a little noise (Charikar, Chen and Farach-Colton, "Finding frequent items in data streams",
2002).
"""

import hashlib
import math
import sys
from array import array
from collections.abc import Sequence

from common.events.songs import DIMENSIONS

TEXT_SIZE, SOUND_SIZE = 256, 128
FOLDED = DIMENSIONS - TEXT_SIZE
SHARE = math.sqrt(0.5)
_BITS = int.from_bytes(hashlib.sha256(b"sonant song embedding").digest())
SIGNS = tuple(1.0 if _BITS >> at & 1 else -1.0 for at in range(FOLDED))
# Rises when the vectors are made in another way, or what they are made of. A migration then takes from older rows what
# does not compare any more, and files of indexes are made anew.
VERSION = 2


def embedding(text: bytes | None, sound: Sequence[float] | None) -> bytes:
    """The vector of what is known, as little-endian floats of 4 bytes. `text` is such a vector of 384 values."""
    parts = [*_part(None if text is None else _folded(text), TEXT_SIZE), *_part(sound, SOUND_SIZE)]
    return as_bytes(parts)


def as_bytes(values: Sequence[float]) -> bytes:
    """Values as little-endian floats of 4 bytes."""
    packed = array("f", values)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def as_floats(data: bytes) -> "array[float]":
    """Little-endian floats of 4 bytes as values."""
    values = array("f", data)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def _folded(text: bytes) -> list[float]:
    values = as_floats(text)
    return [
        value + SIGNS[at] * values[TEXT_SIZE + at] if at < FOLDED else value
        for at, value in enumerate(values[:TEXT_SIZE])
    ]


def _part(values: Sequence[float] | None, size: int) -> list[float]:
    """Values with length √½ in so many places; zeros for none."""
    norm = math.sqrt(sum(value * value for value in values)) if values else 0.0
    if values is None or norm == 0.0:
        return [0.0] * size
    return [SHARE * value / norm for value in values] + [0.0] * (size - len(values))
