"""The step that takes pictures: one for each shot, or the image itself, and a contact sheet of a video."""

from media.analysis import analysis_calls
from media.content.analysis_course import Course

VERSION = 1
# Of a video with more shots, the longest ones get a picture.
MAX_KEYFRAMES = 200


async def run(course: Course) -> None:
    """Fill `keyframes` and `contact_sheet`."""
    if course.footage is None:
        course.keyframes = await course.cpu(analysis_calls.image_keyframe, course.path, course.facts, course.folder)
        return
    shots = sorted(course.footage.shots, key=lambda shot: -shot.seconds)[:MAX_KEYFRAMES]
    if len(shots) < len(course.footage.shots):
        course.warnings.append(f"Of {len(course.footage.shots)} shots the {MAX_KEYFRAMES} longest have pictures.")
    seconds = sorted(shot.keyframe for shot in shots)
    where = (course.path, course.facts, course.folder, seconds)
    course.keyframes = await course.cpu(
        analysis_calls.video_keyframes, *where, done=lambda done: course.told(done / len(seconds))
    )
    sheet = course.folder / "contact-sheet.jpg"
    await course.cpu(analysis_calls.contact_sheet, course.keyframes, sheet)
    course.contact_sheet = sheet
