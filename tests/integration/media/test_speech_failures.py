"""Speech while providers fail and instances die: who steps in, who is paid, and who is told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import aiohttp
import pytest

from common.events.speech import SPEECH_COMPLETED, SPEECH_FAILED
from sandbox.app import serve
from tests.support.media import media_on
from tests.support.service import World
from tests.support.sound import seconds_of_sound
from tests.support.speech import Listener, Studio, listener_on, told
from tests.support.waiting import eventually

FOR_GOOD = {"times": None, "path": "/v0/tts"}
# Pieces of one answer that are made at the same time.
AHEAD = 4


@pytest.fixture
async def studio() -> AsyncIterator[Studio]:
    async with serve() as url, aiohttp.ClientSession(url) as http:
        yield Studio(url, http)


@pytest.fixture
async def listener(media_world: World) -> AsyncIterator[Listener]:
    async with listener_on(media_world) as listener:
        yield listener


def told_pieces(text: str) -> list[str]:
    from media.speech.segments import segments

    return [piece.text for piece in segments(text)]


async def test_the_next_provider_steps_in_and_the_trail_says_so(
    media_world: World, studio: Studio, listener: Listener
) -> None:
    async with media_on(media_world, studio.settings):
        await studio.hume_does({"do": "status-503", **FOR_GOOD})
        text = told(1)
        heard = await listener.whole(text, format="wav")
        fact = await listener.fact(heard)
        assert heard.head["headers"]["x-sonant-voice-provider"] == "openai"
        outcomes = {(each.provider, each.outcome, each.status) for each in fact.payload.cost.attempts}
        assert outcomes == {("hume", "failed", 503), ("openai", "done", None)}
        # What another voice said for it is not kept as its own: once it is back, it speaks itself.
        await studio.hume_does()
        again = await listener.whole(text, format="wav")
        assert again.head["headers"]["x-sonant-voice-provider"] in ("hume", "openai")
        assert (await studio.charged("openai"))["repeats"] == 0


async def test_the_voice_of_this_machine_is_the_last_resort(
    media_world: World, studio: Studio, listener: Listener
) -> None:
    own = {**studio.settings, "SONANT_SPEECH_PROVIDERS": "hume,local"}
    async with media_on(media_world, own):
        await studio.hume_does({"do": "zero-credits", **FOR_GOOD})
        heard = await listener.whole("Nobody has to wait for a vendor.", format="wav")
        assert heard.head["headers"]["x-sonant-voice-provider"] == "local"
        assert "x-sonant-provider" not in heard.head["headers"]
        assert seconds_of_sound(heard.audio) > 1.0


async def test_without_anybody_who_could_speak_it_is_503(media_world: World, listener: Listener) -> None:
    async with media_on(media_world, {"SONANT_SPEECH_PROVIDERS": "hume,openai"}):
        heard = await listener.whole("Hello there.")
        assert heard.end is not None
        assert (heard.end["outcome"], heard.end["error"]["status"]) == ("failed", 503)
        assert heard.end["error"]["code"] == "provider_unconfigured"
        assert (await listener.fact(heard)).spec is SPEECH_FAILED
        reply = await listener.file("Hello there.")
        assert (reply.status, reply.body["error"]["code"]) == (503, "provider_unconfigured")


async def test_what_fails_behind_the_first_sound_is_said_at_the_end(
    media_world: World, studio: Studio, listener: Listener
) -> None:
    own = {**studio.settings, "SONANT_SPEECH_PROVIDERS": "hume"}
    async with media_on(media_world, own):
        text = told(12)
        async with listener.asking(text, format="wav") as heard:
            await listener.hear(heard, until=1)
            await studio.hume_does({"do": "status-500", **FOR_GOOD})
            await listener.hear(heard)
        assert heard.end is not None
        assert heard.end["outcome"] == "failed"
        # Once it is well again only what is missing is paid for.
        await studio.hume_does()

        async def whole() -> bool:
            again = await listener.whole(text, format="wav")
            return again.end is not None and again.end["outcome"] == "completed"

        await eventually(whole, timeout=60, interval=1.0)
        assert (await studio.charged())["repeats"] == 0


async def test_instances_share_one_call(media_world: World, studio: Studio, listener: Listener) -> None:
    async with AsyncExitStack() as stack:
        for number in range(2):
            own = {**studio.settings, "SONANT_DATA_DIR": str(media_world.output / "data")}
            await stack.enter_async_context(media_on(media_world, own, instance=f"media-{number}"))
        await studio.hume_does({"do": "delay-300", **FOR_GOOD})
        text = told(1)
        answers = await asyncio.gather(*(listener.whole(text, format="mp3") for _ in range(40)))
        assert {bytes(answer.audio) for answer in answers} == {bytes(answers[0].audio)}
        charged = await studio.charged()
        assert (charged["calls"], charged["repeats"]) == (len(told_pieces(text)), 0)


async def test_a_speaker_that_dies_in_the_middle_is_told_and_nothing_is_paid_twice(
    media_world: World, studio: Studio, listener: Listener
) -> None:
    text = told(12)
    await studio.hume_does({"do": "delay-200", **FOR_GOOD})
    async with listener.asking(text, format="wav") as heard:
        async with media_on(media_world, studio.settings) as media:
            await listener.hear(heard, until=3_000_000)
            await media.kill()
        async with media_on(media_world, studio.settings):
            await listener.hear(heard)
            assert heard.end is not None
            assert heard.end["status"] == 502
            assert (await listener.fact(heard)).spec is SPEECH_FAILED
            kept = (await studio.charged())["calls"]
            again = await listener.whole(text, format="wav")
            fact = await listener.fact(again)
            assert fact.spec is SPEECH_COMPLETED
            # Those whose sound never arrived are lost: the provider has no way to ask for them.
            assert fact.payload.cost.cached_segments >= kept - AHEAD > 0
            assert (await studio.charged())["repeats"] <= AHEAD


async def test_a_speaker_that_dies_before_the_first_sound_is_replaced(
    media_world: World, studio: Studio, listener: Listener
) -> None:
    await studio.hume_does({"do": "silence", "times": 2, "path": "/v0/tts"})
    async with listener.asking("Somebody else will say this.", format="wav") as heard:
        async with media_on(media_world, studio.settings) as media:

            async def asked() -> bool:
                async with studio.http.get("/sandbox/hume/accounts/sandbox") as answer:
                    return bool((await answer.json())["requests"])

            await eventually(asked)
            await media.kill()
        await studio.hume_does()
        async with media_on(media_world, studio.settings):
            await listener.hear(heard)
        assert heard.end is not None
        assert heard.end["outcome"] == "completed"
        assert seconds_of_sound(heard.audio) > 1.0
