"""What the provider and our copy know of one another, and what only one of them knows."""

import asyncio

import aiohttp

from common.storage.postgres import Pool
from resources.adapters.postgres.local_catalogue import LocalCatalogue
from resources.adapters.postgres.store import PostgresStore
from tests.contract.catalogue_contract import (
    World,
    refused,
)
from tests.support.hume_catalogue import Arrange


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
