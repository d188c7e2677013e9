"""Analyse a file inside any job of media: through the steps, and what was found is kept beside the job."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from common.events.analyses import ANALYSIS_KIND, AnalysisResult
from common.failures import Refused
from media.content.analysis_course import AnalysisWish, AnyWork, Course
from media.content.analysis_files import stored
from media.content.analysis_steps import StepMark, chosen, run_through, unmarked
from media.measurement import worker_calls
from media.measurement.findings import MediaFacts
from media.measurement.media_error import MediaError
from media.metrics import CONTENT_PROCESSED

# Of the whole, what stands before and behind the steps.
STORE_SHARE = 0.95


async def facts_of(work: AnyWork, path: Path) -> MediaFacts:
    """What a file is. Raises Refused for what cannot be analysed."""
    try:
        return await work.brief(worker_calls.probe, path, work.deps.analyses.max_seconds)
    except MediaError as error:
        raise Refused(422, error.message, error.code) from None


async def analyse_file(
    work: AnyWork,
    path: Path,
    wish: AnalysisWish,
    *,
    facts: MediaFacts | None = None,
    mark: StepMark = unmarked,
    told: Callable[[float], None] = lambda share: None,
) -> AnalysisResult:
    """What is in a file. `mark` stands around each step (`work.step`, where the kind of job declares them).

    `told` gets how far it is, from 0 to 1. A worker that takes the job over begins anew: nothing here is paid for, and
    what is kept is kept once. Raises Refused for media that cannot be analysed.
    """
    facts = facts or await facts_of(work, path)
    folder = path.parent / f"{wish.name}-files"
    await asyncio.to_thread(folder.mkdir, exist_ok=True)
    course = Course(
        work=work,
        desk=work.deps.analyses,
        path=path,
        facts=facts,
        wish=wish,
        folder=folder,
        models=await asyncio.to_thread(work.deps.analyses.models),
        told=lambda share: told(STORE_SHARE * share),
    )
    steps = chosen(facts, wish.steps)
    if not steps:
        message = f"None of these steps applies to such a file ({facts.kind})."
        raise Refused(422, message, "nothing_to_analyse", "steps")
    await run_through(course, steps, mark)
    async with mark("store"):
        result = await stored(course)
    CONTENT_PROCESSED.labels(ANALYSIS_KIND, facts.kind).inc()
    told(1.0)
    return result
