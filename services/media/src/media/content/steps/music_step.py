"""The step that tells tempo and key of an audio file."""

from typing import TYPE_CHECKING

from media.analysis import analysis_calls
from media.content.analysis_course import Course

if TYPE_CHECKING:
    from media.music.music_features import MusicFeatures

VERSION = 1


async def run(course: Course) -> None:
    """Fill `music`. Of a long file the first minutes are listened to."""
    found: MusicFeatures = await course.cpu(analysis_calls.music, course.path, course.facts.content_type)
    course.music = {
        "tempo_bpm": found.tempo_bpm,
        "tempo_confidence": found.tempo_confidence,
        "key": found.key,
        "mode": found.mode,
        "key_confidence": found.key_confidence,
        "energy_db": found.energy_db,
        "listened_seconds": found.seconds,
    }
