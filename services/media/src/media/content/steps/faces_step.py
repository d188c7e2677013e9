"""The step that finds faces in the keyframes."""

from media.analysis import analysis_calls
from media.content.analysis_course import Course, Unavailable

VERSION = 1


async def run(course: Course) -> None:
    """Fill `faces`. Raises Unavailable without the detector."""
    model = course.models.faces
    if model is None:
        raise Unavailable(course.models.missing["faces"])
    course.faces = await course.cpu(analysis_calls.faces, course.keyframes, model, course.folder)
