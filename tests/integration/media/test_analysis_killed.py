"""Media is killed in the middle of an analysis: another worker makes it, once, and nothing is left over."""

from pathlib import Path

from common.events.analyses import ANALYSIS_LIST_REQUESTED, CLUSTER_LIST_REQUESTED
from tests.support.expressions import lab
from tests.support.films import film, shot
from tests.support.media import left_behind
from tests.support.service import World

PATIENCE = 170.0


async def test_an_analysis_is_made_once_whoever_dies(media_world: World, sandbox_url: str, tmp_path: Path) -> None:
    made = film(tmp_path / "a.mp4", [*shot(1, 50), *shot(2, 50), *shot(1, 50)]).read_bytes()
    async with lab(media_world, sandbox_url) as dying:
        job_id = await dying.owner.submit("analysis", asset_id=await dying.asset(made), project="p")
        await dying.owner.reaches(job_id, "keyframes")
        await dying.media.kill()
    async with lab(media_world, sandbox_url) as again:
        job = await again.owner.ended(job_id, PATIENCE)
        assert job["state"] == "completed", job["error"]
        page = (await again.owner.ask(ANALYSIS_LIST_REQUESTED)).body
        assert [each["id"] for each in page["data"]] == [job["result"]["analysis_id"]]
        [cluster] = (await again.owner.ask(CLUSTER_LIST_REQUESTED, project="p")).body["data"]
        assert (cluster["kind"], cluster["size"]) == ("shot", 2)
        assert left_behind(media_world) == []
