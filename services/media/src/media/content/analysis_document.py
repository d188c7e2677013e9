"""An analysis as one JSON document: shots, faces, vectors, sound and clusters, with times in seconds."""

from dataclasses import asdict
from typing import Any

import orjson

from common.events.analyses import AnalysisResult
from media.analysis.analysis_findings import Keyframe, Shot
from media.content.analysis_course import Course

# Of curves that have many values, the short form has none.
LONG = ("curve", "waveform")


def document(course: Course, result: AnalysisResult) -> bytes:
    """The whole of it."""
    whole = {
        "object": "analysis",
        "title": course.wish.title,
        **result.model_dump(mode="json"),
        "shots": _shots(course),
        "pictures": [_picture(course, keyframe) for keyframe in course.keyframes],
        "faces": _faces(course),
        "sound": _sound(course, ()),
        "embeddings": {
            **embeddings_in_short(course),
            "data": [
                {"item": item.id, "kind": item.kind, "hash": item.hash, "vector": list(item.vector)}
                for item in course.items
            ],
        },
        "clusters": [cluster.model_dump(mode="json") for cluster in course.clusters],
        "near_duplicates": list(course.near_duplicates),
        "warnings": course.warnings,
    }
    return orjson.dumps(whole)


def metadata(course: Course) -> dict[str, Any]:
    """What the file is. Of what it says itself and what was counted, the counted."""
    facts, footage = course.facts, course.footage
    found: dict[str, Any] = {"kind": facts.kind, "content_type": facts.content_type, "has_audio": facts.has_audio}
    if facts.kind != "audio":
        found |= {"width": facts.width, "height": facts.height}
    if footage is not None:
        found |= {
            "seconds": footage.seconds,
            "frames": footage.frames,
            "frame_rate": footage.rate,
            "variable_frame_rate": footage.variable,
        }
    elif facts.kind != "image":
        found["seconds"] = facts.seconds if course.sound is None else course.sound.seconds
    if course.sound is not None:
        found |= {"channels": course.sound.channels, "sample_rate": course.sound.rate}
    return found


def sound_in_short(course: Course) -> dict[str, Any]:
    """Loudness, tempo and key, without curves."""
    return _sound(course, LONG)


def embeddings_in_short(course: Course) -> dict[str, Any]:
    """Which model made how many vectors of which length."""
    if not course.items:
        return {}
    return {"model": course.looks_by, "dimensions": len(course.items[0].vector), "items": len(course.items)}


def _sound(course: Course, without: tuple[str, ...]) -> dict[str, Any]:
    if course.sound is None:
        return dict(course.music)
    measured = {name: value for name, value in asdict(course.sound).items() if name not in (*without, "waveform")}
    return {**measured, **course.music}


def _shots(course: Course) -> list[dict[str, Any]]:
    if course.footage is None:
        return []
    pictures = {keyframe.seconds: keyframe.number for keyframe in course.keyframes}
    return [_shot(course, shot, pictures.get(shot.keyframe)) for shot in course.footage.shots]


def _shot(course: Course, shot: Shot, picture: int | None) -> dict[str, Any]:
    shown = None if picture is None else _url(course, f"picture-{picture}")
    small = None if picture is None else _url(course, f"thumbnail-{picture}")
    item = course.id_of("itm", f"picture-{picture}") if picture is not None and course.looks else None
    return {**asdict(shot), "picture_url": shown, "thumbnail_url": small, "item": item}


def _picture(course: Course, keyframe: Keyframe) -> dict[str, Any]:
    look = course.looks[keyframe.number] if course.looks else None
    return {
        "number": keyframe.number,
        "seconds": keyframe.seconds,
        "url": _url(course, f"picture-{keyframe.number}"),
        "thumbnail_url": _url(course, f"thumbnail-{keyframe.number}"),
        "width": keyframe.width,
        "height": keyframe.height,
        "quality": asdict(keyframe.quality),
        "shows": [] if look is None else [{"name": name, "share": share} for name, share in look.names],
    }


def _url(course: Course, name: str) -> str:
    return f"/v1/assets/{course.work.asset_id(f'{course.wish.name}/{name}')}"


def _faces(course: Course) -> list[dict[str, Any]]:
    seconds = {keyframe.number: keyframe.seconds for keyframe in course.keyframes}
    items = {path: course.id_of("itm", f"face-{number}") for number, path in enumerate(course.face_looks)}
    return [
        {"seconds": seconds[face.keyframe], "box": asdict(face.box), "item": items.get(face.path)}
        for face in course.faces
    ]
