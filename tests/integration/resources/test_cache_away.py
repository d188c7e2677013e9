"""What readers of resources meet while the service behind the cache is away, and after it died half way."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import asyncpg
import pytest

from common.bus.port import BusUnavailableError
from common.clients.resources.entries import Entry, scope_key
from common.events.resources import ACTIVE_RESOLVE_REQUESTED, ACTIVE_SWITCH_REQUESTED
from common.storage.resp import Resp, open_resp
from tests.support.active import PROJECT, Team, new_team, queries, reading, resolve, settled
from tests.support.resources import Caller, caller_of
from tests.support.service import ServiceProcess, World, started
from tests.support.waiting import eventually

READERS = 500


@pytest.fixture
async def caller(world: World) -> AsyncIterator[Caller]:
    """Somebody who asks, whether or not anybody answers."""
    async with caller_of(world) as caller:
        yield caller


@pytest.fixture
async def redis(world: World) -> AsyncIterator[Resp]:
    async with open_resp(world.redis_url) as redis:
        yield redis


@asynccontextmanager
async def serving(world: World, **settings: str) -> AsyncIterator[ServiceProcess]:
    async with started(world, "resources", settings=settings) as resources:
        await resources.ready()
        yield resources


async def until(check: Callable[[], Awaitable[bool]]) -> None:
    await eventually(check, timeout=30)


async def test_what_was_read_is_served_stale_while_the_service_is_away(world: World, caller: Caller) -> None:
    team, lonely = new_team(caller), new_team(caller)
    async with reading(caller) as reader:
        async with serving(world, SONANT_RESOURCE_CACHE_SECONDS="1") as resources:
            told = (await team.switch(await team.pins())).body
            await settled(world)
            prompt = await reader.versions.get(team.org_id, "prompt", told["prompt"]["id"], 0)
            await resolve(reader, team)
            await resources.kill()

        async def stale() -> bool:
            found = await reader.sets.resolve(team.org_id, PROJECT, team.caller.user_id)
            version = await reader.versions.get(team.org_id, "prompt", told["prompt"]["id"], 0)
            assert found is not None
            assert found.json() == told
            assert version.body == prompt.body
            return bool(found.stale and version.stale)

        await until(stale)
        with pytest.raises(BusUnavailableError):
            await reader.sets.resolve(lonely.org_id, PROJECT, "nobody", wait=0.2)
        with pytest.raises(BusUnavailableError):
            await reader.versions.get(lonely.org_id, "prompt", "nothing", wait=0.2)
        async with serving(world):

            async def fresh() -> bool:
                return not await stale()

            await until(fresh)


async def test_nobody_waits_for_a_refresh_that_is_known_to_fail(world: World, caller: Caller, redis: Resp) -> None:
    team = new_team(caller)
    key = scope_key(team.org_id, PROJECT, team.caller.user_id)
    async with serving(world) as resources:
        await team.switch(await team.pins())
        await settled(world)
        await resources.kill()
    entry = Entry.unpack(await redis.execute("GET", key))
    await redis.execute("SET", key, replace(entry, fresh_until=0.0).pack())
    async with reading(caller) as reader:
        first = await reader.sets.resolve(team.org_id, PROJECT, team.caller.user_id)
        assert first is not None
        assert first.stale

        async def given_up() -> bool:
            return reader.sets.failing(team.org_id)

        await until(given_up)
        asked = await queries(world, team, ACTIVE_RESOLVE_REQUESTED)
        found = await asyncio.gather(*(resolve(reader, team) for _ in range(READERS)))
        assert {each["revision"] for each in found} == {1}
        assert await queries(world, team, ACTIVE_RESOLVE_REQUESTED) <= asked + 1


async def test_a_crash_between_commit_and_cache_is_healed_by_the_fact(
    world: World, caller: Caller, redis: Resp
) -> None:
    team = new_team(caller)
    key = scope_key(team.org_id, PROJECT, team.caller.user_id)
    async with reading(caller) as reader:
        async with serving(world) as resources:
            await team.switch(await team.pins())
            pins = await team.pins()
            async with cache_held_at_commit(world, team, redis):
                event = team.caller.event(ACTIVE_SWITCH_REQUESTED, place=team.place, pins=pins)
                await world.log.publish(event.record())
            committed = "SELECT 1 FROM resources.places WHERE org_id = $1 AND revision = 2"

            async def is_committed() -> bool:
                return bool(await world.fetch(committed, team.org_id))

            await until(is_committed)
            os.kill(resources.process.pid, 9)
            await resources.process.wait()
            await redis.execute("CLIENT", "UNPAUSE")
        assert Entry.unpack(await redis.execute("GET", key)).revision == 1
        assert (await resolve(reader, team))["revision"] == 1
        async with serving(world):

            async def healed() -> bool:
                return bool((await resolve(reader, team))["pins"] == pins.model_dump(mode="json"))

            await until(healed)


@asynccontextmanager
async def cache_held_at_commit(world: World, team: Team, redis: Resp) -> AsyncIterator[None]:
    """A command published inside goes as far as the database; when it goes on from there, the cache takes nothing."""
    connection = await asyncpg.connect(world.database_url)
    try:
        async with connection.transaction():
            await connection.execute("SELECT FROM resources.organizations WHERE org_id = $1 FOR UPDATE", team.org_id)
            yield
            await until(lambda: _waits(world))
            await redis.execute("CLIENT", "PAUSE", 30_000, "WRITE")
    finally:
        await connection.close()


async def _waits(world: World) -> bool:
    return bool(
        await world.fetch(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
    )
