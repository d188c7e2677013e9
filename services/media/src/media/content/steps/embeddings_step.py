"""The step that makes vectors and perceptual hashes: of each keyframe, and of each face that is large enough."""

from media.analysis import analysis_calls
from media.analysis.analysis_findings import FaceFound, Look
from media.content.analysis_course import Course
from media.content_ports import Item

VERSION = 1
MODEL = "mobilenetv2-7"
# Without the model: a vector of 256 numbers, made of colours and edges.
PLAIN = "colours-and-edges-1"
MAX_FACES = 100


async def run(course: Course) -> None:
    """Fill `looks`, `face_looks`, `looks_by` and `items`."""
    model, names = course.models.looks, course.models.names
    course.looks_by = PLAIN if model is None else MODEL
    if model is None:
        course.warnings.append(f"Pictures are compared by colours and edges alone. {course.models.missing['looks']}")
    cut = [face for face in course.faces if face.path.exists()][:MAX_FACES]
    pictures = [*(keyframe.path for keyframe in course.keyframes), *(face.path for face in cut)]
    found: list[Look] = await course.cpu(
        analysis_calls.looks, pictures, model, names, done=lambda done: course.told(done / len(pictures))
    )
    course.looks = found[: len(course.keyframes)]
    course.face_looks = dict(zip((face.path for face in cut), found[len(course.keyframes) :], strict=True))
    course.items = [*_of_pictures(course), *_of_faces(course, cut)]


def _of_pictures(course: Course) -> list[Item]:
    spans = {} if course.footage is None else {shot.keyframe: (shot.begin, shot.end) for shot in course.footage.shots}
    items = []
    for keyframe, look in zip(course.keyframes, course.looks, strict=True):
        begin, end = spans.get(keyframe.seconds, (0.0, 0.0))
        items.append(
            Item(
                id=course.id_of("itm", f"picture-{keyframe.number}"),
                kind="image" if course.footage is None else "shot",
                begin=begin,
                end=end,
                picture=course.work.asset_id(f"{course.wish.name}/picture-{keyframe.number}"),
                model=course.looks_by,
                vector=look.vector,
                hash=look.hash,
                looks={"names": look.names, "colour": keyframe.quality.colour},
            )
        )
    return items


def _of_faces(course: Course, cut: list[FaceFound]) -> list[Item]:
    seconds = {keyframe.number: keyframe.seconds for keyframe in course.keyframes}
    return [
        Item(
            id=course.id_of("itm", f"face-{number}"),
            kind="face",
            begin=seconds[face.keyframe],
            end=seconds[face.keyframe],
            picture=course.work.asset_id(f"{course.wish.name}/face-{number}"),
            model=course.looks_by,
            vector=course.face_looks[face.path].vector,
            hash=course.face_looks[face.path].hash,
        )
        for number, face in enumerate(cut)
    ]
