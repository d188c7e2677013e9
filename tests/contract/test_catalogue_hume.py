"""The catalogue at Hume keeps the contract of catalogues, in a good and in a flaky mood, and survives its end."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from hume.tts.types import ReturnVoice

from common.events.resource_terms import Kind
from common.failures import ProviderDown, Refused
from common.providers.breaker import Breaker
from common.providers.policy import CallLimits
from common.storage.postgres import Pool, open_postgres
from resources.adapters.hume.api import MAX_PAGES, Account, Shelf, all_of, hume_api, open_transport
from resources.adapters.hume.call_policy import hume_policy
from resources.adapters.hume.catalogue import HumeCatalogue
from resources.adapters.postgres.local_catalogue import LocalCatalogue
from resources.adapters.postgres.provider_copy import PostgresCopy
from resources.adapters.postgres.store import PostgresStore
from resources.app import MIGRATIONS, SCHEMA
from resources.ports import Item
from sandbox.app import serve
from tests.contract.catalogue_contract import (
    BODIES,
    KINDS,
    CatalogueContract,
    VoiceCatalogueContract,
    World,
    refused,
    units_of,
)

# Enough failures for every operation to meet some, and few enough for a patient caller.
FLAKY = {"seed": 7, "share": 0.3}

Arrange = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture(scope="module")
async def url() -> AsyncIterator[str]:
    async with serve() as address:
        yield address


@pytest.fixture(scope="module")
async def pool(postgres_url: str) -> AsyncIterator[Pool]:
    async with open_postgres(postgres_url, size=6, migrations=MIGRATIONS, schema=SCHEMA, unit_of_work=True) as opened:
        yield opened


@pytest.fixture
def key() -> str:
    return f"key-{uuid.uuid4().hex}"


@pytest.fixture
async def arrange(url: str, key: str) -> AsyncIterator[Arrange]:
    async with aiohttp.ClientSession(url) as session:

        async def put(*faults: dict[str, Any], **more: Any) -> dict[str, Any]:
            async with session.put(f"/sandbox/hume/accounts/{key}", json={"faults": list(faults), **more}) as answer:
                assert answer.status == 200, await answer.text()
                return dict(await answer.json())

        yield put


@asynccontextmanager
async def hume(
    pool: Pool, url: str, key: str, *, breaker: Breaker | None = None, configured: bool = True, **limits: Any
) -> AsyncIterator[World]:
    """A world whose provider never gets its breaker, unless a test brings one."""
    never = Breaker(failures=10**9)
    policy = hume_policy(configured=configured, limits=CallLimits(**limits), breaker=breaker or never)
    async with open_transport() as transport:
        api = hume_api(transport, Account(url, key), policy)
        copy = PostgresCopy(pool, HumeCatalogue.name)
        yield World(HumeCatalogue(PostgresStore(pool), copy, api), units_of(pool))


class TestHumeCatalogue(CatalogueContract):
    @pytest.fixture
    async def world(self, pool: Pool, url: str, key: str) -> AsyncIterator[World]:
        async with hume(pool, url, key) as world:
            yield world


class TestHumeVoices(VoiceCatalogueContract):
    pass


class Flaky:
    """A provider of which every third request or so fails."""

    @pytest.fixture
    async def world(self, pool: Pool, url: str, key: str, arrange: Arrange) -> AsyncIterator[World]:
        await arrange(mood=FLAKY)
        async with hume(pool, url, key) as world:
            yield world


class TestFlakyHumeCatalogue(Flaky, CatalogueContract):
    pass


class TestFlakyHumeVoices(Flaky, VoiceCatalogueContract):
    pass


class TestHumeCatalogueWithDuplicateNames(CatalogueContract):
    """The provider does not say whether names are unique there; with us they are."""

    @pytest.fixture
    async def world(self, pool: Pool, url: str, key: str, arrange: Arrange) -> AsyncIterator[World]:
        await arrange(duplicates="allow")
        async with hume(pool, url, key) as world:
            yield world


@pytest.fixture
async def world(pool: Pool, url: str, key: str) -> AsyncIterator[World]:
    async with hume(pool, url, key) as world:
        yield world


# -- answers that are lost -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", ["lost", "truncated", "status-503", "reset", "empty-500", "html-200", "null"])
async def test_a_creation_is_done_once_whatever_becomes_of_its_answer(
    world: World, arrange: Arrange, kind: Kind, fault: str
) -> None:
    await arrange({"do": fault, "method": "POST"})
    made = await world.write(lambda work: world.catalogue.create(work, kind, {"name": "n", **BODIES[kind][0]}))
    await arrange({"do": fault, "method": "POST"})
    second = await world.write(lambda work: world.catalogue.create_version(work, kind, made.id, BODIES[kind][1]))
    assert (made.version, second.version) == (0, 1)
    totals = await arrange()
    assert (totals[f"{kind}s"], totals[f"{kind}_versions"]) == (1, 2)


async def test_a_create_that_ends_in_silence_is_found_by_its_repetition(
    pool: Pool, url: str, key: str, arrange: Arrange
) -> None:
    async with hume(pool, url, key, total_seconds=0.6) as world:
        await arrange({"do": "lost-silence", "method": "POST"})
        command, body = world.command(), {"name": "n", "text": "x"}

        async def once() -> Item:
            async with world.units.begin(command) as work:
                return await world.catalogue.create(work, "prompt", body)

        with pytest.raises(ProviderDown):
            await once()
        assert (await once()).name == "n"
    assert (await arrange())["prompts"] == 1


async def test_what_another_command_created_is_not_taken_for_ours(world: World, arrange: Arrange) -> None:
    made = await world.create("prompt", "n")
    await arrange({"do": "lost", "method": "POST"}, duplicates="allow")
    met = await refused(409, world.create("prompt", "n"))
    assert met.details["id"] == made.id
    assert (await arrange())["prompts"] == 1


@pytest.mark.parametrize("fault", ["lost", "truncated", "status-503", "reset"])
async def test_a_deletion_whose_answer_is_lost_is_a_deletion(world: World, arrange: Arrange, fault: str) -> None:
    made = await world.create("tool", "n")
    await world.create_version("tool", made.id)
    await arrange({"do": fault, "method": "DELETE"})
    await world.write(lambda work: world.catalogue.delete_version(work, "tool", made.id, 1))
    await arrange({"do": fault, "method": "DELETE"})
    await world.write(lambda work: world.catalogue.delete(work, "tool", made.id))
    await refused(404, world.get("tool", made.id))
    assert (await arrange())["tools"] == 0


async def test_the_mark_of_a_command_is_not_shown(world: World, url: str, key: str) -> None:
    made = await world.create("prompt", "n", "first")
    bare = await world.create("prompt", "m")
    assert (made.version_description, bare.version_description) == ("first", "")
    async with aiohttp.ClientSession(url, headers={"X-Hume-Api-Key": key}) as session:
        async with session.get(f"/v0/evi/prompts/{made.id}/version/0") as answer:
            there = (await answer.json())["version_description"]
    assert there.startswith("first [op ")


# -- a provider that is away -------------------------------------------------------------------------------------------


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


async def test_an_old_answer_does_not_bring_back_what_was_deleted(pool: Pool, world: World, arrange: Arrange) -> None:
    made = await world.create("prompt", "n")
    await arrange({"do": "delay-300", "method": "GET"})
    reading = asyncio.create_task(world.get("prompt", made.id, 0))
    await world.write(lambda work: world.catalogue.rename(work, "prompt", made.id, "m"))
    await reading
    assert await pool.fetchval("SELECT name FROM resources.resources WHERE id = $1", made.id) == "m"


async def test_a_name_that_moves_to_another_resource_there_moves_here(
    world: World, url: str, key: str, arrange: Arrange
) -> None:
    made = await world.create("prompt", "n")
    async with aiohttp.ClientSession(url, headers={"X-Hume-Api-Key": key}) as session:
        await session.patch(f"/v0/evi/prompts/{made.id}", json={"name": "old"})
        async with session.post("/v0/evi/prompts", json={"name": "n", "text": "new"}) as answer:
            other = (await answer.json())["id"]
    assert await world.names("prompt", name="n") == ["n"]
    await arrange({"do": "status-503", "times": None})
    known = await world.catalogue.list(world.org_id, "prompt", name="n", page=0, size=10)
    assert [each.id for each in known.items] == [other]


async def test_two_of_one_name_there_are_both_read_and_kept(world: World, url: str, key: str, arrange: Arrange) -> None:
    await arrange(duplicates="allow")
    ids = []
    async with aiohttp.ClientSession(url, headers={"X-Hume-Api-Key": key}) as session:
        for text in ("older", "newer"):
            async with session.post("/v0/evi/prompts", json={"name": "n", "text": text}) as answer:
                ids.append((await answer.json())["id"])
    older, newer = ids
    assert [each.id for each in await asyncio.gather(*(world.get("prompt", id) for id in ids))] == ids
    for _ in range(2):
        assert await world.names("prompt") == ["n", "n"]
        assert await world.names("prompt", name="n") == ["n", "n"]
    assert (await world.get("prompt", older)).name == "n"
    assert await world.names("prompt") == ["n", "n"]
    await arrange({"do": "status-503", "times": None})
    assert (await world.get("prompt", older)).content["text"] == "older"
    assert await world.names("prompt") == ["n", f"n ({older})"]
    known = await world.catalogue.list(world.org_id, "prompt", name="n", page=0, size=10)
    assert [each.id for each in known.items] == [newer]


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


async def test_a_tool_that_was_disabled_here_is_disabled_whatever_the_provider_says(pool: Pool, world: World) -> None:
    made = await world.create("tool", "n")
    await pool.execute("UPDATE resources.resources SET status = 'disabled' WHERE id = $1", made.id)
    assert (await world.get("tool", made.id)).status == "disabled"
    assert (await world.create_version("tool", made.id)).status == "disabled"
    page = await world.catalogue.list(world.org_id, "tool", name=None, page=0, size=10)
    assert [each.status for each in page.items] == ["disabled"]


async def test_a_draft_in_quarantine_is_known_here_alone(pool: Pool, world: World, arrange: Arrange) -> None:
    local = World(LocalCatalogue(PostgresStore(pool)), world.units, world.org_id)
    draft = await local.create("tool", "draft")
    await pool.execute("UPDATE resources.resources SET status = 'quarantined' WHERE id = $1", draft.id)
    assert (await world.get("tool", draft.id)).status == "quarantined"
    assert await world.numbers("tool", draft.id) == [0]
    assert (await refused(409, world.create("tool", "draft"))).details["id"] == draft.id
    await refused(404, world.create_version("tool", draft.id))
    await refused(404, world.write(lambda work: world.catalogue.rename(work, "tool", draft.id, "other")))
    await world.create("tool", "theirs")
    assert await world.names("tool") == ["theirs"]
    await arrange({"do": "status-410", "times": None})
    assert await world.names("tool") == ["theirs"]
    assert (await world.get("tool", draft.id)).status == "quarantined"
    await arrange()
    await world.write(lambda work: world.catalogue.delete(work, "tool", draft.id))
    await refused(404, world.get("tool", draft.id))


async def test_what_the_database_cannot_keep_does_not_stop_anybody(world: World, url: str, key: str) -> None:
    async with aiohttp.ClientSession(url, headers={"X-Hume-Api-Key": key}) as session:
        async with session.post("/v0/evi/prompts", json={"name": "n", "text": "a\0b"}) as answer:
            id = (await answer.json())["id"]
    assert (await world.get("prompt", id)).content["text"] == "a\ufffdb"


# -- patience ----------------------------------------------------------------------------------------------------------


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


# -- voices and configs ------------------------------------------------------------------------------------------------


async def test_voices_live_without_versions(world: World, arrange: Arrange) -> None:
    catalogue, body = world.catalogue, {"name": "Warm", "generation_id": "g1"}
    await arrange({"do": "lost", "method": "POST"})
    made = await world.write(lambda work: catalogue.create(work, "voice", body))
    assert (made.name, made.version, made.content["provider"]) == ("Warm", 0, "CUSTOM_VOICE")
    await refused(409, world.write(lambda work: catalogue.create(work, "voice", body)))
    met = await refused(400, world.write(lambda work: catalogue.create(work, "voice", {"name": "Cold"})))
    assert met.param == "generation_id"
    assert await world.names("voice") == ["Warm"]
    assert await world.names("voice", name="Warm") == ["Warm"]
    assert await world.numbers("voice", made.id) == [0]
    assert (await world.get("voice", made.id)).name == "Warm"
    await refused(404, world.get("voice", made.id, 1))
    for write in (
        lambda work: catalogue.create_version(work, "voice", made.id, body),
        lambda work: catalogue.rename(work, "voice", made.id, "Hot"),
        lambda work: catalogue.describe(work, "voice", made.id, 0, "Hot"),
        lambda work: catalogue.delete_version(work, "voice", made.id, 0),
    ):
        assert (await refused(409, world.write(write))).code == "not_supported"
    await world.write(lambda work: catalogue.delete(work, "voice", made.id))
    await refused(404, world.get("voice", made.id))


async def test_voices_of_the_library_can_be_had_by_id(world: World, url: str, key: str, arrange: Arrange) -> None:
    headers = {"X-Hume-Api-Key": key}
    async with aiohttp.ClientSession(url, headers=headers) as session:
        async with session.get("/v0/tts/voices?provider=HUME_AI") as answer:
            library = (await answer.json())["voices_page"]
    found = await world.get("voice", library[0]["id"])
    assert (found.name, found.content["provider"]) == (library[0]["name"], "HUME_AI")
    assert await world.names("voice") == []
    await arrange({"do": "status-410", "times": None})
    assert (await world.get("voice", library[0]["id"])).name == library[0]["name"]


async def test_a_config_keeps_its_references(world: World) -> None:
    prompt, tool = await world.create("prompt", "p"), await world.create("tool", "t")
    references = {
        "prompt": {"id": prompt.id, "version": 0},
        "tools": [{"id": tool.id}],
        "voice": {"provider": "HUME_AI", "name": "Ava Song"},
        "builtin_tools": [{"name": "hang_up", "fallback_content": "Bye"}],
        "webhooks": [{"url": "https://x.example/hook", "events": ["chat_ended"]}],
    }
    body = {"name": "c", "evi_version": "3", **references}
    made = await world.write(lambda work: world.catalogue.create(work, "config", body))
    assert made.content["voice"].pop("id")
    made.content["voice"]["name"] = "Ava Song"
    assert references.items() <= made.content.items()
    await world.write(lambda work: world.catalogue.delete(work, "tool", tool.id))
    assert (await world.get("config", made.id, 0)).content["tools"] == []
