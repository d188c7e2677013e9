"""The embedded log on an engine of its own: what it keeps, what gives way, and what a full store means."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY
from redis.exceptions import ResponseError

from common.bus.port import BusUnavailableError
from common.bus.valkey import ValkeyLog
from common.bus.valkey_retention import KEY_PREFIX, member_seen, stream
from common.events.record import Partition, Received, Record
from common.events.spec import Topic
from common.storage.redis import Redis, open_redis
from sonant_cli.engines import valkey
from tests.support.engines import Running, running
from tests.support.waiting import eventually

MIB = 1024 * 1024
REQUESTS = Topic("requests")
FACTS = Topic("facts")
LETTERS = Topic("letters", embedded_max_records=1000)


def request(number: int, size: int = 64 * 1024, topic: Topic = REQUESTS) -> Record:
    headers = {"event-id": str(number), "event-type": "work/1", "deadline": repr(time.time() + 60)}
    return Record(topic.name, "k", b"x" * size, headers)


def fact(number: int, size: int = 100, topic: Topic = FACTS) -> Record:
    return Record(topic.name, "k", b"x" * size, {"event-id": str(number), "event-type": "done/1"})


async def nothing(partitions: frozenset[Partition]) -> None:
    del partitions


@pytest.fixture
async def engine() -> AsyncIterator[Running]:
    async with running(partial(valkey, memory=48 * MIB)) as engine:
        yield engine


@pytest.fixture
async def redis(engine: Running) -> AsyncIterator[Redis]:
    async with open_redis(engine.url) as redis:
        yield redis


@asynccontextmanager
async def opened(engine: Running, redis: Redis, max_bytes: int) -> AsyncIterator[ValkeyLog]:
    log = ValkeyLog(engine.url, redis, max_bytes=max_bytes)
    await log.ensure([REQUESTS, FACTS, LETTERS])
    try:
        yield log
    finally:
        await log.close()


async def read_on(log: ValkeyLog, topic: Topic, group: str, count: int, *, commit: bool) -> list[Received]:
    """What a member of a group reads, and whether it finishes it."""
    taken: list[Received] = []
    async with log.subscribe([topic], group, "one", nothing) as subscription:

        async def enough() -> bool:
            taken.extend(await subscription.poll(1000, 0.1))
            return len(taken) >= count

        await eventually(enough, timeout=30)
        if commit:
            await subscription.commit({taken[-1].partition: taken[-1].offset})
    return taken


async def kept(redis: Redis, *topics: Topic) -> int:
    sizes = [await cast("Any", redis.memory_usage(stream(topic.name), samples=0)) for topic in topics]
    return sum(size or 0 for size in sizes)


def counted(name: str, topic: Topic) -> float:
    return REGISTRY.get_sample_value(name, {"topic": topic.name}) or 0.0


async def test_finished_records_go_once_all_topics_together_take_too_many_bytes(engine: Running, redis: Redis) -> None:
    async with opened(engine, redis, 4 * MIB) as log:
        for number in range(120):
            await log.publish(request(number))
        await log.publish(*(fact(number) for number in range(200)))
        await read_on(log, REQUESTS, "workers", 120, commit=True)
        assert await kept(redis, REQUESTS, FACTS) > 7 * MIB
        await log.trim(REQUESTS)
        assert await kept(redis, REQUESTS, FACTS) <= 4 * MIB
        # The larger topic gave way: of the small one nothing was in the way.
        assert await redis.xlen(stream(FACTS.name)) == 200
        left = await log.read(REQUESTS, limit=200)
        assert [record.headers["event-id"] for record in left][-1] == "119"
        await log.publish(request(120))


async def test_nothing_goes_while_the_store_has_room_whatever_the_first_records_suggest(
    engine: Running, redis: Redis
) -> None:
    """Sizes are told from a few records then, here from the largest."""
    async with opened(engine, redis, 20 * MIB) as log:
        await log.publish(*(fact(number, 256 * 1024) for number in range(10)))
        for _ in range(40):
            await log.publish(*(fact(number) for number in range(100)))
        told = await cast("Any", redis.memory_usage(stream(FACTS.name), samples=5))
        assert await kept(redis, FACTS) < (await redis.info("memory"))["used_memory"] < 20 * MIB < told
        await read_on(log, FACTS, "readers", 4010, commit=True)
        await log.trim(FACTS)
        assert await redis.xlen(stream(FACTS.name)) == 4010


async def test_requests_are_refused_where_unfinished_ones_fill_the_log_and_facts_are_not(
    engine: Running, redis: Redis
) -> None:
    async with opened(engine, redis, 4 * MIB) as log:
        await log.publish(request(0))
        await read_on(log, REQUESTS, "workers", 1, commit=True)
        for number in range(1, 100):
            await log.publish(request(number))
        await log.trim(REQUESTS)
        with pytest.raises(BusUnavailableError, match="full"):
            await log.publish(request(100))
        with pytest.raises(BusUnavailableError, match="full"):
            await log.ping()
        await log.publish(fact(1))
        # Nothing that was accepted is lost.
        taken = await read_on(log, REQUESTS, "workers", 99, commit=True)
        assert [record.headers["event-id"] for record in taken] == [str(number) for number in range(1, 100)]
        await log.trim(REQUESTS)
        await log.publish(request(101))
        await log.ping()


async def test_a_process_that_trims_no_more_does_not_go_on_telling_that_the_log_is_full(
    engine: Running, redis: Redis
) -> None:
    async with opened(engine, redis, 4 * MIB) as log:
        await log.publish(request(0))
        await read_on(log, REQUESTS, "workers", 1, commit=True)
        for number in range(1, 100):
            await log.publish(request(number))
        await log.trim(REQUESTS)
        assert REGISTRY.get_sample_value("sonant_log_full") == 1
        # Another process trims from now on, and has found room.
        await redis.set(f"{KEY_PREFIX}trimming", "1")
        await redis.delete(f"{KEY_PREFIX}full")

        async def told() -> bool:
            await log.publish(fact(1))
            return REGISTRY.get_sample_value("sonant_log_full") == 0

        await eventually(told, timeout=20, interval=0.05)


async def test_a_group_that_nobody_is_a_member_of_gives_way_and_is_counted(engine: Running, redis: Redis) -> None:
    async with opened(engine, redis, 4 * MIB) as log:
        await log.publish(request(0))
        await read_on(log, REQUESTS, "workers", 1, commit=True)
        await read_on(log, REQUESTS, "abandoned", 1, commit=True)
        for number in range(1, 100):
            await log.publish(request(number))
        await read_on(log, REQUESTS, "workers", 99, commit=True)
        lost = counted("sonant_log_lost_total", REQUESTS)
        await log.trim(REQUESTS)
        assert await redis.xlen(stream(REQUESTS.name)) >= 99, "it may come back within the hour"
        # The hour is over.
        await redis.delete(member_seen(REQUESTS.name, "abandoned"))
        await log.trim(REQUESTS)
        assert await kept(redis, REQUESTS) <= 4 * MIB
        assert counted("sonant_log_lost_total", REQUESTS) - lost >= 30
        await log.publish(request(100))


async def test_one_pass_drops_far_more_than_comes_in_within_its_second(engine: Running, redis: Redis) -> None:
    async with opened(engine, redis, 24 * MIB) as log:
        # From here on the group holds up trimming.
        await log.publish(fact(0, 300, LETTERS))
        await read_on(log, LETTERS, "workers", 1, commit=True)
        for start in range(0, 8000, 1000):
            await asyncio.gather(*(log.publish(fact(start + n, 300, LETTERS)) for n in range(1000)))
        await read_on(log, LETTERS, "workers", 8000, commit=True)
        before, started = await redis.xlen(stream(LETTERS.name)), time.perf_counter()
        await log.trim(LETTERS)
        seconds = time.perf_counter() - started
        left = await redis.xlen(stream(LETTERS.name))
        assert left == 1000
        print(f"trimmed {before - left} records in {seconds:.3f} s")


async def test_a_publisher_trims_by_itself(engine: Running, redis: Redis) -> None:
    async with opened(engine, redis, 24 * MIB) as log:
        await log.publish(*(fact(n, 300, LETTERS) for n in range(3000)))

        async def trimmed() -> bool:
            await log.publish(fact(0, 300, LETTERS))
            return await redis.xlen(stream(LETTERS.name)) <= 1100

        await eventually(trimmed, timeout=20, interval=0.05)


async def test_a_store_that_is_full_takes_no_requests_and_still_lets_them_be_finished(
    engine: Running, redis: Redis
) -> None:
    async with opened(engine, redis, 1024 * MIB) as log:
        # It has 48 MiB: two thirds are for the log.
        for number in range(300):
            await log.publish(request(number))
        await fill(redis)
        with pytest.raises(BusUnavailableError, match=r"full|no writes"):
            await log.ping()
        with pytest.raises(BusUnavailableError):
            await log.publish(request(300))
        taken = await read_on(log, REQUESTS, "workers", 300, commit=True)
        assert len(taken) == 300
        assert await redis.hget(f"{KEY_PREFIX}{REQUESTS.name}:groups", "workers") == taken[-1].offset.encode()
        await redis.delete(*await redis.keys("other:*"))
        await log.trim(REQUESTS)
        await log.ping()
        await log.publish(request(301))


async def fill(redis: Redis) -> None:
    """Write until the store takes nothing more."""
    size, number = 1024 * 1024, 0
    while size:
        number += 1
        try:
            await redis.set(f"other:{number}", b"x" * size)
        except ResponseError:
            size //= 2


async def test_the_lag_of_large_records_is_told_without_reading_them_all(engine: Running, redis: Redis) -> None:
    async with opened(engine, redis, 1024 * MIB) as log:
        large = replace(request(0), value=b"x" * MIB)
        for _ in range(24):
            await log.publish(large)
            await asyncio.sleep(0.002)
        async with log.subscribe([REQUESTS], "workers", "one", nothing) as subscription:
            assert await subscription.poll(1, 0.1)
            lag = await subscription.lag()
            assert lag is not None
            assert 15 <= lag <= 24
