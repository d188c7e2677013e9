"""Appending to Kafka: acknowledged by all replicas, once each, within a bounded time, through outages."""

import asyncio
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from common.bus.kafka_access import KafkaAccess
from common.bus.kafka_client import FAILURES, abandon
from common.bus.port import (
    MAX_RECORD_BYTES,
    PUBLISH_TIMEOUT,
    BusUnavailableError,
    RecordTooLargeError,
    UnconfirmedError,
    check_sizes,
)
from common.events.record import Record, raw

# What gathers for a partition while a request is under way. Publishers that find it full wait in a crowd that is
# woken as one, so it holds more than a crowd brings.
BATCH_BYTES = 1024 * 1024


class KafkaPublisher:
    """One idempotent producer at a time, replaced when it fails.

    An idempotent producer never gives a record up by itself and does not recover from a lost sequence
    (aiokafka #1017), so after a publish that was not acknowledged in time a fresh one takes over.
    """

    def __init__(self, access: KafkaAccess) -> None:
        self._access = access
        self._producer: asyncio.Task[AIOKafkaProducer] | None = None
        self._abandoning: set[asyncio.Task[None]] = set()

    async def publish(self, records: Sequence[Record]) -> None:
        """Append in order; raises BusUnavailableError, or RecordTooLargeError."""
        check_sizes(records)
        if self._producer is None:
            self._producer = asyncio.create_task(self._start(), name="kafka-producer-start")
        starting = self._producer
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT):
                await _append(await asyncio.shield(starting), records)
        except MessageSizeTooLargeError as error:
            # A topic that was made by hand may take less.
            raise RecordTooLargeError(str(error)) from error
        except FAILURES as error:
            self._replace(starting)
            if not starting.done() or starting.cancelled() or starting.exception() is not None:
                raise BusUnavailableError(f"the log does not answer: {error!r}") from error
            raise UnconfirmedError(f"the log did not acknowledge: {error!r}") from error

    async def _start(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            **self._access.arguments,
            acks="all",
            enable_idempotence=True,
            linger_ms=0,
            request_timeout_ms=int(PUBLISH_TIMEOUT * 1000),
            max_batch_size=BATCH_BYTES,
            max_request_size=MAX_RECORD_BYTES,
        )
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT):
                await producer.start()
        except BaseException:
            await producer.stop()
            raise
        return producer

    def _replace(self, failed: "asyncio.Task[AIOKafkaProducer]") -> None:
        if self._producer is not failed:
            return
        self._producer = None
        task = asyncio.create_task(_abandon(failed), name="kafka-producer-abandon")
        self._abandoning.add(task)
        task.add_done_callback(self._abandoning.discard)

    async def close(self) -> None:
        """Flush for as long as a publish may take, then hang up."""
        if self._producer is not None:
            await _close(self._producer)
        if self._abandoning:
            await asyncio.wait(self._abandoning)


async def _append(producer: AIOKafkaProducer, records: Sequence[Record]) -> None:
    acknowledged: list[asyncio.Future[object]] = []
    try:
        for record in records:
            headers = [(name, raw(text)) for name, text in record.headers.items()]
            acknowledged.append(await producer.send(record.topic, record.value, key=raw(record.key), headers=headers))
        await asyncio.gather(*acknowledged)
    finally:
        for future in acknowledged:
            future.cancel()


async def _abandon(starting: "asyncio.Task[AIOKafkaProducer]") -> None:
    try:
        await abandon(await starting)
    except FAILURES:
        return


async def _close(starting: "asyncio.Task[AIOKafkaProducer]") -> None:
    try:
        producer = await starting
        async with asyncio.timeout(PUBLISH_TIMEOUT):
            await producer.flush()
        await producer.stop()
    except FAILURES:
        await _abandon(starting)
