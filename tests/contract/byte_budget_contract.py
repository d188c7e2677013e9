"""What every log promises about bytes, as one test class: what is fetched and what is in hand have a bound."""

import asyncio
import os
from dataclasses import replace

from prometheus_client import REGISTRY

from common.bus.live.writer import LiveWriter
from common.bus.port import FETCH_BYTES, MAX_VALUE_BYTES, Log
from common.events.record import Received, Record
from common.events.spec import Topic
from tests.contract.bus_contract import LogContract, Worker, nothing_to_hand_over, until, works

MIB = 1024 * 1024


def padded(record: Record, size: int) -> Record:
    """The same work, in so many bytes more."""
    return replace(record, value=record.value[:-1] + b',"padding":"' + b"x" * size + b'"}')


def in_hand() -> float:
    return REGISTRY.get_sample_value("sonant_bytes_in_hand", {"group": "workers"}) or 0.0


class ByteBudgetContract(LogContract):
    async def test_work_in_hand_is_bounded_in_bytes_and_all_of_it_is_done(
        self, log: Log, live: LiveWriter, topic: Topic
    ) -> None:
        """Handlers stand still with records of a MiB: only as many are taken in as the budget holds."""
        one = Topic(f"{topic.name}-one", partitions=1)
        await log.ensure([one])
        for record in works(one, range(24), keys=24):
            await log.publish(padded(record, MIB))
        gate = asyncio.Event()
        worker = Worker(held=dict.fromkeys(range(24), gate))
        async with self.consuming(log, live, one, worker, work_bytes=8 * MIB) as consumer:
            await until(lambda: in_hand() >= 8 * MIB)
            # Three times its bytes each: as it came, parsed, and written out; a fetch or two lie behind the bound.
            assert len(worker.started) <= 3 + 2 * FETCH_BYTES // MIB
            assert consumer.complaint() is None
            gate.set()
            await until(lambda: sorted(worker.numbers) == list(range(24)))
            await self.settled(log, one)
            assert in_hand() == 0

    async def test_a_record_beyond_the_budget_passes_alone(self, log: Log, live: LiveWriter, topic: Topic) -> None:
        records = works(topic, range(4), keys=4)
        await log.publish(*(padded(record, 2 * MIB) for record in records))
        worker = Worker()
        async with self.consuming(log, live, topic, worker, work_bytes=1 * MIB):
            await until(lambda: sorted(worker.numbers) == [0, 1, 2, 3])
            await self.settled(log, topic)

    async def test_a_poll_brings_in_a_bounded_number_of_bytes(self, log: Log, topic: Topic) -> None:
        """However small the records before were, and however many were asked for."""
        one = Topic(f"{topic.name}-one", partitions=1)
        await log.ensure([one])
        await log.publish(*works(one, range(50)))
        for number in range(12):
            await log.publish(*(padded(record, MIB) for record in works(one, [50 + number])))
        polls: list[list[Received]] = []
        async with log.subscribe([one], "workers", "one", nothing_to_hand_over) as subscription:

            async def all_came() -> None:
                while sum(map(len, polls)) < 62:
                    polls.append(list(await subscription.poll(200, 0.2)))

            await asyncio.wait_for(all_came(), 40)
        read = [record.offset for poll in polls for record in poll]
        assert len(set(read)) == 62
        # On Kafka one batch of the producer may come beside a full fetch.
        assert max(sum(len(record.value) for record in poll) for poll in polls) <= FETCH_BYTES + MIB

    async def test_the_largest_record_is_read(self, log: Log, topic: Topic) -> None:
        [record] = works(topic, [1])
        await log.publish(replace(record, value=os.urandom(MAX_VALUE_BYTES)))
        async with log.subscribe([topic], "workers", "one", nothing_to_hand_over) as subscription:
            taken: list[Received] = []

            async def one_came() -> None:
                while not taken:
                    taken.extend(await subscription.poll(200, 0.2))

            await asyncio.wait_for(one_came(), 40)
            assert len(taken[0].value) == MAX_VALUE_BYTES
            assert await subscription.lag() == 0
