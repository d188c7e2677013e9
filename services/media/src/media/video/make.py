"""The job that makes a clip."""

from pathlib import Path

from common.events.video import VIDEO_KIND, VideoInput, VideoResult
from common.jobs.job_spec import JobSpec
from common.jobs.work import Work
from media.deps import Deps
from media.metrics import CONTENT_PROCESSED
from media.ports import Origin
from media.video.clip import ClipWish, probe, render

VIDEO = JobSpec(
    kind=VIDEO_KIND,
    input=VideoInput,
    result=VideoResult,
    steps=("generate", "fetch", "check", "store"),
    summary="Make a clip from a prompt.",
    concurrency=200,
    deadline_seconds=1800.0,
)
LOCAL = "local"
RENDERED_PERCENT = 90.0


async def make(work: Work[VideoInput, Deps]) -> VideoResult:
    """Have a clip made, look at it, and keep it."""
    path = await work.folder() / "clip.mp4"
    async with work.step("generate"):
        await _render(work, path)
    async with work.step("check"):
        found = await work.cpu(probe, str(path))
    async with work.step("store"):
        asset = await work.deps.assets.store_file(
            work.job.org_id,
            path,
            origin=Origin(work.job.id, VIDEO_KIND),
            name="video.mp4",
            asset_id=work.asset_id("video"),
        )
    CONTENT_PROCESSED.labels(VIDEO_KIND, LOCAL).inc()
    return VideoResult(
        asset_id=asset.id,
        url=f"/v1/assets/{asset.id}",
        content_type=asset.content_type,
        size=asset.size,
        sha256=asset.sha256,
        duration=found.duration,
        width=found.width,
        height=found.height,
        fps=found.fps,
        codec=found.codec,
        provider=LOCAL,
        model=work.input.model,
        cost_usd=0.0,
        seed=work.input.seed,
    )


async def _render(work: Work[VideoInput, Deps], path: Path) -> None:
    wanted = work.input
    wish = ClipWish(
        wanted.prompt, wanted.duration, wanted.width, wanted.height, wanted.fps or 24, seed=wanted.seed, image=None
    )
    async with work.attempt(LOCAL, "render"):
        await work.cpu(render, wish, str(path), done=lambda share: work.percent(RENDERED_PERCENT * share))
