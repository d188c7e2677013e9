"""The job that analyses a file."""

from common.events.analyses import AnalysisInput, AnalysisResult
from common.events.flows import VIDEO_PROCESSING
from common.jobs.job_spec import JobSpec
from common.jobs.work import Work
from media.content.analysis_course import AnalysisWish
from media.content.file_analysis import analyse_file, facts_of
from media.deps import Deps

ANALYSIS = JobSpec(
    kind=VIDEO_PROCESSING.kind,
    input=AnalysisInput,
    result=AnalysisResult,
    steps=VIDEO_PROCESSING.names,
    summary="Find shots, faces, looks and sound in a file, and what is alike in its project.",
    concurrency=4,
    deadline_seconds=7200.0,
)
FETCHED_PERCENT, PREPARED_PERCENT = 5.0, 7.0


async def analyse(work: Work[AnalysisInput, Deps]) -> AnalysisResult:
    """Fetch a file, look at what it is, and analyse it."""
    path, wanted = await work.folder() / "content", work.input
    title = wanted.title
    async with work.step("fetch"):
        if wanted.asset_id is not None:
            asset = await work.deps.assets.get(work.job.org_id, wanted.asset_id)
            title = title or asset.name
            await work.deps.assets.copy_to_file(asset, path)
        elif wanted.url is not None:
            await work.deps.expressions.downloads.fetch(wanted.url, path)
    work.percent(FETCHED_PERCENT)
    async with work.step("prepare"):
        facts = await facts_of(work, path)
    work.percent(PREPARED_PERCENT)
    return await analyse_file(
        work,
        path,
        AnalysisWish(project=wanted.project, title=title, steps=wanted.steps),
        facts=facts,
        mark=work.step,
        told=lambda share: work.percent(PREPARED_PERCENT + (100 - PREPARED_PERCENT) * share),
    )
