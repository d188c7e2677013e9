"""The step that measures the sound: loudness, silence, and a picture of the wave."""

from media.analysis import analysis_calls
from media.analysis.analysis_findings import SoundFound
from media.content.analysis_course import Course

VERSION = 1


async def run(course: Course) -> None:
    """Fill `sound`."""
    length = course.facts.seconds or course.desk.max_seconds
    where = (course.path, course.facts.content_type, course.folder / "waveform.png", course.desk.max_seconds)
    found: SoundFound = await course.cpu(
        analysis_calls.sound, *where, done=lambda second: course.told(second / max(length, 0.1))
    )
    if found.damaged:
        course.warnings.append("Parts of the sound are damaged and were passed over.")
    course.sound = found
