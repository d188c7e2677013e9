"""Media is killed while a provider measures."""

from tests.support.expressions import lab
from tests.support.media import left_behind
from tests.support.media_files import voice, wav
from tests.support.service import World
from tests.support.waiting import eventually

AUDIO = "/v1/expression/audio/file"


async def test_an_answer_is_not_paid_again_either_where_media_dies(media_world: World, sandbox_url: str) -> None:
    async with lab(media_world, sandbox_url) as dying:
        await dying.arrange({"do": "lost-silence", "path": AUDIO})
        job_id = await dying.begun(wav(voice(4.0)))

        async def charged() -> bool:
            return bool(await dying.charges())

        await eventually(charged, timeout=60)
        await dying.media.kill()
    async with lab(media_world, sandbox_url) as again:
        job, _ = await again.measured(job_id)
        assert (await again.charges())["measurement_audio_requests"] == 1
        assert job["result"]["providers"] == ["local"]
        assert left_behind(media_world) == []
