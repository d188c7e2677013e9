"""Which services take requests in, as the gateway knows it from the live store."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from redis.asyncio import Redis

from common.bus.port import BusUnavailableError
from common.bus.request_reply import Requester
from common.events.spec import Topic
from common.events.telemetry import USAGE_REQUESTED
from common.kernel import presence
from common.kernel.presence import KEY, SILENT_LOOKS, NotServedError, Presence, announce, take_leave
from common.kernel.tasks import end
from common.storage.redis import open_redis
from tests.support.waiting import eventually

WORK, OTHER = Topic("work"), Topic("other")


@pytest.fixture
async def redis(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Redis]:
    monkeypatch.setattr(presence, "BEAT_SECONDS", 0.02)
    async with open_redis(valkey_url) as redis:
        await redis.delete(KEY)
        yield redis
        await redis.delete(KEY)


class Announced:
    """A service that says what it is told to say."""

    def __init__(self, redis: Redis, name: str, *topics: Topic) -> None:
        self.complaints: dict[str, str] = {}
        self.serving = True
        self._redis = redis
        self._name = name
        names = [topic.name for topic in topics]
        self.task = asyncio.create_task(
            announce(redis, name, names, lambda: self.serving, lambda: dict(self.complaints))
        )

    def halt(self) -> None:
        self.serving = False
        self.complaints = {"consumer": "halted: the disk is gone"}

    async def leave(self) -> None:
        await end(self.task)
        await take_leave(self._redis, self._name)


async def refused(seen: Presence, topic: Topic) -> bool:
    await seen.look()
    try:
        seen.require(topic)
    except NotServedError:
        return True
    return False


async def test_a_halted_service_is_known_within_looks_and_welcome_again_when_it_works(redis: Redis) -> None:
    service, seen = Announced(redis, "work/one", WORK), Presence(redis)
    assert not await refused(seen, WORK), "nobody was seen yet"
    service.halt()
    await eventually(lambda: refused(seen, WORK))
    assert not await refused(seen, OTHER)
    assert seen.details() == {"work/one": "halted: the disk is gone"}
    service.serving, service.complaints = True, {}

    async def works() -> bool:
        return not await refused(seen, WORK)

    await eventually(works)
    assert seen.details() == {}
    await service.leave()


async def test_a_topic_is_served_while_one_instance_takes_it_in(redis: Redis) -> None:
    one, two, seen = Announced(redis, "work/one", WORK), Announced(redis, "work/two", WORK, OTHER), Presence(redis)
    one.halt()

    async def told() -> bool:
        await seen.look()
        return "work/one" in seen.details()

    await eventually(told)
    assert not await refused(seen, WORK)
    await two.leave()
    assert await refused(seen, WORK)
    await one.leave()
    assert not await refused(seen, WORK), "whoever left in good order is replaced, and its requests wait on the log"


async def test_an_instance_that_went_silent_is_told_by_looks_and_not_by_the_clock(redis: Redis) -> None:
    service, seen = Announced(redis, "work/one", WORK), Presence(redis)
    await eventually(lambda: redis.hlen(KEY))
    await seen.look()
    await end(service.task)
    await seen.look()
    for _ in range(SILENT_LOOKS - 2):
        assert not await refused(seen, WORK), "a restart takes as long"
    await eventually(lambda: refused(seen, WORK))
    assert "silent" in seen.details()["work/one"]
    service = Announced(redis, "work/one", WORK)
    await asyncio.sleep(0.05)
    assert not await refused(seen, WORK)
    await service.leave()


@pytest.mark.parametrize("value", [b"\xff", b"[]", b"{}", b'{"complaints": 1, "serving": 1, "topics": 2}'])
async def test_what_is_no_beat_of_ours_is_passed_over(redis: Redis, value: bytes) -> None:
    await cast("Any", redis.hset(KEY, cast("Any", b"\xff"), cast("Any", value)))
    seen = Presence(redis)
    assert not await refused(seen, WORK)
    assert seen.details() == {}


async def test_a_complaint_that_is_no_halt_is_shown_and_refuses_nothing(redis: Redis) -> None:
    service, seen = Announced(redis, "work/one", WORK), Presence(redis)
    service.complaints = {"database": "does not answer"}

    async def told() -> bool:
        await seen.look()
        return seen.details() == {"work/one": "database: does not answer"}

    await eventually(told)
    assert not await refused(seen, WORK)
    await service.leave()


async def test_a_request_that_nobody_would_take_in_is_refused_at_once() -> None:
    def refuse(topic: Topic) -> None:
        raise NotServedError(topic.name)

    requester = Requester(cast("Any", None), cast("Any", None), refuse)
    async with asyncio.timeout(1):
        with pytest.raises(BusUnavailableError):
            await requester.ask(USAGE_REQUESTED, cast("Any", None), timeout=20)
