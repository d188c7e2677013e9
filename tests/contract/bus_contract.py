"""What every log promises, as one test class: an adapter passes by inheriting it with a `log_url` fixture."""

import asyncio
import signal
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from common.bus.connect import open_log
from common.bus.live.writer import LiveWriter, open_writer
from common.bus.port import MAX_VALUE_BYTES, Log, RecordTooLargeError, Subscription
from common.events.backoff import NEVER, Backoff
from common.events.envelope import Event
from common.events.record import Partition, Received, Record
from common.events.spec import Topic
from common.failures import Halt, Park, Retry
from common.kernel.brake import Brake
from common.kernel.consumer import WORK_BYTES, Consumer
from common.kernel.handlers import on
from common.kernel.settings import CommonSettings
from common.storage.redis import open_redis
from sonant_cli.dlq import as_first_published
from sonant_cli.settled_letters import SETTLED, read_open, settle
from tests.contract.bus_member import Member, Work, work_requested
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
# Past the session of a crashed member: whoever waits this long waits in vain.
PATIENCE = 40.0


async def nothing_to_hand_over(partitions: frozenset[Partition]) -> None:
    del partitions


def works(topic: Topic, numbers: Sequence[int], *, keys: int = 1) -> list[Record]:
    """Records of work, their numbers dealt to the keys in turn."""
    requested = work_requested(topic)
    return [Event(requested, Work(key=f"k{number % keys}", number=number)).record() for number in numbers]


def work(topic: Topic, number: int, org_id: str) -> Record:
    """A record of one organisation's work."""
    return Event(work_requested(topic), Work(key=org_id, number=number, org_id=org_id)).record()


async def take(subscription: Subscription, count: int) -> list[Received]:
    """Poll until there are `count` records at least."""
    records: list[Received] = []

    async def enough() -> bool:
        records.extend(await subscription.poll(100, 0.2))
        return len(records) >= count

    await until(enough)
    return records


async def until(check: Callable[[], object]) -> None:
    await eventually(check, timeout=PATIENCE)


@dataclass
class Worker:
    """The handler's side of a test: what it was given and finished, and what it is to do."""

    finished: list[tuple[str, int]] = field(default_factory=list)
    started: list[int] = field(default_factory=list)
    tries: Counter[int] = field(default_factory=Counter)
    held: dict[int, asyncio.Event] = field(default_factory=dict)
    poison: frozenset[int] = frozenset()
    flaky: frozenset[int] = frozenset()
    broken: bool = False
    seconds: float = 0.0

    @property
    def numbers(self) -> list[int]:
        return [number for _, number in self.finished]


async def on_work(event: Event[Work], worker: Worker) -> None:
    number = event.payload.number
    worker.started.append(number)
    worker.tries[number] += 1
    if worker.broken:
        raise Halt("the disk is gone")
    if number in worker.poison:
        raise Park("cannot be done")
    if number in worker.flaky:
        raise Retry("not now")
    if number in worker.held:
        await worker.held[number].wait()
    await asyncio.sleep(worker.seconds)
    worker.finished.append((event.payload.key, number))


class LogContract:
    """Inherited by one class per adapter, which gives `log_url` (a session's engine) and may add its own."""

    @pytest.fixture
    async def log(self, log_url: str, valkey_url: str) -> AsyncIterator[Log]:
        async with self.opened(log_url, valkey_url) as log:
            yield log

    @asynccontextmanager
    async def opened(self, log_url: str, valkey_url: str) -> AsyncIterator[Log]:
        settings = CommonSettings(log_url=log_url, redis_url=valkey_url)
        async with open_redis(valkey_url) as redis, open_log(settings, redis) as log:
            yield log

    @pytest.fixture
    async def live(self, valkey_url: str) -> AsyncIterator[LiveWriter]:
        async with open_writer(valkey_url) as live:
            yield live

    @pytest.fixture
    async def topic(self, log: Log) -> Topic:
        """A topic of the test's own, with its dead-letter twin."""
        topic = Topic(f"contract-{uuid.uuid4().hex}", partitions=3)
        await log.ensure([topic, topic.dead_letters])
        return topic

    @asynccontextmanager
    async def consuming(
        self,
        log: Log,
        live: LiveWriter,
        topic: Topic,
        worker: Worker,
        *,
        instance: str = "one",
        retry: Backoff = NEVER,
        drain_seconds: float = 10.0,
        brake: Brake | None = None,
        concurrency: int = 1000,
        work_bytes: int = WORK_BYTES,
        halt_seconds: float = 10.0,
        hold_seconds: float = 300.0,
    ) -> AsyncIterator[Consumer]:
        """The kernel's consumer at work; leaving the context stops it and waits for its end."""
        consumer = Consumer(
            log=log,
            live=live,
            group="workers",
            instance=instance,
            handlers=[on(work_requested(topic, retry), on_work)],
            deps=worker,
            drain_seconds=drain_seconds,
            brake=brake,
            concurrency=concurrency,
            work_bytes=work_bytes,
            halt_seconds=halt_seconds,
            hold_seconds=hold_seconds,
        )
        running = asyncio.create_task(consumer.run())
        try:
            yield consumer
        finally:
            consumer.stop()
            await running

    async def lag(self, log: Log, topic: Topic) -> int | None:
        """Records the group `workers` has not acknowledged; None before it committed anything."""
        statuses = await log.status([topic])
        return statuses[0].lag.get("workers") if statuses else None

    async def settled(self, log: Log, topic: Topic, left: int = 0) -> None:
        """Wait until the group has acknowledged all but `left` records."""

        async def acknowledged() -> bool:
            return await self.lag(log, topic) == left

        await until(acknowledged)

    # -- what travels -------------------------------------------------------------------------------------

    async def test_a_record_comes_back_as_it_was_published(self, log: Log, topic: Topic) -> None:
        record = Record(topic.name, "schlüssel", b"\x00\xff{}", {"event-id": "1", "note": "größe"})
        await log.publish(record)
        [read] = await log.read(topic, limit=10)
        assert Record(read.topic, read.key, read.value, read.headers) == record
        assert read.partition.topic == topic.name
        assert read.timestamp > 1_700_000_000

    async def test_a_large_record_passes_and_a_larger_one_is_refused_for_good(self, log: Log, topic: Topic) -> None:
        [record] = works(topic, [1])
        largest = replace(record, value=b"x" * MAX_VALUE_BYTES)
        await log.publish(largest)
        with pytest.raises(RecordTooLargeError, match=topic.name):
            await log.publish(record, replace(largest, value=largest.value + b"x"))
        # Its dead letter says more in its headers.
        passport = {f"dlq-{number}": "y" * 500 for number in range(10)}
        await log.publish(replace(largest, headers={**record.headers, **passport}))
        assert [len(read.value) for read in await log.read(topic, limit=9)] == [MAX_VALUE_BYTES] * 2

    async def test_order_per_key(self, log: Log, topic: Topic) -> None:
        records = works(topic, range(300), keys=7)
        for start in range(0, 300, 50):
            await log.publish(*records[start : start + 50])
        async with log.subscribe([topic], "workers", "one", nothing_to_hand_over) as subscription:
            taken = await take(subscription, 300)
        assert len(taken) == 300
        for key in {record.key for record in records}:
            assert [r.value for r in taken if r.key == key] == [r.value for r in records if r.key == key]

    async def test_many_publishers_at_once_are_all_acknowledged(self, log: Log, topic: Topic) -> None:
        await asyncio.gather(*(log.publish(record) for record in works(topic, range(500), keys=20)))
        assert len(await log.read(topic, limit=1000)) == 500

    async def test_reading_pages_through_a_topic(self, log: Log, topic: Topic) -> None:
        await log.publish(*works(topic, range(40), keys=5))
        seen: list[bytes] = []
        after: dict[int, str] = {}
        while page := await log.read(topic, limit=7, after=after):
            assert len(page) <= 7
            seen += [record.value for record in page]
            after |= {record.partition.number: record.offset for record in page}
        assert sorted(seen) == sorted(record.value for record in works(topic, range(40), keys=5))

    async def test_an_unknown_topic_has_no_status_and_no_records(self, log: Log) -> None:
        unknown = Topic(f"contract-{uuid.uuid4().hex}")
        assert await log.status([unknown]) == []
        assert await log.read(unknown, limit=1) == []

    # -- membership and offsets ---------------------------------------------------------------------------

    async def test_what_was_not_committed_comes_again(self, log: Log, topic: Topic) -> None:
        await log.publish(*works(topic, range(10)))
        async with log.subscribe([topic], "workers", "one", nothing_to_hand_over) as subscription:
            taken = await take(subscription, 10)
            await subscription.commit({taken[3].partition: taken[3].offset})
        async with log.subscribe([topic], "workers", "one", nothing_to_hand_over) as subscription:
            again = await take(subscription, 6)
        assert [record.offset for record in again] == [record.offset for record in taken[4:]]

    async def test_groups_do_not_see_each_other(self, log: Log, topic: Topic) -> None:
        await log.publish(*works(topic, range(5)))
        for group in ("workers", "others"):
            async with log.subscribe([topic], group, "one", nothing_to_hand_over) as subscription:
                taken = await take(subscription, 5)
                await subscription.commit({record.partition: record.offset for record in taken})
        [status] = await log.status([topic])
        assert (status.length, status.lag) == (5, {"workers": 0, "others": 0})

    async def test_an_empty_poll_fetches_nothing(self, log: Log, topic: Topic) -> None:
        await log.publish(*works(topic, range(5)))
        async with log.subscribe([topic], "workers", "one", nothing_to_hand_over) as subscription:
            assert await subscription.poll(0, 0.05) == []
            assert len(await take(subscription, 5)) == 5

    async def test_a_member_that_leaves_makes_room_at_once(self, log: Log, topic: Topic) -> None:
        await log.publish(*works(topic, range(5)))
        async with log.subscribe([topic], "workers", "one", nothing_to_hand_over) as subscription:
            await take(subscription, 5)
        async with log.subscribe([topic], "workers", "two", nothing_to_hand_over) as subscription:
            await take(subscription, 5)

    # -- crashes ------------------------------------------------------------------------------------------

    async def test_kill_of_a_consumer_loses_nothing(
        self, log: Log, topic: Topic, log_url: str, valkey_url: str, tmp_path: Path
    ) -> None:
        """A process is killed in mid-work twice and started again under its name."""
        total = 300
        await log.publish(*works(topic, range(total), keys=30))
        done = tmp_path / "done"
        member = Member(log_url, valkey_url, topic.name, topic.partitions, "workers", "one", 0.02, str(done))
        for killed_after in (40, 120):
            with a_process(member) as process:
                await finishes(done, killed_after)
                process.kill()
                process.wait()
        with a_process(member) as process:
            await finishes(done, total)
            await self.settled(log, topic)
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        assert finished_work(done) == {(f"k{number % 30}", number) for number in range(total)}

    # -- handling -----------------------------------------------------------------------------------------

    async def test_one_slow_key_holds_up_neither_the_others_nor_its_offset(
        self, log: Log, live: LiveWriter, topic: Topic
    ) -> None:
        """Many records of a partition are in flight; the offset stays before the first unfinished one."""
        one = Topic(f"{topic.name}-one", partitions=1)
        await log.ensure([one])
        worker = Worker(held={3: asyncio.Event()})
        async with self.consuming(log, live, one, worker):
            await log.publish(*works(one, range(20), keys=10))
            await until(lambda: len(worker.finished) == 18)
            assert 13 not in worker.started, "of the same key, and therefore after it"
            await self.settled(log, one, left=17)
            worker.held[3].set()
            await self.settled(log, one)
        assert worker.numbers[-2:] == [3, 13]

    async def test_a_record_that_cannot_work_is_parked_with_its_passport(
        self, log: Log, live: LiveWriter, topic: Topic
    ) -> None:
        records = works(topic, range(5))
        worker = Worker(poison=frozenset({2}))
        await log.publish(*records)
        async with self.consuming(log, live, topic, worker):
            await self.settled(log, topic)
        assert worker.numbers == [0, 1, 3, 4]
        [letter] = await log.read(topic.dead_letters, limit=10)
        assert (letter.key, letter.value) == (records[2].key, records[2].value)
        assert records[2].headers.items() <= letter.headers.items()
        [original] = [read for read in await log.read(topic, limit=10) if read.value == records[2].value]
        assert letter.headers["dlq-topic"] == topic.name
        assert letter.headers["dlq-partition"] == str(original.partition.number)
        assert letter.headers["dlq-offset"] == original.offset
        assert letter.headers["dlq-handler"] == f"{__name__}.on_work"
        assert letter.headers["dlq-error"] == "Park"
        assert letter.headers["dlq-message"] == "cannot be done"
        assert letter.headers["dlq-attempts"] == "1"
        assert float(letter.headers["dlq-first-failure"]) <= float(letter.headers["dlq-last-failure"])

    async def test_what_does_not_fit_its_schema_is_parked(self, log: Log, live: LiveWriter, topic: Topic) -> None:
        [good] = works(topic, [1])
        await log.publish(Record(topic.name, "k", b"not json", good.headers), good)
        worker = Worker()
        async with self.consuming(log, live, topic, worker):
            await self.settled(log, topic)
        assert worker.numbers == [1]
        [letter] = await log.read(topic.dead_letters, limit=10)
        assert (letter.value, letter.headers["dlq-error"]) == (b"not json", "ValidationError")

    async def test_retries_are_used_up_before_a_record_is_parked(
        self, log: Log, live: LiveWriter, topic: Topic
    ) -> None:
        await log.publish(*works(topic, range(3)))
        worker = Worker(flaky=frozenset({1}))
        async with self.consuming(log, live, topic, worker, retry=Backoff(attempts=2, first=0.01)):
            await self.settled(log, topic)
        assert worker.tries == {0: 1, 1: 3, 2: 1}
        assert worker.numbers == [0, 2]
        [letter] = await log.read(topic.dead_letters, limit=10)
        assert letter.headers["dlq-attempts"] == "3"

    async def test_the_brake_keeps_a_topic_from_being_moved_aside(
        self, log: Log, live: LiveWriter, topic: Topic
    ) -> None:
        """All of one key, so that they fail one after the other; once the cause is gone all are handled."""
        await log.publish(*works(topic, range(12)))
        worker = Worker(poison=frozenset(range(12)))
        brake = Brake(run=4, open_seconds=0.5)
        async with self.consuming(log, live, topic, worker, brake=brake):
            await until(lambda: brake.open_scopes and worker.tries[4] > 1)
            assert len(await log.read(topic.dead_letters, limit=100)) == 4
            assert await self.lag(log, topic) == 8
            assert worker.started[-1] == 4, "one probe at a time"
            worker.poison = frozenset()
            await self.settled(log, topic)
        assert worker.numbers == list(range(4, 12))
        assert brake.open_scopes == 0

    async def test_the_brake_of_one_organisation_holds_up_no_other(
        self, log: Log, live: LiveWriter, topic: Topic
    ) -> None:
        worker = Worker(poison=frozenset(range(100)))
        brake = Brake(run=4)
        async with self.consuming(log, live, topic, worker, brake=brake) as consumer:
            await log.publish(*(work(topic, number, "acme") for number in range(40)))
            await until(lambda: brake.open_scopes)
            await log.publish(*(work(topic, number, "quiet") for number in range(100, 140)))
            await until(lambda: worker.numbers == list(range(100, 140)))
            assert (consumer.halted, consumer.complaint()) == (None, None)

    async def test_what_a_brake_holds_gives_way_when_the_consumer_is_full(
        self, log: Log, live: LiveWriter, topic: Topic
    ) -> None:
        worker = Worker(poison=frozenset(range(100)))
        brake = Brake(run=4)
        async with self.consuming(log, live, topic, worker, brake=brake, concurrency=10):
            await log.publish(*(work(topic, number, "acme") for number in range(40)))
            await until(lambda: brake.open_scopes)
            await log.publish(work(topic, 100, "quiet"))
            await until(lambda: worker.numbers == [100])

    async def test_what_a_brake_holds_gives_way_in_the_end(self, log: Log, live: LiveWriter, topic: Topic) -> None:
        """Until then nothing behind it is committed, and the log has to keep it all."""
        worker = Worker(poison=frozenset(range(6)))
        async with self.consuming(log, live, topic, worker, brake=Brake(run=4), hold_seconds=0.3):
            await log.publish(*works(topic, range(8)))
            await self.settled(log, topic)
        assert worker.numbers == [6, 7]
        assert len(await log.read(topic.dead_letters, limit=100)) == 6

    async def test_a_halt_ends_by_itself(self, log: Log, live: LiveWriter, topic: Topic) -> None:
        await log.publish(*works(topic, range(3)))
        worker = Worker(broken=True)
        async with self.consuming(log, live, topic, worker, halt_seconds=0.2) as consumer:
            await until(lambda: consumer.complaint() == "halted: the disk is gone")
            await until(lambda: worker.tries[0] > 1)
            worker.broken = False
            await self.settled(log, topic)
            assert consumer.complaint() is None
        assert worker.numbers == [0, 1, 2]

    async def test_a_parked_record_is_handled_when_it_is_replayed(
        self, log: Log, live: LiveWriter, topic: Topic
    ) -> None:
        await log.publish(*works(topic, range(3)))
        worker = Worker(poison=frozenset({1}))
        async with self.consuming(log, live, topic, worker):
            await self.settled(log, topic)
            worker.poison = frozenset()
            letters = await log.read(topic.dead_letters, limit=10)
            await log.publish(*(as_first_published(letter) for letter in letters))
            await until(lambda: worker.numbers == [0, 2, 1])
            await self.settled(log, topic)

    async def test_dead_letters_that_are_settled_are_open_no_more(self, log: Log, topic: Topic) -> None:
        twin = topic.dead_letters
        letters = [replace(record, topic=twin.name) for record in works(topic, range(7))]
        await log.publish(*letters, Record(twin.name, SETTLED, b"not ours", {SETTLED: "replayed"}))
        found = await read_open(log, twin)
        assert [letter.value for letter in found] == [letter.value for letter in letters]
        await settle(log, twin, found[:3], "replayed")
        await settle(log, twin, found[4:], "purged")
        assert await read_open(log, twin) == [found[3]]
        # What fails again is a letter of its own.
        await log.publish(letters[0])
        again = await read_open(log, twin)
        assert [letter.value for letter in again] == [letters[3].value, letters[0].value]

    async def test_draining_finishes_and_commits_what_is_in_hand(
        self, log: Log, live: LiveWriter, topic: Topic
    ) -> None:
        worker = Worker(held={number: asyncio.Event() for number in range(5)})
        async with self.consuming(log, live, topic, worker) as consumer:
            await log.publish(*works(topic, range(5), keys=5))
            await until(lambda: len(worker.started) == 5)
            consumer.stop()
            for event in worker.held.values():
                event.set()
        assert sorted(worker.numbers) == list(range(5))
        assert await self.lag(log, topic) == 0
        await log.publish(*works(topic, range(5, 8), keys=5))
        async with self.consuming(log, live, topic, worker):
            await self.settled(log, topic)
        assert sorted(worker.numbers) == list(range(8)), "each was handled once"

    async def test_what_outlasts_the_drain_is_handled_again(self, log: Log, live: LiveWriter, topic: Topic) -> None:
        worker = Worker(held={2: asyncio.Event()})
        async with self.consuming(log, live, topic, worker, drain_seconds=0.2):
            await log.publish(*works(topic, range(4), keys=4))
            await until(lambda: len(worker.started) == 4 and len(worker.finished) == 3)
        assert sorted(worker.numbers) == [0, 1, 3]
        worker.held[2].set()
        async with self.consuming(log, live, topic, worker):
            await until(lambda: 2 in worker.numbers)
            await self.settled(log, topic)


@contextmanager
def a_process(member: Member) -> Iterator["subprocess.Popen[bytes]"]:
    """A consumer in a process of its own; killed on leaving if it still runs."""
    command = [sys.executable, "-m", "tests.contract.bus_member", member.as_argument()]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def finished_work(done: Path) -> set[tuple[str, int]]:
    """What the processes have finished, each once however often it was."""
    if not done.exists():
        return set()
    lines = [line.split() for line in done.read_text().splitlines()]
    return {(key, int(number)) for key, number in lines}


async def finishes(done: Path, count: int) -> None:
    await until(lambda: len(finished_work(done)) >= count)
