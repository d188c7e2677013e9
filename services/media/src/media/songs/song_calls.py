"""What songs have worker processes do; heavy packages are imported inside."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from media.music.music_features import MusicFeatures

# A song is known by its first minutes; more would take memory for nothing.
MAX_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class PictureWish:
    """How a map is to be: pixels, and for each vector the group whose colour it has."""

    width: int
    height: int
    groups: list[str]


def listen(path: Path, max_seconds: float = MAX_SECONDS) -> "MusicFeatures":
    """What the beginning of a file sounds like; raises MediaError."""
    from common.storage.content_type import content_type
    from media.measurement.media_error import MediaError
    from media.measurement.media_file import DEMUXERS, SNIFFED
    from media.music.music_features import analyse

    with path.open("rb") as file:
        found = content_type(file.read(SNIFFED))
    if found not in DEMUXERS:
        raise MediaError("unsupported_media_type", f"No sound that can be listened to: it looks like {found}.")
    return analyse(path, found, max_seconds)


def draw_map(vectors: Path, wish: PictureWish, out: Path) -> tuple[list[tuple[float, float]], float]:
    """Draw a catalogue; returns each song's place, and the share of the variance that is seen."""
    from media.songs import song_picture

    return song_picture.draw(vectors, wish, out)
