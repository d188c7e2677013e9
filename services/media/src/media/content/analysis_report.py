"""An analysis as one page of HTML with its pictures inside: it needs no network and runs no script."""

import base64
import html
from pathlib import Path
from string import Template
from typing import Any

from common.events.analyses import AnalysisResult, Cluster
from media.content.analysis_course import Course

# Pictures beyond so many bytes would make a page that no browser likes.
MAX_PICTURE_BYTES = 20 * 1024 * 1024
TEMPLATE = Path(__file__).with_name("report.html")


def page(course: Course, result: AnalysisResult) -> str:
    """The page. All that comes from the file or its sender is escaped."""
    pictures = _Pictures(course)
    return Template(TEMPLATE.read_text()).substitute(
        title=html.escape(course.wish.title or "Analysis"),
        facts=_table(dict(result.metadata)),
        sheet=_figure("Contact sheet", None if course.contact_sheet is None else pictures.of(course.contact_sheet)),
        timeline=_timeline(course, float(result.metadata.get("seconds") or 0)),
        wave=_figure("Sound", None if course.sound is None else pictures.of(course.sound.waveform)),
        quality=_table({**result.quality, **result.sound}),
        pictures="".join(pictures.small(keyframe.path, f"{keyframe.seconds:.2f} s") for keyframe in _alone(course)),
        clusters="".join(_cluster(course, each, pictures) for each in course.clusters) or "<p>None yet.</p>",
        steps=_table(
            {name: f"version {step.version}, {step.seconds:.2f} s, {step.state}" for name, step in result.steps.items()}
        ),
        warnings="".join(f"<li>{html.escape(warning)}</li>" for warning in course.warnings),
    )


class _Pictures:
    """Files as data addresses, as long as there is room on the page."""

    def __init__(self, course: Course) -> None:
        self._left = MAX_PICTURE_BYTES
        paths = [keyframe.thumbnail for keyframe in course.keyframes] + list(course.face_looks)
        self.of_items = dict(zip((item.id for item in course.items), paths, strict=False))

    def of(self, path: Path) -> str | None:
        content = path.read_bytes()
        self._left -= len(content)
        if self._left < 0:
            return None
        kind = "png" if path.suffix == ".png" else "jpeg"
        return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"

    def small(self, path: Path, said: str) -> str:
        address = self.of(path)
        shown = "" if address is None else f'<img alt="" src="{address}">'
        return f"<figure>{shown}<figcaption>{html.escape(said)}</figcaption></figure>"


def _alone(course: Course) -> list[Any]:
    """The pictures, where no contact sheet has them."""
    return course.keyframes if course.contact_sheet is None else []


def _figure(said: str, address: str | None) -> str:
    return "" if address is None else f'<h2>{said}</h2><img class="wide" alt="{said}" src="{address}">'


def _table(values: dict[str, Any]) -> str:
    rows = (
        f"<tr><th>{html.escape(str(name))}</th><td>{html.escape(str(value))}</td></tr>"
        for name, value in values.items()
    )
    return f"<table>{''.join(rows)}</table>"


def _timeline(course: Course, seconds: float) -> str:
    if course.footage is None or seconds <= 0:
        return ""
    parts = (
        f'<span class="{shot.transition}" style="width:{100 * shot.seconds / seconds:.3f}%" '
        f'title="shot {shot.number}: {shot.begin:.2f} to {shot.end:.2f} s, {shot.transition}"></span>'
        for shot in course.footage.shots
    )
    return f'<h2>Timeline</h2><div class="timeline">{"".join(parts)}</div>'


def _cluster(course: Course, cluster: Cluster, pictures: _Pictures) -> str:
    shown = "".join(
        pictures.small(pictures.of_items[item], "in the middle" if item == cluster.representative else "")
        for item in cluster.of_this
        if item in pictures.of_items
    )
    said = f"{cluster.label} ({cluster.kind}, {cluster.size} in the project)"
    return f"<section><h3>{html.escape(said)}</h3>{shown}</section>"
