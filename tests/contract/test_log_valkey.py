"""The embedded log keeps the log's promises, and those that come with trimming and a single holder."""

import json
from typing import Any, cast
from urllib.parse import urlsplit

import pytest

from common.bus.live.writer import LiveWriter
from common.bus.port import BusUnavailableError, Log
from common.bus.valkey import ValkeyLog
from common.bus.valkey_retention import KEY_PREFIX
from common.events.record import text
from common.events.spec import Topic
from common.storage.redis import open_redis
from sonant_cli.engines import valkey
from tests.contract.blast_radius_contract import Foreign, kept, unreadable
from tests.contract.bus_contract import Worker, nothing_to_hand_over, take, until, works
from tests.contract.byte_budget_contract import ByteBudgetContract
from tests.contract.fair_share_contract import FairShareContract
from tests.support.engines import running


async def append(url: str, topic: Topic, *entries: dict[bytes, bytes]) -> None:
    """Entries as anybody may write them."""
    async with open_redis(url) as redis:
        for fields in entries:
            await redis.xadd(KEY_PREFIX + topic.name, cast("Any", fields))


def as_fields(one: Foreign) -> dict[bytes, bytes]:
    """The shape of our entries, with bytes that are no text escaped as no encoder of ours would."""
    headers = {name: text(content) for name, content in one.headers.items()}
    return {b"k": one.key, b"v": one.value, b"h": json.dumps(headers).encode()}


class TestValkeyLog(FairShareContract, ByteBudgetContract):
    @pytest.fixture
    def log_url(self, valkey_url: str) -> str:
        return valkey_url

    async def write(self, address: str, topic: Topic, *strangers: Foreign) -> None:
        await append(address, topic, *map(as_fields, strangers))

    @pytest.mark.parametrize(
        "fields",
        [
            {b"k": b"k0", b"v": b"{}"},
            {b"h": b"{}"},
            {b"k": b"\xff", b"v": b"v\xff", b"h": b"no json \xff"},
            {b"k": b"k0", b"v": b"v", b"h": b"[1, 2]"},
            {b"k": b"k0", b"v": b"v", b"h": b'{"event-type": ["a"]}'},
            {b"k": b"k0", b"v": b"v", b"h": b'{"event-type": "\\ud800"}'},
            {b"k": b"k0", b"v": b"v", b"h": b"[" * 100_000},
            {b"\xff\xfe": b"\x00", b"": b"nothing"},
        ],
        ids=["no headers", "no key", "no text", "a list", "no texts", "a lone surrogate", "deep", "none of ours"],
    )
    async def test_an_entry_of_another_shape_is_parked_byte_by_byte(
        self, log: Log, topic: Topic, worker: Worker, log_url: str, fields: dict[bytes, bytes]
    ) -> None:
        await append(log_url, topic, fields)
        await log.publish(*works(topic, [1]))
        await until(lambda: worker.numbers == [1])
        await self.settled(log, topic)
        [letter] = await log.read(topic.dead_letters, limit=10)
        assert kept(letter, *(part for part in fields.values() if part != b"{}"))
        assert (letter.headers["dlq-topic"], unreadable(topic)) == (topic.name, 1)

    async def test_the_order_of_an_entrys_fields_does_not_matter(
        self, log: Log, topic: Topic, worker: Worker, log_url: str
    ) -> None:
        [record] = works(topic, [3])
        headers = json.dumps(dict(record.headers)).encode()
        await append(log_url, topic, {b"h": headers, b"more": b"\xff", b"v": record.value, b"k": record.key.encode()})
        await until(lambda: worker.numbers == [3])

    async def test_retention_never_drops_what_a_group_has_not_acknowledged(self, log: Log, topic: Topic) -> None:
        assert isinstance(log, ValkeyLog)
        short = Topic(topic.name, embedded_max_records=10)
        async with log.subscribe([short], "workers", "one", nothing_to_hand_over) as subscription:
            await log.publish(*works(short, range(200)))
            taken = await take(subscription, 200)
            await subscription.commit({taken[49].partition: taken[49].offset})
            await log.trim(short)
            kept = [record.offset for record in await log.read(short, limit=300)]
            assert kept[-150:] == [record.offset for record in taken[50:]]
            await subscription.commit({taken[-1].partition: taken[-1].offset})
            await log.trim(short)
        # The last finished one may stay.
        assert len(await log.read(short, limit=300)) <= 11

    async def test_a_second_member_stands_by_until_the_first_has_left(self, log: Log, topic: Topic) -> None:
        await log.publish(*works(topic, range(5)))
        async with log.subscribe([topic], "workers", "two", nothing_to_hand_over) as standby:
            async with log.subscribe([topic], "workers", "one", nothing_to_hand_over) as holder:
                await take(holder, 5)
                assert await standby.poll(10, 0.1) == []
            await take(standby, 5)

    async def test_a_store_that_may_evict_is_refused_until_it_is_told_not_to(self, log: Log, valkey_url: str) -> None:
        async with open_redis(valkey_url) as operator:
            try:
                await operator.config_set("maxmemory-policy", "allkeys-lru")
                with pytest.raises(BusUnavailableError, match="maxmemory-policy allkeys-lru, not noeviction"):
                    await log.ensure([])
            finally:
                await operator.config_set("maxmemory-policy", "noeviction")
        await log.ensure([])

    async def test_a_store_that_does_not_tell_whether_it_evicts_is_taken(self, valkey_url: str) -> None:
        address = urlsplit(valkey_url)
        async with open_redis(valkey_url) as operator:
            await operator.acl_setuser(
                "tenant",
                enabled=True,
                passwords=["+pass"],
                categories=["+@all"],
                commands=["-config"],
                keys=["*"],
                channels=["*"],
            )
            url = address._replace(netloc=f"tenant:pass@{address.hostname}:{address.port}").geturl()
            async with self.opened(url, url) as log:
                await log.ensure([])
            await operator.acl_deluser("tenant")

    async def test_the_engine_goes_away_and_comes_back(self, live: LiveWriter) -> None:
        """Publishes fail clearly, then work again by themselves; nothing acknowledged is lost."""
        topic = Topic("outage")
        worker = Worker()
        async with running(valkey) as engine, self.opened(engine.url, engine.url) as log:
            async with self.consuming(log, live, topic, worker) as consumer:
                await log.publish(*works(topic, range(20)))
                await until(lambda: len(worker.finished) == 20)
                await engine.stop()
                with pytest.raises(BusUnavailableError):
                    await log.publish(*works(topic, [20]))
                await until(lambda: consumer.complaint() is not None)
                await engine.start()
                await log.publish(*works(topic, range(21, 40)))
                await until(lambda: 39 in worker.numbers)
                await self.settled(log, topic)
        assert set(worker.numbers) - {20} == set(range(20)) | set(range(21, 40))
