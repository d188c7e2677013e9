"""One member of a Kafka consumer group: static, committing by hand, rejoining by itself when its client breaks."""

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.errors import CommitFailedError, CorruptRecordException, IllegalStateError
from aiokafka.structs import ConsumerRecord, TopicPartition

from common.bus.kafka_access import KafkaAccess
from common.bus.kafka_client import ANSWER_SECONDS, FAILURES, leave_group, stop
from common.bus.port import FETCH_BYTES, BusUnavailableError, Revoked
from common.events.record import Partition, Received, text

# How often a quiet subscription asks whether the broker is still there.
PING_SECONDS = 1.0
# Records wait, the broker answers, and yet none came for this long: the client is wedged (aiokafka #625, #847, #1037).
WEDGED_SECONDS = 15.0
# Members learn of a rebalance from their next heartbeat.
HEARTBEAT_MS = 500
# A partition just read from joins the next fetch only when the one under way returns, so an idle fetch stays short.
FETCH_WAIT_MS = 50
# The client keeps what it has fetched of each partition until it is asked for: no more than this, or one batch of its
# producer.
PARTITION_BYTES = 512 * 1024
# Records that are expected to be at least so large, until larger ones were seen.
LEAST_RECORD_BYTES = 16 * 1024
# Liveness is judged by progress elsewhere; a full consumer that waits for its handlers must not lose its partitions.
NO_POLL_LIMIT_MS = 24 * 3600 * 1000

# What the client raises over a record that it cannot decode.
UNREADABLE = (UnicodeDecodeError, CorruptRecordException)


def received(record: "ConsumerRecord[bytes, bytes]") -> Received:
    """A record of the client as the port knows it, whatever bytes it has."""
    try:
        fault = None
        key = (record.key or b"").decode()
        headers = {name: value.decode() for name, value in record.headers}
    except (UnicodeDecodeError, AttributeError):
        # A header may also be without any value.
        fault = "its key or a header is not UTF-8"
        key = text(record.key or b"")
        headers = {name: text(value or b"") for name, value in record.headers}
    return Received(
        topic=record.topic,
        key=key,
        value=record.value or b"",
        headers=headers,
        partition=Partition(record.topic, record.partition),
        offset=str(record.offset),
        timestamp=record.timestamp / 1000,
        fault=fault,
    )


def _not_handed_out(at: TopicPartition, offset: int, error: Exception) -> Received:
    return Received(
        topic=at.topic,
        key="",
        value=b"",
        headers={},
        partition=Partition(*at),
        offset=str(offset),
        timestamp=time.time(),
        fault=f"the Kafka client cannot read it: {error!r}",
    )


class _WedgedError(Exception):
    """The client neither fetches nor fails."""


class KafkaSubscription(ConsumerRebalanceListener):
    """The port `common.bus.port.Subscription` on a client that is made anew when it breaks."""

    def __init__(
        self,
        access: KafkaAccess,
        topics: Sequence[str],
        group: str,
        instance: str,
        revoked: Revoked,
        *,
        session_seconds: float,
        rebalance_seconds: float,
    ) -> None:
        self._access = access
        self._topics = topics
        self._group = group
        self._instance = instance
        self._revoked = revoked
        self._session_seconds = session_seconds
        self._rebalance_seconds = rebalance_seconds
        self._consumer: AIOKafkaConsumer | None = None
        self._handover_error: BaseException | None = None
        self._rebalancing = True
        self._heard_at = 0.0
        self._moved_at = 0.0
        # Behind the last record handed on of each partition, since it was assigned.
        self._next: dict[TopicPartition, int] = {}
        # About the largest of the records read lately: the client counts records and not bytes.
        self._record_bytes = LEAST_RECORD_BYTES
        # Since when commits have been failing without one success between; None while they work.
        self._refused_since: float | None = None

    async def poll(self, max_records: int, timeout: float) -> Sequence[Received]:
        consumer = self._consumer or await self._join()
        if self._handover_error is not None:
            raise self._handover_error
        if max_records == 0:
            await asyncio.sleep(timeout)
            self._moved_at = time.monotonic()
            return []
        if self._refused_since is not None and time.monotonic() - self._refused_since > WEDGED_SECONDS:
            self._refused_since = None
            await self._drop(consumer)
            raise BusUnavailableError("the Kafka client could not commit any more and was replaced")
        try:
            # Nothing may be awaited between the client handing records out and our returning them: a
            # rebalance that starts in between would not know that they are in hand.
            records = await self._fetch(consumer, self._at_most(max_records), timeout)
            if not records:
                await self._check(consumer)
        except _WedgedError as error:
            await self._drop(consumer)
            raise BusUnavailableError("the Kafka client got stuck and was replaced") from error
        except FAILURES as error:
            if not getattr(error, "retriable", True):
                await self._drop(consumer)
            raise BusUnavailableError(f"the log cannot be read: {error!r}") from error
        return records

    def _at_most(self, max_records: int) -> int:
        """As many as fit into `FETCH_BYTES` if they are as large as those before.

        Where they are larger, what the client holds bounds them: a fetch, or one batch, of each partition.
        """
        return max(1, min(max_records, FETCH_BYTES // self._record_bytes))

    async def _join(self) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            **self._access.arguments,
            client_id=self._instance,
            group_id=self._group,
            group_instance_id=self._instance,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=int(self._session_seconds * 1000),
            heartbeat_interval_ms=min(HEARTBEAT_MS, int(self._session_seconds * 1000) // 3),
            rebalance_timeout_ms=int(self._rebalance_seconds * 1000),
            # Joining is answered when the last member has joined.
            request_timeout_ms=int((self._rebalance_seconds + ANSWER_SECONDS) * 1000),
            max_poll_interval_ms=NO_POLL_LIMIT_MS,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            fetch_max_bytes=FETCH_BYTES,
            max_partition_fetch_bytes=PARTITION_BYTES,
        )
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await consumer.start()
        except FAILURES as error:
            await stop(consumer)
            raise BusUnavailableError(f"the log cannot be joined: {error!r}") from error
        except asyncio.CancelledError:
            await stop(consumer)
            raise
        self._rebalancing = True
        self._moved_at = time.monotonic()
        consumer.subscribe(list(self._topics), listener=self)
        self._consumer = consumer
        return consumer

    async def _fetch(self, consumer: AIOKafkaConsumer, max_records: int, timeout: float) -> list[Received]:
        try:
            # During a rebalance the client waits for its end, however long the timeout it was given.
            async with asyncio.timeout(timeout + FETCH_WAIT_MS / 1000):
                batches = await consumer.getmany(timeout_ms=int(timeout * 1000), max_records=max_records)
        except TimeoutError:
            return []
        except UNREADABLE:
            return await self._fetch_around(consumer)
        return self._handed_on(batches)

    def _handed_on(self, batches: "Mapping[TopicPartition, list[ConsumerRecord[bytes, bytes]]]") -> list[Received]:
        if batches:
            self._heard_at = self._moved_at = time.monotonic()
        for at, batch in batches.items():
            self._next[at] = batch[-1].offset + 1
        records = [received(record) for batch in batches.values() for record in batch]
        if records:
            largest = max(len(record.value) for record in records)
            self._record_bytes = max(LEAST_RECORD_BYTES, largest, self._record_bytes // 2)
        return records

    async def _fetch_around(self, consumer: AIOKafkaConsumer) -> list[Received]:
        """One record where the client fails on a batch: the next before the one it cannot read, or that one.

        The client decodes the names of headers itself. Of a record whose names are no UTF-8 it hands out nothing, so
        what is parked says where it lies. When it fails over one partition, it has lost what it had from the others:
        each is read again from behind what was handed on.
        """
        for at in consumer.assignment():
            consumer.seek(at, await self._resume_at(consumer, at))
        for at in consumer.assignment():
            try:
                batches = await consumer.getmany(at, timeout_ms=2 * FETCH_WAIT_MS, max_records=1)
            except UNREADABLE as error:
                offset = await consumer.position(at)
                consumer.seek(at, offset + 1)
                self._next[at] = offset + 1
                self._heard_at = self._moved_at = time.monotonic()
                return [_not_handed_out(at, offset, error)]
            if batches:
                return self._handed_on(batches)
        return []

    async def _resume_at(self, consumer: AIOKafkaConsumer, at: TopicPartition) -> int:
        if at in self._next:
            return self._next[at]
        committed: int | None = await consumer.committed(at)
        if committed is not None:
            return committed
        return int((await consumer.beginning_offsets([at]))[at])

    async def _check(self, consumer: AIOKafkaConsumer) -> None:
        """After an empty poll: is the broker there, and is this client still part of it?"""
        if time.monotonic() - self._heard_at > PING_SECONDS:
            await self._ping(consumer)
        still = time.monotonic() - self._moved_at
        if self._rebalancing:
            if still > self._rebalance_seconds + WEDGED_SECONDS:
                raise _WedgedError
        elif still > WEDGED_SECONDS:
            if await self.lag():
                raise _WedgedError
            self._moved_at = time.monotonic()

    async def _ping(self, consumer: AIOKafkaConsumer) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await consumer.topics()
        except FAILURES as error:
            # The client finds back by itself; whether it has is judged from when the broker is back.
            self._moved_at = time.monotonic()
            raise BusUnavailableError(f"the log does not answer: {error!r}") from error
        self._heard_at = time.monotonic()

    async def _drop(self, consumer: AIOKafkaConsumer) -> None:
        """Give this client up; what it held will come again, from behind the committed offsets."""
        await self.on_partitions_revoked(consumer.assignment())
        self._consumer = None
        await stop(consumer)

    async def commit(self, offsets: Mapping[Partition, str]) -> None:
        consumer = self._consumer
        if consumer is None:
            raise BusUnavailableError("the log is being joined")
        owned = consumer.assignment()
        finished = {TopicPartition(*partition): int(offset) + 1 for partition, offset in offsets.items()}
        finished = {partition: offset for partition, offset in finished.items() if partition in owned}
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                if finished:
                    await consumer.commit(finished)
            self._refused_since = None
        except (CommitFailedError, IllegalStateError):
            # The partitions have moved on meanwhile; their next owner starts behind the last commit.
            return
        except FAILURES as error:
            self._refused_since = self._refused_since or time.monotonic()
            raise BusUnavailableError(f"the log did not take the commit: {error!r}") from error

    async def lag(self) -> int | None:
        consumer = self._consumer
        if consumer is None or self._rebalancing:
            return None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                ends: Mapping[TopicPartition, int] = await consumer.end_offsets(list(consumer.assignment()))
                behind: list[int] = [end - await consumer.position(partition) for partition, end in ends.items()]
                return sum(behind)
        except FAILURES:
            return None

    async def leave(self) -> None:
        """Leave the group for good, at once where the broker answers."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await leave_group(consumer)

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        self._rebalancing = True
        self._moved_at = time.monotonic()
        for at in revoked:
            self._next.pop(at, None)
        if revoked:
            # The client would swallow what fails in here; kept, it ends the next poll.
            handover = asyncio.ensure_future(self._revoked(frozenset(Partition(*at) for at in revoked)))
            await asyncio.wait([handover])
            self._handover_error = handover.exception()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        del assigned
        self._rebalancing = False
        self._moved_at = time.monotonic()
