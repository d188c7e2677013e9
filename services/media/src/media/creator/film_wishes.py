"""What the worker process gets to make a film of, and what it gives back; it imports nothing that is heavy."""

from dataclasses import dataclass
from pathlib import Path

from common.events.creations import CaptionLine


@dataclass(frozen=True, slots=True)
class SpokenLine:
    """A sentence of a scene, and the WAV file in which it is spoken."""

    scene: int
    text: str
    path: Path


@dataclass(frozen=True, slots=True)
class MixWish:
    """A film: the clip of each scene, what is said in them, and how it is to be, in pixels and LUFS."""

    clips: list[Path]
    lines: list[SpokenLine]
    width: int
    height: int
    loudness: float


@dataclass(frozen=True, slots=True)
class MixMade:
    """What was made: seconds, LUFS, when each sentence is said, and the pictures that were kept."""

    duration: float
    loudness: float
    captions: list[CaptionLine]
    thumbnails: list[Path]


def mix(wish: MixWish, out: Path, folder: Path) -> MixMade:
    """Make a film of its parts, in a worker process; reports the share that is done. Raises Refused."""
    from media.creator import film_mix

    return film_mix.mix(wish, out, folder)
