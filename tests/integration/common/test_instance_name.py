"""One process for each name: a second is refused, a killed one's name is free, one that stood still ends."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from common.storage.redis import open_redis
from tests.support.service import ServiceProcess, numbered, process_of
from tests.support.sonant import suspended
from tests.support.waiting import eventually

# No other test starts services on this database.
VALKEY_DATABASE = 7
KEY = "sonant:instance:llm-stream/one"
SECONDS = 30.0


@pytest.fixture
async def variables(valkey_url: str, tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    url = numbered(valkey_url, VALKEY_DATABASE)
    async with open_redis(url) as redis:
        await redis.flushdb()
        yield {"SONANT_LOG_URL": url, "SONANT_REDIS_URL": url, "SONANT_INSTANCE": "one", "OPENAI_API_KEY": "sk-none"}


@pytest.fixture
def on_kafka(variables: dict[str, str], kafka_url: str) -> dict[str, str]:
    return variables | {"SONANT_LOG_URL": kafka_url}


async def ended(running: ServiceProcess) -> int:
    async with asyncio.timeout(SECONDS):
        return await running.process.wait()


async def refused(variables: Mapping[str, str], folder: Path) -> None:
    async with process_of("llm_stream", folder / "first.log", variables) as first:
        await first.ready()
        async with process_of("llm_stream", folder / "second.log", variables) as second:
            assert await ended(second) == 1
        said = [line for line in second.text().splitlines() if "error" in line]
        assert len(said) == 1
        assert "SONANT_INSTANCE" in said[0]
        assert "Traceback" not in second.text()
        await first.ready()


async def test_a_second_process_of_a_name_is_refused_in_one_line(variables: dict[str, str], tmp_path: Path) -> None:
    await refused(variables, tmp_path)


@pytest.mark.kafka
async def test_so_it_is_on_kafka(on_kafka: dict[str, str], tmp_path: Path) -> None:
    await refused(on_kafka, tmp_path)


async def test_the_name_of_one_that_was_killed_on_this_machine_is_not_waited_for(
    variables: dict[str, str], tmp_path: Path
) -> None:
    async with open_redis(variables["SONANT_REDIS_URL"]) as redis:
        async with process_of("llm_stream", tmp_path / "first.log", variables) as first:
            await first.ready()
            await first.kill()
        # It would be held for good.
        assert await redis.persist(KEY)
        async with process_of("llm_stream", tmp_path / "second.log", variables) as second:
            await second.ready()


async def test_one_that_stood_still_ends_where_another_has_its_name(variables: dict[str, str], tmp_path: Path) -> None:
    async with process_of("llm_stream", tmp_path / "first.log", variables) as first:
        await first.ready()
        with suspended(first.process.pid):
            second = process_of("llm_stream", tmp_path / "second.log", variables)
            follower = await second.__aenter__()
            await follower.ready()
        assert await ended(first) == 1
        assert "ends at once" in first.text()
        await follower.ready()
        await second.__aexit__(None, None, None)


async def test_one_that_stood_still_goes_on_where_nobody_took_its_name(
    variables: dict[str, str], tmp_path: Path
) -> None:
    async with (
        open_redis(variables["SONANT_REDIS_URL"]) as redis,
        process_of("llm_stream", tmp_path / "only.log", variables) as only,
    ):

        async def held() -> bool:
            return bool(await redis.exists(KEY))

        async def free() -> bool:
            return not await held()

        await only.ready()
        with suspended(only.process.pid):
            await eventually(free, timeout=SECONDS)
        await eventually(held, timeout=SECONDS)
        await only.ready()
