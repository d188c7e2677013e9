"""Jobs of media, on real engines: done once, ended, begun anew, taken over."""

import uuid
from collections.abc import Mapping
from typing import Any

import av

from common.events.media import (
    MEDIA_JOB_CANCELLED,
    MEDIA_JOB_COMPLETED,
    MEDIA_JOB_FAILED,
    MEDIA_JOB_PROGRESSED,
)
from common.events.media_topics import MEDIA_COMMANDS, MEDIA_EVENTS
from tests.support.media import left_behind, media_on, owner_of
from tests.support.service import World
from tests.support.waiting import eventually

# It is rendered for long enough to be interrupted.
LONG: Mapping[str, Any] = {"duration": 20.0, "width": 640, "height": 360}
ENDS = (MEDIA_JOB_CANCELLED.name, MEDIA_JOB_COMPLETED.name, MEDIA_JOB_FAILED.name)


async def facts_of(world: World, job_id: str) -> list[str]:
    """The facts about a job, once its end is told."""

    async def check() -> list[str] | None:
        facts = [fact for fact in await world.events(MEDIA_EVENTS) if fact.payload.job_id == job_id]
        names = [fact.spec.name for fact in facts]
        return names if any(name in ENDS for name in names) else None

    return await eventually(check) or []


async def test_a_job_is_done_once_and_told(media_world: World) -> None:
    async with media_on(media_world), owner_of(media_world) as owner:
        job_id = await owner.submit(times=2)
        job = await owner.ended(job_id)
        assert job["state"] == "completed", job
        result = job["result"]
        assert (result["width"], result["height"], result["codec"]) == (160, 96, "h264")
        assert abs(result["duration"] - 0.5) < 0.05
        [path] = [each for each in (media_world.output / "data").rglob("*") if each.name == result["asset_id"]]
        with av.open(str(path)) as clip:
            assert sum(1 for _ in clip.decode(video=0)) == 12
        assert [each["outcome"] for each in job["attempts"]] == ["completed"]
        assert [each["event"] for each in job["history"]][:2] == ["queued", "started"]
        assert job["steps"][0]["state"] == "completed"
        await media_world.handled(MEDIA_COMMANDS, "media")
        names = await facts_of(media_world, job_id)
        assert [name for name in names if name in ENDS] == [MEDIA_JOB_COMPLETED.name]
        assert MEDIA_JOB_PROGRESSED.name in names
        assert [each["id"] for each in (await owner.page())["data"]] == [job_id]
        assert (await owner.of("org-2").page())["data"] == []
        assert left_behind(media_world) == []


async def test_a_running_job_is_ended_and_begun_anew(media_world: World) -> None:
    async with media_on(media_world), owner_of(media_world) as owner:
        job_id = await owner.submit(**LONG)
        await owner.reaches(job_id, "generate")
        assert (await owner.of("org-2").cancel(job_id)).status == 404
        assert (await owner.cancel(job_id)).status == 202
        job = await owner.ended(job_id)
        assert job["state"] == "cancelled"
        assert job["attempts"][0]["outcome"] == "abandoned"
        assert await facts_of(media_world, job_id) != []
        assert left_behind(media_world) == []
        command = uuid.uuid4().hex
        assert (await owner.retry(job_id, command)).status == 202
        again = await owner.retry(job_id, command)
        assert (again.status, again.body["round"]) == (202, 2)
        await owner.cancel(job_id)
        assert (await owner.ended(job_id))["round"] == 2


async def test_a_job_whose_worker_dies_is_taken_up_at_once(media_world: World) -> None:
    async with owner_of(media_world) as owner:
        async with media_on(media_world) as first:
            job_id = await owner.submit(**{**LONG, "duration": 4.0})
            await owner.reaches(job_id, "generate")
            await first.kill()
        async with media_on(media_world):
            job = await owner.ended(job_id)
        assert job["state"] == "completed", job
        assert [each["outcome"] for each in job["attempts"]] == ["unknown", "completed"]
        assert "resumed" in [each["event"] for each in job["history"]]
        assert left_behind(media_world) == []


async def test_a_stop_gives_jobs_back(media_world: World) -> None:
    async with owner_of(media_world) as owner:
        async with media_on(media_world):
            job_id = await owner.submit(**{**LONG, "duration": 4.0})
            await owner.reaches(job_id, "generate")
        async with media_on(media_world, instance="media-1"):
            job = await owner.ended(job_id)
        assert job["state"] == "completed", job


async def test_what_cannot_be_fails_with_its_reason(media_world: World) -> None:
    async with media_on(media_world), owner_of(media_world) as owner:
        job_id = await owner.submit(width=5)
        job = await owner.ended(job_id)
        assert (job["state"], job["error"]["code"]) == ("failed", "invalid_input")
        assert (await owner.retry(await owner.submit())).status == 409
        nul = await owner.submit(prompt="a\x00b")
        assert (await owner.ended(nul))["state"] == "completed"
