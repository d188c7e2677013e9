"""What is kept of an analysis: its pictures, the whole of it as JSON, a page to look at, and its row."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

from common.events.analyses import ANALYSIS_KIND, MAX_SHOWN, AnalysisResult
from media.content import analysis_document, analysis_report
from media.content.analysis_course import Course
from media.content.steps import clusters_step
from media.content_ports import KeptAnalysis
from media.ports import Origin

SLICE_BYTES = 256 * 1024


async def stored(course: Course) -> AnalysisResult:
    """Keep it all. A worker that does it again keeps the same files in place of those that are there."""
    if "clusters" not in course.steps:
        await clusters_step.begin(course)
    assets = [await _kept(course, name, path) for name, path in _pictures(course)]
    result = _result(course)
    document, page = await asyncio.to_thread(_written, course, result)
    assets.append(await _made(course, "document", "analysis.json", document, "application/json"))
    assets.append(await _made(course, "report", "analysis.html", page, "text/html"))
    kept = KeptAnalysis(
        id=course.id,
        org_id=course.work.job.org_id,
        project=course.wish.project,
        title=course.wish.title,
        media=course.facts.kind,
        job_id=course.work.job.id,
        created_at=datetime.now(UTC),
        result=result.model_dump(mode="json"),
    )
    with course.work.for_good():
        await course.desk.rows.finish(kept, assets)
    return result


def _pictures(course: Course) -> list[tuple[str, Path]]:
    """The name of each picture that is kept, and its file."""
    found = [(f"picture-{keyframe.number}", keyframe.path) for keyframe in course.keyframes]
    found += [(f"thumbnail-{keyframe.number}", keyframe.thumbnail) for keyframe in course.keyframes]
    found += [(f"face-{number}", path) for number, path in enumerate(course.face_looks)]
    if course.contact_sheet is not None:
        found.append(("contact-sheet", course.contact_sheet))
    if course.sound is not None:
        found.append(("waveform", course.sound.waveform))
    return found


def _result(course: Course) -> AnalysisResult:
    return AnalysisResult(
        analysis_id=course.id,
        media=course.facts.kind,
        project=course.wish.project,
        asset_id=_asset_id(course, "document"),
        url=_url(course, "document"),
        report_url=_url(course, "report"),
        contact_sheet_url=None if course.contact_sheet is None else _url(course, "contact-sheet"),
        waveform_url=None if course.sound is None else _url(course, "waveform"),
        metadata=analysis_document.metadata(course),
        shots=0 if course.footage is None else len(course.footage.shots),
        faces=len(course.faces),
        quality=course.quality,
        sound=analysis_document.sound_in_short(course),
        embeddings=analysis_document.embeddings_in_short(course),
        clusters=tuple(course.clusters[:MAX_SHOWN]),
        clustering=course.clustering,
        near_duplicates=tuple(course.near_duplicates[:MAX_SHOWN]),
        steps=course.steps,
        warnings=tuple(course.warnings[:MAX_SHOWN]),
    )


def _written(course: Course, result: AnalysisResult) -> tuple[bytes, bytes]:
    """The JSON and the page; large, so made beside the event loop."""
    return analysis_document.document(course, result), analysis_report.page(course, result).encode()


def _asset_id(course: Course, name: str) -> str:
    return course.work.asset_id(f"{course.wish.name}/{name}")


def _url(course: Course, name: str) -> str:
    return f"/v1/assets/{_asset_id(course, name)}"


async def _kept(course: Course, name: str, path: Path) -> str:
    asset = await course.work.deps.assets.store_file(
        course.work.job.org_id,
        path,
        origin=Origin(course.work.job.id, ANALYSIS_KIND),
        name=f"{name}{path.suffix}",
        asset_id=_asset_id(course, name),
    )
    return str(asset.id)


async def _made(course: Course, name: str, file: str, content: bytes, content_type: str) -> str:
    asset = await course.work.deps.assets.store(
        course.work.job.org_id,
        _slices(content),
        origin=Origin(course.work.job.id, ANALYSIS_KIND),
        name=file,
        asset_id=_asset_id(course, name),
        content_type=content_type,
    )
    return str(asset.id)


async def _slices(content: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(content), SLICE_BYTES):
        yield content[at : at + SLICE_BYTES]
