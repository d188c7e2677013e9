"""The step that finds shots: every frame is measured once, in stretches, and boundaries are found in that."""

from media.analysis import analysis_calls
from media.analysis.analysis_findings import Stretch
from media.content.analysis_course import Course

VERSION = 1
# Far beyond what a video of the longest length takes.
MAX_STRETCHES = 1000


async def run(course: Course) -> None:
    """Fill `footage`."""
    stretches, begin = list[Stretch](), 0.0
    length = course.facts.seconds or course.desk.max_seconds
    while len(stretches) < MAX_STRETCHES:
        out = course.folder / f"frames-{len(stretches):04}"
        where = (course.path, course.facts, out, begin, course.desk.cpu_seconds, course.desk.max_seconds)
        stretch: Stretch = await course.cpu(
            analysis_calls.read_stretch, *where, done=lambda second: course.told(second / max(length, 0.1))
        )
        stretches.append(stretch)
        if stretch.resume is None or stretch.resume <= begin:
            break
        begin = stretch.resume
    if any(stretch.damaged for stretch in stretches):
        course.warnings.append("Parts of the video are damaged and were passed over.")
    # Where no frame could be read, that is said here.
    course.footage = await course.cpu(analysis_calls.footage, [stretch.path for stretch in stretches])
