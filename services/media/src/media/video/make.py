"""The job that makes a clip: by the first of the providers that can, looked at, and kept."""

from pathlib import Path
from typing import NamedTuple

from common.events.video import VIDEO_KIND, VideoInput, VideoResult
from common.failures import ProviderDown, Refused
from common.jobs.job_spec import JobSpec
from common.jobs.work import Work
from media.deps import Deps
from media.metrics import CONTENT_PROCESSED
from media.ports import LOCAL, Origin, VideoProvider, VideoTask
from media.video.clip import ClipFound, ClipWish, probe, render
from media.video.commission import (
    Commissioned,
    ResultLost,
    begun,
    commission,
    done_key,
    fetched,
    given_up,
    task_id,
)
from media.video.seed_image import data_uri, seed_image

VIDEO = JobSpec(
    kind=VIDEO_KIND,
    input=VideoInput,
    result=VideoResult,
    steps=("generate", "fetch", "check", "store"),
    summary="Make a clip from a prompt.",
    concurrency=200,
    deadline_seconds=1800.0,
)
DEFAULT_FPS = 24
RENDERED_PERCENT = 88.0
# Our account is at fault: another provider may do it. What the request is refused for, none should.
ACCOUNT_CODES = frozenset({"provider_refused_us", "provider_unconfigured"})


class ClipMade(NamedTuple):
    """A clip in its file, who made it, and what that took."""

    provider: str
    found: ClipFound
    cost_usd: float = 0.0
    seed: int | None = None


async def make(work: Work[VideoInput, Deps]) -> VideoResult:
    """Have a clip made, look at it, and keep it."""
    path = await work.folder() / "clip.mp4"
    made = await clip_by_somebody(work, path)
    async with work.step("store"):
        asset = await work.deps.assets.store_file(
            work.job.org_id,
            path,
            origin=Origin(work.job.id, VIDEO_KIND),
            name="video.mp4",
            asset_id=work.asset_id("video"),
        )
    CONTENT_PROCESSED.labels(VIDEO_KIND, made.provider).inc()
    return VideoResult(
        asset_id=asset.id,
        url=f"/v1/assets/{asset.id}",
        content_type=asset.content_type,
        size=asset.size,
        sha256=asset.sha256,
        duration=made.found.duration,
        width=made.found.width,
        height=made.found.height,
        fps=made.found.fps,
        codec=made.found.codec,
        provider=made.provider,
        model=work.input.model,
        cost_usd=made.cost_usd,
        seed=made.seed,
    )


async def clip_by_somebody(work: Work[VideoInput, Deps], path: Path) -> ClipMade:
    """Try the providers in their order. Who failed for this job is not asked again, unless all did."""
    image = await seed_image(work)
    studio, last = work.deps.video, None
    order = studio.those_for(work.input.model)
    for name in order:
        if name == LOCAL:
            return await _rendered(work, path, image)
        if await work.recall(_failed(work, name)):
            continue
        try:
            return await _commissioned(work, studio.providers[name], path, image)
        except ProviderDown as down:
            last = down
        except Refused as refused:
            if refused.code not in ACCOUNT_CODES:
                raise
            last = ProviderDown(refused.message, status=refused.status)
        await work.remember(_failed(work, name), True)
    if isinstance(last, ResultLost):
        # Another task would be paid for once more: that is for the owner of the job to say.
        raise Refused(502, last.message, "result_lost", type="api_error")
    for name in order:
        await work.forget(_failed(work, name))
    raise last or Refused(503, "Nobody who makes videos is configured.", "provider_unconfigured", type="api_error")


def _failed(work: Work[VideoInput, Deps], name: str) -> str:
    return f"failed:{name}:{work.job.round}"


async def _commissioned(
    work: Work[VideoInput, Deps], provider: VideoProvider, path: Path, image: Path | None
) -> ClipMade:
    async with work.step("generate"):
        done = await work.once(done_key(provider), lambda: _generated(work, provider, image), Commissioned)
    try:
        async with work.step("fetch"):
            await fetched(work, provider, done, path)
        async with work.step("check"):
            found = await _checked(work, path)
    except ResultLost:
        await given_up(work, provider)
        raise
    return ClipMade(provider.name, found, done.cost_usd, done.seed)


async def _generated(work: Work[VideoInput, Deps], provider: VideoProvider, image: Path | None) -> Commissioned:
    studio, wanted = work.deps.video, work.input
    if not provider.usable and not await begun(work, provider):
        raise ProviderDown("The provider is being left alone after failures.")
    task = VideoTask(
        id=await task_id(work, provider),
        prompt=wanted.prompt,
        negative_prompt=wanted.negative_prompt,
        model=wanted.model,
        duration=wanted.duration,
        width=wanted.width,
        height=wanted.height,
        fps=wanted.fps,
        seed=wanted.seed,
        image=None if image is None else await data_uri(image),
        callback_url=studio.callback_of(work.job.id),
    )
    return await commission(work, provider, task, studio.wait_seconds)


async def _checked(work: Work[VideoInput, Deps], path: Path) -> ClipFound:
    try:
        return await work.brief(probe, str(path))
    except Refused as refused:
        raise ResultLost(f"The provider's file is no video: {refused.message}") from refused


async def _rendered(work: Work[VideoInput, Deps], path: Path, image: Path | None) -> ClipMade:
    wanted = work.input
    wish = ClipWish(
        wanted.prompt,
        wanted.duration,
        wanted.width,
        wanted.height,
        wanted.fps or DEFAULT_FPS,
        seed=wanted.seed,
        image=None if image is None else str(image),
    )
    async with work.step("generate"), work.attempt(LOCAL, "render"):
        await work.cpu(render, wish, str(path), done=lambda share: work.percent(RENDERED_PERCENT * share))
    async with work.step("check"):
        found = await work.brief(probe, str(path))
    return ClipMade(LOCAL, found, seed=wanted.seed)
