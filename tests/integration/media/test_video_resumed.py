"""Videos by Runware whose worker dies: the task is found again, never sent twice."""

from tests.support.media import media_on, owner_of
from tests.support.runware import SMALL, runware_sandbox
from tests.support.service import World
from tests.support.waiting import eventually


async def test_a_worker_that_dies_loses_no_task(media_world: World) -> None:
    async with runware_sandbox() as runware, owner_of(media_world) as owner:
        await runware.arrange(task_seconds=3.0, duplicates="again")
        settings = {"SONANT_SANDBOX_URL": runware.url}
        async with media_on(media_world, settings) as first:
            job_id = await owner.submit(**{**SMALL, "prompt": "a kite"})
            await owner.reaches(job_id, "generate")
            await first.kill()
        async with media_on(media_world, settings):
            job = await owner.ended(job_id)
        assert (job["state"], job["result"]["provider"]) == ("completed", "sandbox"), job
        assert await runware.charges() == [1]
        assert job["cost_usd"] == (await runware.totals())["charged_usd"]


async def test_a_lost_acknowledgement_is_looked_up_by_whoever_goes_on(media_world: World) -> None:
    async with runware_sandbox() as runware, owner_of(media_world) as owner:
        # The first process dies while it waits for the acknowledgement of a task that the provider has.
        await runware.arrange({"do": "lost-silence", "task_type": "videoInference"}, duplicates="again")
        settings = {"SONANT_SANDBOX_URL": runware.url}
        async with media_on(media_world, settings) as first:
            job_id = await owner.submit(**{**SMALL, "prompt": "a kite"})

            async def submitted() -> bool:
                return bool((await runware.totals())["submissions"])

            await eventually(submitted)
            await first.kill()
        async with media_on(media_world, settings):
            job = await owner.ended(job_id)
        assert (job["state"], job["result"]["provider"]) == ("completed", "sandbox"), job
        assert list((await runware.totals())["submissions"].values()) == [1]
        assert await runware.charges() == [1]
