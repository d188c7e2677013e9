"""Kafka keeps the log's promises, and those that come with partitions and several members."""

import asyncio
import signal
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.record.util import calc_crc32c as crc32c

from common.bus.kafka import KafkaLog
from common.bus.kafka_access import KafkaAccess
from common.bus.live.writer import LiveWriter
from common.bus.port import MAX_RECORD_BYTES, BusUnavailableError, Log, Subscription, TopicMismatchError
from common.events.record import Partition, Received
from common.events.spec import Topic
from deploy.kafka.broker import Broker
from tests.contract.blast_radius_contract import Foreign, unreadable
from tests.contract.bus_contract import (
    Worker,
    a_process,
    finished_work,
    finishes,
    nothing_to_hand_over,
    take,
    until,
    works,
)
from tests.contract.bus_member import Member
from tests.contract.byte_budget_contract import ByteBudgetContract
from tests.contract.fair_share_contract import FairShareContract

# Of a record batch: what follows it is what it sums up.
CHECKSUM = slice(17, 21)

pytestmark = pytest.mark.kafka


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[KafkaLog]:
    log = KafkaLog(KafkaAccess.of(url))
    try:
        yield log
    finally:
        await log.close()


@asynccontextmanager
async def producing(url: str) -> AsyncIterator[AIOKafkaProducer]:
    """Somebody else's producer."""
    producer = AIOKafkaProducer(**KafkaAccess.of(url).arguments, max_request_size=MAX_RECORD_BYTES)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


def misname(batch: Any) -> None:
    """Have the name `zz` of the batch's header written as bytes that are no text, with the checksum to match."""
    build = batch._build

    def misnamed() -> bytearray:
        buffer: bytearray = bytearray(build().replace(b"zz", b"\xff\xfe"))
        buffer[CHECKSUM] = crc32c(buffer[CHECKSUM.stop :]).to_bytes(4, "big")
        return buffer

    batch._build = misnamed


def a_topic(partitions: int = 3) -> Topic:
    return Topic(f"contract-{uuid.uuid4().hex}", partitions=partitions)


class Handed(list[Partition]):
    """Partitions that a member had to hand over."""

    async def over(self, partitions: frozenset[Partition]) -> None:
        self.extend(partitions)


class TestKafkaLog(FairShareContract, ByteBudgetContract):
    @pytest.fixture
    def log_url(self, kafka_url: str) -> str:
        return kafka_url

    async def write(self, address: str, topic: Topic, *strangers: Foreign) -> None:
        async with producing(address) as producer:
            for one in strangers:
                await producer.send_and_wait(topic.name, one.value, key=one.key, headers=list(one.headers.items()))

    async def test_a_header_without_a_value_is_parked(
        self, log: Log, topic: Topic, worker: Worker, log_url: str
    ) -> None:
        headers = cast("Any", [("event-type", self.of_ours(topic).encode()), ("note", None)])
        async with producing(log_url) as producer:
            await producer.send_and_wait(topic.name, None, key=b"k0", headers=headers)
        await log.publish(*works(topic, [1]))
        await until(lambda: worker.numbers == [1])
        await self.settled(log, topic)
        [letter] = await log.read(topic.dead_letters, limit=10)
        assert letter.headers["dlq-error"] == "UnreadableError"

    async def test_a_record_that_leaves_no_room_for_its_passport_is_parked_cut(
        self, log: Log, topic: Topic, worker: Worker, log_url: str
    ) -> None:
        full = Foreign(value=b"\xff" * (MAX_RECORD_BYTES - 1024), headers={"event-type": self.of_ours(topic).encode()})
        await self.write(log_url, topic, full)
        await log.publish(*works(topic, [1]))
        await until(lambda: worker.numbers == [1])
        await self.settled(log, topic)
        [letter] = await log.read(topic.dead_letters, limit=10)
        assert letter.headers["dlq-cut-from-bytes"] == str(len(full.value))
        assert full.value.startswith(letter.value)

    async def test_a_name_of_a_header_that_is_no_text_is_parked_by_its_place(
        self, log: Log, topic: Topic, worker: Worker, log_url: str
    ) -> None:
        """The client decodes names itself and hands out nothing of such a record."""
        await log.publish(*works(topic, range(20), keys=9))
        async with producing(log_url) as producer:
            for partition in range(topic.partitions):
                batch = producer.create_batch()
                headers = [(cast("Any", "zz"), b"1")]
                batch.append(key=b"k0", value=b"{}", timestamp=None, headers=headers)
                batch.close()
                misname(batch)
                await (await producer.send_batch(batch, topic.name, partition=partition))
        await log.publish(*works(topic, range(20, 40), keys=9))
        await until(lambda: sorted(worker.numbers) == list(range(40)))
        await self.settled(log, topic)
        assert unreadable(topic) == topic.partitions

    # -- topics -------------------------------------------------------------------------------------------

    async def test_a_topic_is_created_as_declared_and_verified_ever_after(self, log: Log) -> None:
        topic = replace(a_topic(partitions=5), retention=timedelta(hours=3))
        await asyncio.gather(log.ensure([topic]), log.ensure([topic]))
        await log.ensure([topic])
        [status] = await log.status([topic])
        assert (status.name, status.partitions, status.length) == (topic.name, 5, 0)

    @pytest.mark.parametrize(
        "more", [{"partitions": 6}, {"retention": timedelta(days=8)}], ids=["partitions", "retention"]
    )
    async def test_a_topic_that_promises_less_is_refused(self, log: Log, more: dict[str, int | timedelta]) -> None:
        topic = a_topic()
        await log.ensure([topic])
        wanted = Topic(topic.name, **{"partitions": 3, "retention": timedelta(days=7), **more})  # type: ignore[arg-type]
        with pytest.raises(TopicMismatchError, match=topic.name):
            await log.ensure([wanted])

    # -- members ------------------------------------------------------------------------------------------

    async def test_members_joining_and_leaving_under_load_lose_nothing(
        self, log: Log, live: LiveWriter, topic: Topic, log_url: str
    ) -> None:
        """Order per key holds across owners as well: a partition is handed over only when its work is done."""
        total = 1200
        worker = Worker(seconds=0.002)

        async def publish() -> None:
            for record in works(topic, range(total), keys=40):
                await log.publish(record)
                await asyncio.sleep(0.004)

        publishing = asyncio.create_task(publish())
        async with AsyncExitStack() as members:
            for name in ("one", "two", "three"):
                own = await members.enter_async_context(connected(log_url))
                stay = await members.enter_async_context(AsyncExitStack())
                await stay.enter_async_context(self.consuming(own, live, topic, worker, instance=name))
                await moves_on(worker, 100)
                if name == "two":
                    await stay.aclose()
            await publishing
            await self.settled(log, topic)
        assert set(worker.numbers) == set(range(total))
        for key in range(40):
            first_times = list(dict.fromkeys(number for of, number in worker.finished if of == f"k{key}"))
            assert first_times == sorted(first_times)

    async def test_a_killed_member_returns_without_disturbing_the_others(
        self, log: Log, log_url: str, valkey_url: str, tmp_path: Path
    ) -> None:
        """Static membership: whoever comes back under its name finds its partitions waiting."""
        topic = a_topic(partitions=2)
        await log.ensure([topic])
        done = tmp_path / "done"
        member = Member(log_url, valkey_url, topic.name, 2, "workers", "two", 0.0, str(done))
        handed = Handed()
        async with log.subscribe([topic], "workers", "one", handed.over) as subscription:
            with a_process(member) as process:
                await both_work(log, topic, subscription, done)
                handed.clear()
                process.kill()
                process.wait()
            done.unlink()
            with a_process(member):
                await both_work(log, topic, subscription, done)
        assert handed == []

    async def test_a_member_that_is_gone_for_good_is_replaced(
        self, log: Log, topic: Topic, log_url: str, valkey_url: str, tmp_path: Path
    ) -> None:
        await log.publish(*works(topic, range(200)))
        done = tmp_path / "done"
        member = Member(log_url, valkey_url, topic.name, topic.partitions, "workers", "one", 0.05, str(done), 1.0)
        with a_process(member) as process:
            await finishes(done, 5)
            process.kill()
        async with log.subscribe([topic], "workers", "two", nothing_to_hand_over) as heir:
            taken = await take(heir, 200 - len(finished_work(done)))
        assert taken[-1].offset == (await log.read(topic, limit=200))[-1].offset

    async def test_a_member_thrown_out_of_its_group_comes_back(
        self, log: Log, topic: Topic, log_url: str, valkey_url: str, tmp_path: Path
    ) -> None:
        """A process that was frozen past its session finds that the group has forgotten it."""
        done, sessions = tmp_path / "done", 1.0
        member = Member(log_url, valkey_url, topic.name, topic.partitions, "workers", "one", 0.0, str(done), sessions)
        await log.publish(*works(topic, range(10)))
        with a_process(member) as process:
            await finishes(done, 10)
            process.send_signal(signal.SIGSTOP)
            # The one way to see that its session has ended: somebody else gets its partitions.
            await log.publish(*works(topic, range(10, 20)))
            async with log.subscribe([topic], "workers", "two", nothing_to_hand_over) as heir:
                taken = await take(heir, 10)
                await heir.commit({record.partition: record.offset for record in taken})
            process.send_signal(signal.SIGCONT)
            await log.publish(*works(topic, range(20, 30)))
            await finishes(done, 20)
            await self.settled(log, topic)
        assert {("k0", number) for number in range(20, 30)} <= finished_work(done)

    # -- outages ------------------------------------------------------------------------------------------

    async def test_the_broker_goes_away_and_comes_back(self, kafka_broker: Broker, live: LiveWriter) -> None:
        """kill -9 under load: publishes fail clearly, then work again by themselves; nothing acknowledged is lost."""
        topic = a_topic()
        worker = Worker()
        acknowledged: list[int] = []
        async with connected(kafka_broker.url) as log:
            await log.ensure([topic, topic.dead_letters])
            async with self.consuming(log, live, topic, worker) as consumer:
                await publish_until(log, topic, acknowledged, lambda: len(worker.finished) >= 50)

                kafka_broker.kill()
                with pytest.raises(BusUnavailableError):
                    await log.publish(*works(topic, [1_000_000]))
                with pytest.raises(BusUnavailableError):
                    await log.ping()
                await until(lambda: consumer.complaint() is not None)

                kafka_broker.start()
                await kafka_broker.ready()
                finished = len(worker.finished)
                await publish_until(log, topic, acknowledged, lambda: len(worker.finished) >= finished + 50)
                await self.settled(log, topic)
                assert consumer.complaint() is None
        assert set(acknowledged) <= set(worker.numbers)


async def moves_on(worker: Worker, by: int) -> None:
    before = len(worker.finished)
    await until(lambda: len(worker.finished) >= before + by)


async def publish_until(log: Log, topic: Topic, acknowledged: list[int], enough: Callable[[], bool]) -> None:
    """Publish one after the other, noting what was acknowledged."""

    async def one_more() -> bool:
        number = acknowledged[-1] + 1 if acknowledged else 0
        try:
            await log.publish(*works(topic, [number], keys=number + 1))
        except BusUnavailableError:
            return False
        acknowledged.append(number)
        return enough()

    await until(one_more)


async def both_work(log: Log, topic: Topic, subscription: Subscription, done: Path) -> None:
    """Publish until this process has received something and the other one has finished something."""
    received: list[Received] = []

    async def both() -> bool:
        await log.publish(*works(topic, range(8), keys=8))
        received.extend(await subscription.poll(100, 0.1))
        return bool(received) and done.exists()

    await until(both)
