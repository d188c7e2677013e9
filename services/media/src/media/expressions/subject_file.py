"""The file that a job is about: an asset of the organisation, or what is at an address."""

from media.expressions.measured import ExpressionWork, Subject, asked
from media.measurement import worker_calls


async def subject_of(work: ExpressionWork) -> Subject:
    """The file, in the folder of the job, and what it is. Raises Refused, and ProviderDown."""
    path = await work.folder() / "subject"
    lab, wanted = work.deps.expressions, work.input
    async with work.step("fetch"):
        if wanted.asset_id is not None:
            asset = await work.deps.assets.get(work.job.org_id, wanted.asset_id)
            await work.deps.assets.copy_to_file(asset, path)
        elif wanted.url is not None:
            await lab.downloads.fetch(wanted.url, path)
    work.percent(5)
    async with work.step("prepare"):
        facts = await asked(work, worker_calls.probe, path, lab.max_seconds)
    return Subject(path, facts, wanted.url)
