"""Speech of media on real engines: told once, no faster than it is read, and stopped when nobody listens."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import aiohttp
import pytest

from common.events.media_topics import MEDIA_COMMANDS
from common.events.speech import SPEECH_COMPLETED, SPEECH_INTERRUPTED
from sandbox.app import serve
from tests.support.engines import new_database
from tests.support.media import media_on
from tests.support.service import ServiceProcess, World, world_on
from tests.support.sound import seconds_of_sound
from tests.support.speech import Listener, Studio, listener_on, told
from tests.support.waiting import eventually

FOR_GOOD = {"times": None, "path": "/v0/tts"}
# Pieces of one answer that are made at the same time.
AHEAD = 4


@dataclass(frozen=True)
class Shared:
    """A service that the tests share which do it no harm, with its stand-ins and somebody who listens."""

    world: World
    studio: Studio
    media: ServiceProcess
    listener: Listener


@pytest.fixture(scope="module")
async def shared(valkey_url: str, postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shared]:
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(new_database(postgres_url, "speech"))
        world = await stack.enter_async_context(world_on(valkey_url, database, tmp_path_factory.mktemp("speech")))
        url = await stack.enter_async_context(serve())
        studio = Studio(url, await stack.enter_async_context(aiohttp.ClientSession(url)))
        media = await stack.enter_async_context(media_on(world, studio.settings))
        yield Shared(world, studio, media, await stack.enter_async_context(listener_on(world)))


@pytest.fixture
async def speaking(shared: Shared) -> AsyncIterator[Shared]:
    """The same, with stand-ins that are well before and after."""
    yield shared
    await shared.studio.hume_does()


async def held_times(ops_url: str) -> float:
    """How often speech had to wait for a client."""
    async with aiohttp.ClientSession() as session, session.get(f"{ops_url}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("sonant_speech_held_total "))


async def test_an_answer_ends_with_one_fact_however_often_it_is_delivered(speaking: Shared) -> None:
    listener, studio = speaking.listener, speaking.studio
    before = await studio.charged()
    async with listener.asking(told(3), times=3, format="mp3") as heard:
        await listener.hear(heard)
    assert heard.end is not None
    assert heard.end["outcome"] == "completed"
    assert heard.head["headers"]["content-type"] == "audio/mpeg"
    await speaking.world.handled(MEDIA_COMMANDS, "media")
    fact = await listener.fact(heard)
    assert fact.spec is SPEECH_COMPLETED
    cost = fact.payload.cost
    assert cost.audio_seconds == pytest.approx(seconds_of_sound(heard.audio), abs=0.1)
    assert (cost.provider, cost.segments, cost.cached_segments) == ("hume", len(cost.attempts), 0)
    assert cost.cost_usd == pytest.approx(sum(each.cost_usd for each in cost.attempts)) != 0
    assert all(each.reference for each in cost.attempts)
    assert (await studio.charged())["calls"] - before["calls"] == cost.segments


async def test_a_client_that_leaves_stops_the_work(speaking: Shared) -> None:
    listener, studio = speaking.listener, speaking.studio
    await studio.hume_does({"do": "delay-200", **FOR_GOOD})
    async with listener.asking(told(40), format="wav") as heard:
        await listener.hear(heard, until=1)
        listener.leave(heard)
        fact = await listener.fact(heard)
    assert fact.spec is SPEECH_INTERRUPTED
    assert fact.payload.reason == "client_closed"
    stopped = (await studio.charged())["calls"]
    await studio.hume_does()
    other = await listener.whole(told(1))
    assert other.end is not None
    # What was under way is finished, for it is paid for; nothing else was begun.
    ours = len((await listener.fact(other)).payload.cost.attempts)
    assert (await studio.charged())["calls"] - ours <= stopped + AHEAD


async def test_a_client_that_does_not_read_holds_the_work(speaking: Shared) -> None:
    listener, studio = speaking.listener, speaking.studio
    before, held_before = await studio.charged(), await held_times(speaking.media.ops_url)
    async with listener.asking(told(40), format="wav") as heard:

        async def held() -> bool:
            return await held_times(speaking.media.ops_url) > held_before

        await eventually(held, timeout=30)
        await listener.hear(heard, until=256 * 1024, confirm=False)
        made = (await studio.charged())["calls"] - before["calls"]
        # Five seconds of sound fit into the window: far from all of it was made.
        assert made <= 2 + 2 * AHEAD
        await listener.hear(heard)
    assert heard.end is not None
    assert heard.end["outcome"] == "completed"
    assert len(heard.audio) > 4 * 1024 * 1024


async def test_a_gateway_that_is_gone_stops_the_work(speaking: Shared) -> None:
    listener, studio = speaking.listener, speaking.studio
    await studio.hume_does({"do": "delay-200", **FOR_GOOD})
    async with listener_on(speaking.world, "doomed-gateway") as doomed:
        async with doomed.asking(told(40), format="wav") as heard:
            await doomed.hear(heard, until=1)
    fact = await listener.fact(heard)
    assert fact.spec is SPEECH_INTERRUPTED
    assert fact.payload.reason == "gateway_lost"
