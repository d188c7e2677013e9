"""What a creation is handed over as: the film, its captions, pictures, and one document about all of it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from common.events.analyses import AnalysisResult
from common.events.creations import CREATION_KIND, CaptionLine, CreationInput, CreationResult, MadeBy, Script
from common.jobs.work import Work
from media.creator.captions import as_webvtt
from media.deps import Deps
from media.ports import Asset, Origin


@dataclass(frozen=True, slots=True)
class Package:
    """Everything that was made, before it is kept. `clips` are the assets of the scenes."""

    film: Path
    script: Script
    captions: list[CaptionLine]
    thumbnails: list[Path]
    duration: float
    loudness: float
    made_by: list[MadeBy]
    fallbacks: list[str]
    analyses: list[AnalysisResult]
    clips: list[str]
    cost_usd: float
    warnings: list[str]


async def packed(work: Work[CreationInput, Deps], package: Package) -> CreationResult:
    """Keep it all. Done again, it keeps the same assets in place of those that are there."""
    film = await _kept(work, "film.mp4", package.film)
    captions = await _written(work, "captions.vtt", as_webvtt(package.captions).encode(), "text/vtt")
    pictures = [await _kept(work, f"thumbnail-{number}.jpg", path) for number, path in enumerate(package.thumbnails, 1)]
    whole = package.analyses[-1] if package.analyses else None
    result = CreationResult(
        asset_id=film.id,
        url=_url(film.id),
        captions_asset_id=captions.id,
        captions_url=_url(captions.id),
        thumbnails=tuple(_url(picture.id) for picture in pictures),
        package_url=_url(work.asset_id("package.json")),
        script=package.script,
        captions=tuple(package.captions),
        duration=package.duration,
        width=work.input.film.width,
        height=work.input.film.height,
        loudness=package.loudness,
        made_by=tuple(package.made_by),
        fallbacks=tuple(package.fallbacks),
        metadata=_metadata(work, package, whole),
        analyses=tuple(each.analysis_id for each in package.analyses),
        clusters=() if whole is None else tuple(each.model_dump(mode="json") for each in whole.clusters),
        embeddings={} if whole is None else whole.embeddings,
        cost_usd=round(package.cost_usd, 6),
        warnings=tuple(dict.fromkeys(package.warnings)),
    )
    await _written(work, "package.json", result.model_dump_json(indent=2).encode(), "application/json")
    return result


def _metadata(work: Work[CreationInput, Deps], package: Package, whole: AnalysisResult | None) -> dict[str, object]:
    return {
        "title": package.script.title,
        "prompt": work.input.prompt,
        "script_by": package.script.by,
        "aspect": work.input.aspect,
        "clips": [_url(clip) for clip in package.clips],
        "file": {} if whole is None else dict(whole.metadata),
        "report_url": None if whole is None else whole.report_url,
        "shots": 0 if whole is None else whole.shots,
    }


def _url(asset_id: str) -> str:
    return f"/v1/assets/{asset_id}"


async def _kept(work: Work[CreationInput, Deps], name: str, path: Path) -> Asset:
    return await work.deps.assets.store_file(
        work.job.org_id, path, origin=Origin(work.job.id, CREATION_KIND), name=name, asset_id=work.asset_id(name)
    )


async def _written(work: Work[CreationInput, Deps], name: str, data: bytes, content_type: str) -> Asset:
    return await work.deps.assets.store(
        work.job.org_id,
        _once(data),
        origin=Origin(work.job.id, CREATION_KIND),
        name=name,
        asset_id=work.asset_id(name),
        content_type=content_type,
    )


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
