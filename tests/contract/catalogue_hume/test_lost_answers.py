"""A command is done once, whatever becomes of its answer."""

import aiohttp
import pytest

from common.events.resource_terms import Kind
from common.failures import ProviderDown
from common.storage.postgres import Pool
from resources.ports import Item
from tests.contract.catalogue_contract import (
    BODIES,
    KINDS,
    World,
    refused,
)
from tests.support.hume_catalogue import Arrange, hume


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
