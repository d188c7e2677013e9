"""What content analysis has worker processes do.

The packages that decode and compute are heavy. They are imported inside: only the process that calls loads them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from media.analysis.analysis_findings import FaceFound, Footage, Grouping, Keyframe, Look, SoundFound, Stretch
from media.measurement.findings import MediaFacts

if TYPE_CHECKING:
    from media.music.music_features import MusicFeatures


def read_stretch(path: Path, facts: MediaFacts, out: Path, begin: float, cpu_seconds: float, longest: float) -> Stretch:
    """Frames from `begin` on as numbers; raises MediaError. Reports the second that is done."""
    from media.analysis import frame_series

    return frame_series.read_stretch(path, facts, out, begin, cpu_seconds=cpu_seconds, max_seconds=longest)


def footage(stretches: list[Path]) -> Footage:
    """Shots and the rest of what frames tell; raises MediaError."""
    from media.analysis import footage_summary

    return footage_summary.footage(stretches)


def video_keyframes(path: Path, facts: MediaFacts, folder: Path, seconds: Sequence[float]) -> list[Keyframe]:
    """Pictures at these seconds; raises MediaError. Reports how many are done."""
    from media.analysis import keyframe_pictures

    return keyframe_pictures.video_keyframes(path, facts, folder, seconds)


def image_keyframe(path: Path, facts: MediaFacts, folder: Path) -> list[Keyframe]:
    """An image as its one picture; raises MediaError."""
    from media.analysis import keyframe_pictures

    return keyframe_pictures.image_keyframe(path, facts, folder)


def contact_sheet(keyframes: Sequence[Keyframe], out: Path) -> int:
    """The pictures on one sheet; how many are on it."""
    from media.analysis import contact_sheet as sheet

    return sheet.contact_sheet(keyframes, out)


def faces(keyframes: Sequence[Keyframe], model: Path, folder: Path) -> list[FaceFound]:
    """The faces of pictures."""
    from media.analysis import face_pictures

    return face_pictures.faces(keyframes, model, folder)


def looks(pictures: Sequence[Path], model: Path | None, names: Path | None) -> list[Look]:
    """How pictures look. Reports how many are done."""
    from media.analysis import picture_embedding

    return picture_embedding.looks(pictures, model, names)


def sound(path: Path, content_type: str, out: Path, max_seconds: float) -> SoundFound:
    """Loudness, silence and the wave; raises MediaError. Reports the seconds that are done."""
    from media.analysis import sound_loudness

    return sound_loudness.sound(path, content_type, out, max_seconds)


def group(items: Sequence[str], middles: Mapping[str, str], nearness: float) -> Grouping:
    """Which items are alike; vectors travel as the database writes them."""
    from media.analysis import similar_groups

    return similar_groups.group(items, middles, nearness)


def music(path: Path, content_type: str) -> "MusicFeatures":
    """Tempo and key; raises MediaError."""
    from media.music import music_features

    return music_features.analyse(path, content_type)
