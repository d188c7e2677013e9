"""The step that tells tempo and key of an audio file."""

from typing import TYPE_CHECKING

from media.analysis import analysis_calls
from media.content.analysis_course import Course

if TYPE_CHECKING:
    from media.music.music_features import MusicFeatures

VERSION = 2
# What ITU-R BS.1770 leaves out of account.
SILENT_LUFS = -70.0
LEAST_SECONDS = 1.0


async def run(course: Course) -> None:
    """Fill `music`. Of a long file the first minutes are listened to."""
    seconds = course.facts.seconds if course.sound is None else course.sound.seconds
    if seconds is not None and seconds < LEAST_SECONDS:
        course.warnings.append("The sound is too short to have a tempo or a key.")
        return
    found: MusicFeatures = await course.cpu(analysis_calls.music, course.path, course.facts.content_type)
    if found.loudness_lufs <= SILENT_LUFS:
        course.warnings.append("The sound is silent: it has neither tempo nor key.")
        return
    course.music = {
        "tempo_bpm": found.tempo_bpm,
        "tempo_confidence": found.tempo_confidence,
        "key": found.key,
        "mode": found.mode,
        "key_confidence": found.key_confidence,
        "energy_db": found.energy_db,
        "listened_seconds": found.seconds,
    }
