"""What telemetry promises while its engines are away or of no use: it says why it waits, and then catches up."""

import os
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from common.events.chat import CHAT_EVENTS
from common.storage.redis import open_redis
from sonant_cli.engines import postgres
from tests.support.engines import running
from tests.support.obstacles import Obstacle, full_disk, no_rights, read_only
from tests.support.service import World, started, world_on
from tests.support.telemetry import all_read, completed, has, reaches, stored
from tests.support.waiting import eventually


async def test_a_database_killed_under_load_gets_every_turn_in_the_end(valkey_url: str, tmp_path: Path) -> None:
    total = 3000
    async with (
        running(postgres) as database,
        world_on(valkey_url, database.url, tmp_path) as world,
        started(world, "telemetry") as telemetry,
    ):
        await telemetry.ready()
        await world.publish(*(completed(number) for number in range(total // 2)))
        await reaches(world, 1)
        assert database._child is not None
        assert database._child.pid is not None
        os.kill(database._child.pid, signal.SIGKILL)
        await database.stop()
        await world.publish(*(completed(number) for number in range(total // 2, total)))
        await telemetry.complains("database", timeout=10)
        await database.start()
        await has(world, total, timeout=60)
        await telemetry.ready()
        await all_read(world)
        assert await stored(world) == total
        assert not await world.dead_letters(CHAT_EVENTS)


@pytest.mark.parametrize("make", [read_only, full_disk])
async def test_a_database_that_takes_no_writes_gets_every_turn_in_the_end(
    make: Callable[[str], AbstractAsyncContextManager[Obstacle]], valkey_url: str, postgres_url: str, tmp_path: Path
) -> None:
    total = 300
    async with (
        make(postgres_url) as obstacle,
        world_on(valkey_url, obstacle.database_url, tmp_path) as world,
        started(world, "telemetry") as telemetry,
    ):
        await telemetry.ready()
        await obstacle.begin()
        await world.publish(*(completed(number) for number in range(total)))

        async def tried_long() -> bool:
            # More often than a bug is given, even if some turns still found room.
            return await telemetry.total("sonant_event_retries_total") >= total * 4

        await eventually(tried_long, timeout=30)
        await obstacle.end()
        await has(world, total)
        await all_read(world)
        await telemetry.ready()
        assert not await world.dead_letters(CHAT_EVENTS)


async def test_without_rights_in_its_database_it_takes_nothing_in_until_it_has_them_again(
    valkey_url: str, postgres_url: str, tmp_path: Path
) -> None:
    total = 300
    async with (
        no_rights(postgres_url) as obstacle,
        world_on(valkey_url, obstacle.database_url, tmp_path) as world,
        started(world, "telemetry") as telemetry,
    ):
        await telemetry.ready()
        await obstacle.begin()
        await world.publish(*(completed(number) for number in range(total)))
        await telemetry.complains("permission denied")
        assert await telemetry.total("sonant_consumer_halted") == 1
        await obstacle.end()
        await has(world, total)
        await all_read(world)
        await telemetry.ready()
        assert await telemetry.total("sonant_consumer_halted") == 0
        assert await telemetry.total("sonant_event_bugs_total") == 0
        assert not await world.dead_letters(CHAT_EVENTS)


async def test_on_a_store_that_may_evict_records_it_waits_and_says_why(world: World) -> None:
    async with open_redis(world.redis_url) as operator:
        try:
            await operator.config_set("maxmemory-policy", "allkeys-lru")
            async with started(world, "telemetry") as telemetry:
                await telemetry.complains("maxmemory-policy")
                await operator.config_set("maxmemory-policy", "noeviction")
                await telemetry.ready()
        finally:
            await operator.config_set("maxmemory-policy", "noeviction")


async def test_started_before_its_database_it_complains_and_catches_up(valkey_url: str, tmp_path: Path) -> None:
    async with running(postgres) as database, world_on(valkey_url, database.url, tmp_path) as world:
        await database.stop()
        async with started(world, "telemetry") as telemetry:
            await telemetry.complains("database")
            await world.publish(*(completed(number) for number in range(50)))
            await database.start()
            await has(world, 50)
            await telemetry.ready()
