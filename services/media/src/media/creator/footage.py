"""The clips of a film: one for each scene, by the providers of videos in their order."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from common.events.creations import CreationInput, Script
from common.events.video import VideoInput
from common.jobs.work import Work
from media.creator.part_of_work import PartOfWork
from media.creator.together import together
from media.deps import Deps
from media.ports import LOCAL, Origin
from media.video.make import clip_by_somebody

AT_ONCE = 3


class _Clip(BaseModel):
    """A clip that is kept, as the job remembers it."""

    asset_id: str
    provider: str
    cost_usd: float


@dataclass(frozen=True, slots=True)
class Footage:
    """The clips in the order of the scenes, their assets, who made them, who was asked first, and what they cost."""

    paths: list[Path]
    asset_ids: list[str]
    providers: list[str]
    asked_first: str
    cost_usd: float


async def filmed(work: Work[CreationInput, Deps], script: Script, told: Callable[[float], None]) -> Footage:
    """Have a clip made for each scene. Each is kept as soon as it is there, and never made again. Raises Refused."""
    places, shares = asyncio.Semaphore(AT_ONCE), [0.0] * len(script.scenes)

    def of(scene: int) -> Callable[[float], None]:
        def note(percent: float) -> None:
            shares[scene] = max(shares[scene], percent)
            told(sum(shares) / (100 * len(shares)))

        return note

    async def film(scene: int) -> tuple[Path, _Clip]:
        async with places:
            return await _clip(work, scene, script.scenes[scene].show, of(scene))

    made = await together(*(film(scene) for scene in range(len(script.scenes))))
    providers = list(dict.fromkeys(clip.provider for _, clip in made))
    first = next(iter(work.deps.video.those_for(work.input.film.model)), LOCAL)
    studio = work.deps.video.providers.get(first)
    return Footage(
        paths=[path for path, _ in made],
        asset_ids=[clip.asset_id for _, clip in made],
        providers=providers,
        asked_first=first if studio is None else studio.name,
        cost_usd=sum(clip.cost_usd for _, clip in made),
    )


async def _clip(
    work: Work[CreationInput, Deps], scene: int, show: str, told: Callable[[float], None]
) -> tuple[Path, _Clip]:
    wish = work.input.film
    path = await work.folder() / f"scene-{scene}.mp4"
    wanted = VideoInput(prompt=show, model=wish.model, duration=wish.duration, width=wish.width, height=wish.height)
    part = PartOfWork(work, f"scene-{scene}", wanted, told)

    async def make() -> _Clip:
        made = await clip_by_somebody(part, path)
        asset = await work.deps.assets.store_file(
            work.job.org_id,
            path,
            origin=Origin(work.job.id, "creation"),
            name=f"scene-{scene + 1}.mp4",
            asset_id=part.asset_id("clip"),
        )
        return _Clip(asset_id=asset.id, provider=made.provider, cost_usd=made.cost_usd)

    clip = await part.once("kept", make, _Clip)
    if not await asyncio.to_thread(path.exists):
        # It was made before a crash: what is kept is fetched.
        asset = await work.deps.assets.get(work.job.org_id, clip.asset_id)
        await work.deps.assets.copy_to_file(asset, path)
    told(100.0)
    return path, clip
