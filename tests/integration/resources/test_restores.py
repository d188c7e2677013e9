"""A database that was restored is read from its first moment on, whatever the caches and readers remember."""

import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from common.clients.resources.client import ResourceClient
from common.events.resource_terms import SetScope
from common.events.resources import ACTIVE_HISTORY_REQUESTED
from common.storage.redis import open_redis
from tests.support.active import PROJECT, Team, new_team, reading, resolve, settled
from tests.support.commands import command
from tests.support.engines import new_database
from tests.support.resources import Caller, caller_of
from tests.support.service import ServiceProcess, World, started
from tests.support.waiting import eventually

SONANT = (sys.executable, "-c", "from sonant_cli.main import main; main()")


@asynccontextmanager
async def serving(world: World) -> AsyncIterator[ServiceProcess]:
    async with started(world, "resources") as running:
        await running.ready()
        yield running


@pytest.fixture
async def caller(resources_world: World) -> AsyncIterator[Caller]:
    async with caller_of(resources_world) as caller:
        yield caller


@pytest.fixture
async def reader(caller: Caller) -> AsyncIterator[ResourceClient]:
    """A gateway that runs through all of it, and remembers what it read."""
    async with reading(caller) as reader:
        yield reader


def variables(world: World) -> Mapping[str, str]:
    return {**os.environ, "SONANT_DATABASE_URL": world.database_url, "SONANT_DATA_DIR": str(world.output / "none")}


async def backed_up(world: World) -> Path:
    file = world.output / "sonant.dump"
    done = await command(*SONANT, "backup", str(file), env=variables(world))
    assert done.code == 0, done.text
    assert file.stat().st_mode & 0o777 == 0o600
    return file


async def restored(world: World, file: Path) -> None:
    done = await command(*SONANT, "restore", str(file), env=variables(world))
    assert done.code == 0, done.text


async def revisions(team: Team) -> list[int]:
    place = SetScope(layer="user", project_id=PROJECT, user_id=team.caller.user_id)
    answer = await team.caller.ask(ACTIVE_HISTORY_REQUESTED, place=place, limit=50)
    assert answer.status == 200, answer.body
    return [each["revision"] for each in answer.body["data"]]


async def test_after_a_restore_every_read_switch_and_history_is_that_of_the_backup(
    resources_world: World, caller: Caller, reader: ResourceClient
) -> None:
    world, team, late = resources_world, new_team(caller), new_team(caller)
    async with serving(world):
        prompt = await team.create("prompt", text="of the backup")
        first = await team.pins()
        assert (await team.switch(first)).body["revision"] == 1
        await settled(world)
        file = await backed_up(world)
        for _ in range(3):
            await team.switch(await team.pins())
        await team.version("prompt", prompt, text="of the future")
        await late.switch(await late.pins())
        assert (await resolve(reader, team))["revision"] == 4
        assert (await reader.versions.get(team.org_id, "prompt", prompt)).json()["prompt"]["text"] == "of the future"
        assert (await resolve(reader, late))["revision"] == 1
        await settled(world)
    await restored(world, file)
    async with serving(world) as service:
        found = await resolve(reader, team)
        assert (found["revision"], found["config"]["id"]) == (1, first.config.id if first.config else "")
        assert (await reader.versions.get(team.org_id, "prompt", prompt)).json()["prompt"]["text"] == "of the backup"
        assert await resolve(reader, late) is None
        assert await revisions(team) == [1]
        # What is written from now on is read at once, although the clocks of the future were ahead.
        switched = await team.switch(await team.pins())
        assert switched.body["revision"] == 2
        assert await resolve(reader, team) == switched.body
        assert await revisions(team) == [2, 1]
        again = await late.switch(await late.pins())
        assert await resolve(reader, late) == again.body
        assert await service.total("sonant_resource_restores_total") == 1
    # Another start finds nothing to do.
    async with serving(world) as service:
        assert await resolve(reader, team) == switched.body
        assert await service.total("sonant_resource_restores_total") == 0


async def test_a_restore_under_a_running_service_is_noticed(
    resources_world: World, caller: Caller, reader: ResourceClient
) -> None:
    world, team = resources_world, new_team(caller)
    async with serving(world) as service:
        await team.switch(await team.pins())
        await settled(world)
        file = await backed_up(world)
        await team.switch(await team.pins())
        assert (await resolve(reader, team))["revision"] == 2
        await restored(world, file)

        async def noticed() -> bool:
            return await service.total("sonant_resource_restores_total") == 1

        await eventually(noticed, timeout=30)
        assert (await resolve(reader, team))["revision"] == 1
        switched = await team.switch(await team.pins())
        assert (await resolve(reader, team)) == switched.body


async def test_the_cache_of_another_database_is_not_believed(
    resources_world: World, caller: Caller, reader: ResourceClient, postgres_url: str
) -> None:
    team = new_team(caller)
    async with serving(resources_world):
        await team.switch(await team.pins())
        assert (await resolve(reader, team))["revision"] == 1
        await settled(resources_world)
    async with new_database(postgres_url, "resources") as other:
        world = replace(resources_world, database_url=other)
        async with serving(world):
            assert await resolve(reader, team) is None
            switched = await team.switch(await team.pins())
            assert await resolve(reader, team) == switched.body


async def test_deleting_the_cache_while_it_runs_changes_nothing_that_is_read(
    resources_world: World, caller: Caller, reader: ResourceClient
) -> None:
    world, team = resources_world, new_team(caller)
    async with serving(world) as service:
        switched = await team.switch(await team.pins())
        assert await resolve(reader, team) == switched.body
        async with open_redis(world.redis_url) as redis:
            async for key in redis.scan_iter(match="sonant:resources:*"):
                await redis.delete(key)
        assert await resolve(reader, team) == switched.body
        assert (await team.switch(await team.pins())).body["revision"] == 2
        assert (await resolve(reader, team))["revision"] == 2
        assert await service.total("sonant_resource_restores_total") == 0
    async with open_redis(world.redis_url) as redis:
        await redis.delete("sonant:resources:lineage", "sonant:resources:heads")
    connection = await asyncpg.connect(world.database_url)
    clock = await connection.fetchval("SELECT clock FROM resources.organizations WHERE org_id = $1", team.org_id)
    await connection.close()
    async with serving(world):
        # Nobody can tell what readers remember, so the clocks go on above all of it.
        third = await team.switch(await team.pins())
        assert third.body["clock"] > clock + 1
        assert await resolve(reader, team) == third.body
