"""Films while providers fail and workers die: who steps in, what is kept, and what is paid."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import orjson
import pytest

from common.events.flows import CONTENT_CREATION
from sandbox.app import serve
from tests.support.media import Owner, left_behind, media_on, owner_of
from tests.support.runware import RunwareSandbox
from tests.support.scripted import scripted
from tests.support.service import World
from tests.support.speech import Studio

FILM: Mapping[str, Any] = {
    "prompt": "A red kite flies over the sea.",
    "film": {"model": "luma:ray@3.2", "duration": 0.5, "width": 160, "height": 128},
}
DEAD: Mapping[str, Any] = {"do": "status-503", "times": None}
# Each decodes and encodes a few seconds of film, on a machine that may be busy.
CREATION_SECONDS = 400.0
pytestmark = pytest.mark.timeout(600)
# It finds no model of pictures: the creator goes on without.
LOCAL_ALONE = {"SONANT_VIDEO_PROVIDERS": "local", "SONANT_SPEECH_PROVIDERS": "local"}


@pytest.fixture
async def stand_ins() -> AsyncIterator[tuple[RunwareSandbox, Studio]]:
    async with serve() as url, aiohttp.ClientSession(url) as http:
        yield RunwareSandbox(url), Studio(url, http)


async def film(owner: Owner, **given: Any) -> dict[str, Any]:
    return await owner.ended(await owner.submit("creation", **{**FILM, **given}), timeout=CREATION_SECONDS)


def makers(job: Mapping[str, Any]) -> dict[str, tuple[str, bool]]:
    return {each["part"]: (each["provider"], each["fallback"]) for each in job["result"]["made_by"]}


async def test_a_dead_voice_is_replaced_and_named(media_world: World, stand_ins: tuple[RunwareSandbox, Studio]) -> None:
    runware, studio = stand_ins
    async with media_on(media_world, studio.settings) as media, owner_of(media_world) as owner:
        await runware.arrange(task_seconds=0.1)
        await studio.hume_does({"do": "status-503", "times": None, "path": "/v0/tts"})
        job = await film(owner)
        assert makers(job) == {"narration": ("openai", True), "film": ("sandbox", False)}
        assert job["result"]["fallbacks"] == ["The narration is by openai: hume failed."]
        assert job["result"]["cost_usd"] > 0
        assert await media.total("sonant_creation_fallbacks_total") == 1
        assert left_behind(media_world) == []


async def test_a_dead_maker_of_videos_is_replaced_and_named(
    media_world: World, stand_ins: tuple[RunwareSandbox, Studio]
) -> None:
    runware, studio = stand_ins
    async with media_on(media_world, studio.settings), owner_of(media_world) as owner:
        await runware.arrange(DEAD)
        job = await film(owner)
        assert makers(job) == {"narration": ("hume", False), "film": ("local", True)}
        assert job["result"]["fallbacks"] == ["The film is by local: sandbox failed."]


async def test_a_film_needs_no_network_and_no_key(media_world: World) -> None:
    async with media_on(media_world, LOCAL_ALONE) as media, owner_of(media_world) as owner:
        job = await film(owner)
        assert await media.total("sonant_creation_step_seconds_count") == len(CONTENT_CREATION.names)
        assert await media.total("sonant_creation_fallbacks_total") == 0
    assert job["state"] == "completed", job
    assert makers(job) == {"narration": ("local", False), "film": ("local", False)}
    assert job["result"]["cost_usd"] == 0


def answer(text: str) -> list[bytes]:
    """A whole answer of a model, on a connection that stays open."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    body = orjson.dumps({"id": "x", "object": "chat.completion", "created": 1, "model": "writer", "choices": [choice]})
    return [b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body]


async def test_a_model_writes_the_script_and_is_told_its_mistake(media_world: World) -> None:
    script = {"title": "The sea", "scenes": [{"say": "The sea is wide.", "show": "Waves."}]}
    nothing = {"title": "The sea", "scenes": []}
    answers = [answer(orjson.dumps(each).decode()) for each in (nothing, script)]
    async with scripted(*answers) as model:
        settings = {**LOCAL_ALONE, "SONANT_SCRIPT_URL": model.url, "SONANT_SCRIPT_MODEL": "writer"}
        async with media_on(media_world, settings) as media, owner_of(media_world) as owner:
            job = await film(owner, written=True)
            assert await media.total("sonant_creation_fallbacks_total") == 0
        asked, again = model.requests
    assert job["state"] == "completed", job
    assert job["result"]["script"] == {**script, "by": "writer"}
    assert [each["text"] for each in job["result"]["captions"]] == ["The sea is wide."]
    assert asked["messages"][-1] == {"role": "user", "content": FILM["prompt"]}
    assert again["messages"][-1]["content"].startswith("That is not it: scenes")


async def test_a_model_that_writes_no_script_is_replaced_by_the_template(media_world: World) -> None:
    async with scripted(answer("Once upon a time"), answer("there was a sea.")) as model:
        settings = {**LOCAL_ALONE, "SONANT_SCRIPT_URL": model.url, "SONANT_SCRIPT_MODEL": "writer"}
        async with media_on(media_world, settings) as media, owner_of(media_world) as owner:
            job = await film(owner, written=True)
            assert await media.total("sonant_creation_fallbacks_total") == 1
    assert job["state"] == "completed", job
    assert "The script is the template's: What writer wrote is no script: no JSON" in job["result"]["warnings"]


async def test_what_was_made_is_kept_and_a_retry_pays_nothing_again(
    media_world: World, stand_ins: tuple[RunwareSandbox, Studio]
) -> None:
    runware, studio = stand_ins
    # Nobody but Hume speaks, and Hume has no such voice.
    settings = {**studio.settings, "SONANT_SPEECH_PROVIDERS": "hume"}
    async with owner_of(media_world) as owner, AsyncExitStack() as stack:
        await runware.arrange(task_seconds=0.1)
        await studio.hume_does({"do": "status-422", "times": None, "path": "/v0/tts"})
        first = await stack.enter_async_context(media_on(media_world, settings))
        job_id = await owner.submit("creation", **FILM)
        failed = await owner.ended(job_id, timeout=CREATION_SECONDS)
        assert failed["state"] == "failed", failed
        assert failed["error"]["message"].endswith("Kept: scene-1.mp4."), failed["error"]
        paid = await runware.charges()
        assert paid == [1]
        # The process dies as well, while a sentence is being spoken: the next one goes on.
        await studio.hume_does({"do": "delay-3000", "times": 1, "path": "/v0/tts"})
        await owner.retry(job_id)
        await owner.reaches(job_id, "film")
        await first.kill()
        await stack.enter_async_context(media_on(media_world, settings))
        job = await owner.ended(job_id, timeout=CREATION_SECONDS)
        assert job["state"] == "completed", job
        assert await runware.charges() == [1]
        assert left_behind(media_world) == []
