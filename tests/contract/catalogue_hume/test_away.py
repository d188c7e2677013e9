"""A provider that is away or refuses: reads come from the copy, and everybody is told whose fault it is."""

import asyncio
import uuid

import aiohttp
import pytest
from hume.tts.types import ReturnVoice

from common.failures import ProviderDown, Refused
from common.providers.breaker import Breaker
from common.storage.postgres import Pool
from resources.adapters.hume.api import MAX_PAGES, Shelf, all_of
from tests.contract.catalogue_contract import (
    BODIES,
    KINDS,
    World,
    refused,
)
from tests.support.hume_catalogue import Arrange, hume


@pytest.mark.parametrize(
    "fault", ["status-410", "status-503", "status-401", "status-403", "html-404", "reset", "empty-500"]
)
async def test_reads_are_answered_from_the_copy_while_the_provider_is_away(
    world: World, arrange: Arrange, fault: str
) -> None:
    for kind in KINDS:
        made = await world.create(kind, "n", "one")
        second = await world.create_version(kind, made.id, "two")
        await arrange({"do": fault, "times": None})
        assert await world.get(kind, made.id, 0) == made
        assert (await world.get(kind, made.id)).content == second.content
        assert await world.numbers(kind, made.id) == [1, 0]
        assert await world.names(kind) == ["n"]
        await arrange()


async def test_what_was_only_read_is_in_the_copy_too(world: World, url: str, key: str, arrange: Arrange) -> None:
    async with aiohttp.ClientSession(url, headers={"X-Hume-Api-Key": key}) as session:
        for name in ("a", "b"):
            await session.post("/v0/evi/prompts", json={"name": name, "text": name})
    assert await world.names("prompt") == ["b", "a"]
    await arrange({"do": "status-410", "times": None})
    assert await world.names("prompt") == ["b", "a"]
    assert await world.names("prompt", name="a") == ["a"]


async def test_without_a_copy_its_absence_is_told(world: World, arrange: Arrange) -> None:
    await arrange({"do": "status-410", "times": None})
    with pytest.raises(ProviderDown) as down:
        await world.catalogue.get(world.org_id, "prompt", str(uuid.uuid4()), None)
    assert down.value.status == 410
    assert (await arrange({"do": "status-410", "times": None}))["requests"] == 1, "it would only say so again"
    with pytest.raises(ProviderDown):
        await world.catalogue.list(world.org_id, "prompt", name=None, page=0, size=10)


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [("status-401", 502, "provider_refused_us"), ("status-402", 502, "provider_refused_us")],
)
async def test_an_account_that_is_refused_is_not_the_callers_fault(
    world: World, arrange: Arrange, fault: str, status: int, code: str
) -> None:
    await arrange({"do": fault, "times": None})
    met = await refused(status, world.create("prompt", "n"))
    assert (met.code, met.details["provider_status"]) == (code, int(fault[-3:]))
    await refused(status, world.get("prompt", str(uuid.uuid4())))


async def test_what_the_provider_refuses_is_told_with_its_code(world: World, arrange: Arrange) -> None:
    config = {"evi_version": "3", "turn_detection": {"end_of_turn_silence_ms": 1}}
    met = await refused(400, world.write(lambda work: world.catalogue.create(work, "config", {"name": "n", **config})))
    assert met.details == {"provider_status": 400, "provider_code": "E0102"}
    assert "end_of_turn_silence_ms" in met.message


async def test_what_the_provider_has_no_field_for_is_refused_before_it_is_asked(world: World, arrange: Arrange) -> None:
    asked = (await arrange())["requests"]
    config = {"name": "n", "evi_version": "3", "prosody": {"template": "{scores}", "number": 3, "tokens": 40}}
    met = await refused(400, world.write(lambda work: world.catalogue.create(work, "config", config)))
    assert (met.code, met.param) == ("not_supported", "prosody")
    assert (await arrange())["requests"] == asked


async def test_without_a_key_nothing_is_asked_and_the_copy_answers(
    pool: Pool, world: World, url: str, key: str, arrange: Arrange
) -> None:
    made = await world.create("prompt", "n")
    asked = (await arrange())["requests"]
    async with hume(pool, url, key, configured=False) as keyless:
        keyless.org_id = world.org_id
        assert (await keyless.get("prompt", made.id, 0)).name == "n"
        assert (await refused(503, keyless.create("prompt", "m"))).code == "provider_unconfigured"
    assert (await arrange())["requests"] == asked


async def test_reads_are_repeated_and_heed_what_the_provider_asks(world: World, arrange: Arrange) -> None:
    made = await world.create("prompt", "n")
    before = (await arrange({"do": "status-429-ra-1"}, {"do": "status-503"}))["requests"]
    loop = asyncio.get_running_loop()
    began = loop.time()
    found = await world.catalogue.get(world.org_id, "prompt", made.id, 0)
    assert loop.time() - began >= 1
    assert found.id == made.id
    assert (await arrange())["requests"] - before == 3


async def test_nobody_waits_longer_than_the_policy_allows(pool: Pool, url: str, key: str, arrange: Arrange) -> None:
    async with hume(pool, url, key, total_seconds=0.4) as world:
        await arrange({"do": "status-429-ra-30"}, {"do": "silence", "times": None})
        with pytest.raises(ProviderDown) as busy:
            await world.catalogue.get(world.org_id, "prompt", str(uuid.uuid4()), 0)
        assert busy.value.retry_after == 30
    async with hume(pool, url, key, total_seconds=0.4) as world:
        async with asyncio.timeout(3):
            with pytest.raises(ProviderDown):
                await world.catalogue.get(world.org_id, "prompt", str(uuid.uuid4()), 0)


async def test_a_body_that_trickles_in_ends_in_an_answer_or_a_clear_verdict(
    pool: Pool, url: str, key: str, arrange: Arrange
) -> None:
    """No single wait is long enough for the timeout of a read; all of them together are."""
    async with hume(pool, url, key, total_seconds=1) as world:
        await arrange({"do": "slow-5", "times": None})
        made = await world.create("prompt", "n")
        assert (await world.get("prompt", made.id, 0)).content["text"] == BODIES["prompt"][0]["text"]
        await arrange({"do": "slow-300", "times": None})
        with pytest.raises(ProviderDown) as late:
            await world.catalogue.list(world.org_id, "tool", name=None, page=0, size=10)
        assert "Timeout" in late.value.message
        assert (await world.catalogue.get(world.org_id, "prompt", made.id, 0)).name == "n", "the copy answers"
        await arrange({"do": "slow-300", "method": "POST"})
        command, body = world.command(), {"name": "m", "text": "x"}
        with pytest.raises(ProviderDown):
            async with world.units.begin(command) as work:
                await world.catalogue.create(work, "prompt", body)
        again = await world.write(lambda work: world.catalogue.create(work, "prompt", body), command)
        assert again.name == "m"
    assert (await arrange())["prompts"] == 2


async def test_a_broken_provider_is_left_alone_and_found_again(
    pool: Pool, url: str, key: str, arrange: Arrange
) -> None:
    clock = [0.0]
    breaker = Breaker(failures=3, open_seconds=60, clock=lambda: clock[0])
    async with hume(pool, url, key, breaker=breaker) as world:
        made = await world.create("prompt", "n")
        await arrange({"do": "status-503", "times": None})
        assert (await world.get("prompt", made.id, 0)).name == "n"
        asked = (await arrange({"do": "status-503", "times": None}))["requests"]
        assert (await world.get("prompt", made.id, 0)).name == "n"
        with pytest.raises(ProviderDown) as left_alone:
            await world.catalogue.get(world.org_id, "prompt", str(uuid.uuid4()), 0)
        assert left_alone.value.retry_after == 60
        assert (await arrange())["requests"] == asked, "it was left alone"
        clock[0] = 61
        assert (await world.create("prompt", "back")).version == 0
    assert breaker.state == "closed"


async def test_a_provider_with_ever_more_pages_is_not_looked_through_and_nothing_taken_for_absent() -> None:
    turned = []

    async def turn(*, page: int) -> Shelf:
        turned.append(page)
        return [ReturnVoice(id=str(page), name="n", provider="CUSTOM_VOICE")], page + 2

    with pytest.raises(Refused) as met:
        [each async for each in all_of(turn)]
    assert (met.value.status, met.value.code, len(turned)) == (502, "provider_too_large", MAX_PAGES)


async def test_calls_are_limited_in_number(pool: Pool, url: str, key: str, arrange: Arrange) -> None:
    async with hume(pool, url, key, concurrency=1, total_seconds=1) as world:
        await arrange({"do": "delay-700", "times": None})
        reads = [world.catalogue.get(world.org_id, "prompt", str(uuid.uuid4()), 0) for _ in range(3)]
        met = await asyncio.gather(*reads, return_exceptions=True)
    assert sorted(type(each).__name__ for each in met) == ["ProviderDown", "ProviderDown", "Refused"]
