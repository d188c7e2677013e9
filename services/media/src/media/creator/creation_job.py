"""The job that makes a film of a prompt: the flow of content creation, step by step."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from common.events.analyses import AnalysisResult, AnalysisStepName
from common.events.creations import CaptionLine, CreationInput, CreationResult, MadeBy
from common.events.flows import CONTENT_CREATION
from common.failures import ProviderDown, Refused
from common.jobs.job_spec import JobSpec
from common.jobs.work import Work
from common.kernel.worker_processes import TooDear
from media.content.analysis_course import AnalysisWish
from media.content.file_analysis import analyse_file
from media.creator.creation_package import Package, packed
from media.creator.film_wishes import MixMade, MixWish, mix
from media.creator.footage import Footage, filmed
from media.creator.narration import Narration, narrated
from media.creator.script_plan import Plan, planned
from media.creator.together import together
from media.deps import Deps
from media.metrics import CONTENT_PROCESSED, CREATION_FALLBACKS, CREATION_STEP_SECONDS

CREATION = JobSpec(
    kind=CONTENT_CREATION.kind,
    input=CreationInput,
    result=CreationResult,
    steps=CONTENT_CREATION.names,
    summary="Make a film of a prompt, with narration and captions.",
    concurrency=8,
    deadline_seconds=2 * 3600.0,
)
# What the loudness of speech on the net usually is (EBU R 128 s2 names -16 to -20 for it).
LOUDNESS_LUFS = -16.0
# How far the job is at the end of each step, in percent.
PLANNED, MADE, ANALYSED, ENHANCED, CLUSTERED = 3.0, 55.0, 65.0, 85.0, 95.0
# An error is short: the list of the job's assets has all of them.
MAX_NAMED = 6
OF_CLIPS: tuple[AnalysisStepName, ...] = ("shots", "quality")
CreationWork = Work[CreationInput, Deps]


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a film is made of."""

    plan: Plan
    narration: Narration
    footage: Footage


async def create(work: CreationWork) -> CreationResult:
    """Make the film. What was made is kept, whatever fails; a retry of the job goes on from there."""
    try:
        return await _created(work)
    except Refused as refused:
        raise replace(refused, message=refused.message + await _kept(work)) from refused
    except ProviderDown as down:
        message = down.message + await _kept(work)
        raise ProviderDown(message, status=down.status, retry_after=down.retry_after) from down


async def _kept(work: CreationWork) -> str:
    """What was made so far, for the one who reads why it went no further."""
    kept = await work.deps.asset_rows.page(work.job.org_id, MAX_NAMED, None, work.job.id, CREATION.kind)
    return f" Kept: {', '.join(asset.name for asset in reversed(kept))}." if kept else ""


async def _created(work: CreationWork) -> CreationResult:
    async with _step(work, "plan"):
        plan = await planned(work)
    work.percent(PLANNED)
    async with work.step("narrate"), work.step("film"):
        parts = await _made(work, plan)
    work.percent(MADE)
    async with _step(work, "analyse"):
        analyses = await _analysed(work, parts.footage.paths)
    work.percent(ANALYSED)
    film = await work.folder() / "film.mp4"
    async with _step(work, "enhance"):
        made = await _mixed(work, parts, film)
    async with _step(work, "cluster"):
        whole = await _clustered(work, film, plan.script.title)
    work.percent(CLUSTERED)
    async with _step(work, "package"):
        result = await packed(work, _package(plan, parts, made, [*analyses, *([whole] if whole else [])], film))
    CONTENT_PROCESSED.labels(CREATION.kind, parts.footage.providers[0]).inc()
    for each in result.made_by:
        if each.fallback:
            CREATION_FALLBACKS.labels(each.part, each.provider).inc()
    return result


@asynccontextmanager
async def _step(work: CreationWork, name: str) -> AsyncIterator[None]:
    """A step of the job, and how long it took."""
    async with work.step(name):
        with _timed(name):
            yield


@contextmanager
def _timed(step: str) -> Iterator[None]:
    """Note what a try of a step took; one that goes on elsewhere has not ended."""
    since = time.perf_counter()
    try:
        yield
    except Exception:
        CREATION_STEP_SECONDS.labels(step, "failed").observe(time.perf_counter() - since)
        raise
    CREATION_STEP_SECONDS.labels(step, "done").observe(time.perf_counter() - since)


async def _made(work: CreationWork, plan: Plan) -> _Parts:
    """Narration and clips, at the same time: they do not know of each other."""
    shares = {"narration": 0.0, "film": 0.0}

    def note(name: str, share: float) -> None:
        shares[name] = share
        work.percent(PLANNED + (MADE - PLANNED) * sum(shares.values()) / len(shares))

    async def narrate() -> Narration:
        with _timed("narrate"):
            return await narrated(work, plan.script, lambda share: note("narration", share))

    async def film() -> Footage:
        with _timed("film"):
            return await filmed(work, plan.script, lambda share: note("film", share))

    narrating, filming = asyncio.ensure_future(narrate()), asyncio.ensure_future(film())
    await together(narrating, filming)
    return _Parts(plan, narrating.result(), filming.result())


async def _analysed(work: CreationWork, clips: list[Path]) -> list[AnalysisResult]:
    """What the clips are like."""
    found = list[AnalysisResult]()
    for scene, path in enumerate(clips):
        wish = AnalysisWish(
            project=work.input.project, title=f"scene {scene + 1}", steps=OF_CLIPS, name=f"analysis-{scene}"
        )
        found.append(await analyse_file(work, path, wish))
    return found


async def _mixed(work: CreationWork, parts: _Parts, film: Path) -> MixMade:
    wish = MixWish(
        clips=parts.footage.paths,
        lines=parts.narration.lines,
        width=work.input.film.width,
        height=work.input.film.height,
        loudness=LOUDNESS_LUFS,
    )
    folder = await work.folder()
    async with work.attempt("local", "mix"):
        try:
            return await work.cpu(
                mix, wish, film, folder, done=lambda share: work.percent(ANALYSED + (ENHANCED - ANALYSED) * share)
            )
        except TooDear as error:
            raise Refused(422, f"The film cannot be put together: {error}.", "film_too_dear") from None


async def _clustered(work: CreationWork, film: Path, title: str) -> AnalysisResult | None:
    """What the film is like, and what is alike in its project."""
    wish = AnalysisWish(project=work.input.project, title=title, name="film-analysis")
    return await analyse_file(work, film, wish)


def _package(plan: Plan, parts: _Parts, made: MixMade, analyses: list[AnalysisResult], film: Path) -> Package:
    narration, footage = parts.narration, parts.footage
    made_by = [
        MadeBy(part=part, provider=provider, fallback=provider != first)
        for part, providers, first in (
            ("narration", narration.providers, narration.asked_first),
            ("film", footage.providers, footage.asked_first),
        )
        for provider in providers
    ]
    fallbacks = [
        f"The {each.part} is by {each.provider}: {first} failed."
        for each, first in (
            (each, {"narration": narration.asked_first, "film": footage.asked_first}[each.part]) for each in made_by
        )
        if each.fallback
    ]
    captions: list[CaptionLine] = made.captions
    return Package(
        film=film,
        script=plan.script,
        captions=captions,
        thumbnails=made.thumbnails,
        duration=made.duration,
        loudness=made.loudness,
        made_by=made_by,
        fallbacks=fallbacks,
        analyses=analyses,
        clips=footage.asset_ids,
        cost_usd=narration.cost_usd + footage.cost_usd,
        warnings=[*plan.warnings, *(warning for each in analyses for warning in each.warnings)],
    )
