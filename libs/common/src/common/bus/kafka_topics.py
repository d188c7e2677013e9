"""Kafka topics outside any group: created and verified from their declarations, counted, read back."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaConnectionError, TopicAlreadyExistsError, for_code
from aiokafka.structs import TopicPartition

from common.bus.kafka_access import KafkaAccess
from common.bus.kafka_client import FAILURES, is_nobody, refusal
from common.bus.kafka_subscription import received
from common.bus.port import MAX_RECORD_BYTES, BusUnavailableError, LogRefusedError, TopicMismatchError, TopicStatus
from common.events.record import Received
from common.events.spec import Topic

REQUEST_MS = 5_000
# Reading back a page of records; a topic that takes longer is not readable.
READ_SECONDS = 10.0
# A topic just created becomes visible to every broker within moments.
VISIBLE_SECONDS = 5.0
UNLIMITED = -1

Metadata = Mapping[str, Mapping[str, Any]]


@asynccontextmanager
async def _unavailable(doing: str) -> AsyncIterator[None]:
    try:
        yield
    except FAILURES as error:
        raise BusUnavailableError(f"the log does not answer while {doing}: {error!r}") from error


@asynccontextmanager
async def _admin(access: KafkaAccess) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**access.arguments, request_timeout_ms=REQUEST_MS)
    try:
        await _start(admin, access)
        yield admin
    finally:
        await admin.close()


async def _start(admin: AIOKafkaAdminClient, access: KafkaAccess) -> None:
    try:
        await admin.start()
    except KafkaConnectionError as error:
        if why := await refusal(access):
            raise LogRefusedError(f"the log refuses us: {why}") from error
        raise
    if is_nobody(admin):
        raise LogRefusedError("the log refuses us: it does not take our login")


@asynccontextmanager
async def _reader(access: KafkaAccess) -> AsyncIterator[AIOKafkaConsumer]:
    reader = AIOKafkaConsumer(**access.arguments, request_timeout_ms=REQUEST_MS)
    try:
        await reader.start()
        yield reader
    finally:
        await reader.stop()


async def ping(access: KafkaAccess) -> None:
    """Return if a broker answers; raises BusUnavailableError, LogRefusedError where one does not let us in."""
    async with _unavailable("pinged"), _admin(access):
        return


# -- declarations -------------------------------------------------------------------------------------------


async def ensure(access: KafkaAccess, topics: Sequence[Topic], replication: int) -> None:
    """Create what is missing, verify the rest; raises TopicMismatchError, BusUnavailableError."""
    async with _unavailable("topics are created"), _admin(access) as admin:
        present = await _metadata(admin)
        await _create(admin, [topic for topic in topics if topic.name not in present], replication)
        present = await _visible(admin, topics)
        configs = await _configs(admin, topics)
    for topic in topics:
        _verify(topic, replication, present[topic.name]["partitions"], configs[topic.name])


def _settings(topic: Topic) -> dict[str, int]:
    """The topic settings its declaration implies, each a lower bound."""
    return {
        "retention.ms": int(topic.retention.total_seconds() * 1000),
        "max.message.bytes": MAX_RECORD_BYTES,
    }


async def _create(admin: AIOKafkaAdminClient, topics: Sequence[Topic], replication: int) -> None:
    if not topics:
        return
    # One replica may be away without holding up a publish, and an acknowledged record is on all others.
    durable = {"min.insync.replicas": str(max(1, replication - 1))}
    wanted = [
        NewTopic(
            topic.name,
            topic.partitions,
            replication,
            topic_configs={**durable, **{name: str(value) for name, value in _settings(topic).items()}},
        )
        for topic in topics
    ]
    answer: Any = await admin.create_topics(wanted)
    for name, code, message in answer.topic_errors:
        # Another service that starts at the same time may have been faster.
        if code and for_code(code) is not TopicAlreadyExistsError:
            raise for_code(code)(f"{name}: {message}")


async def _metadata(admin: AIOKafkaAdminClient) -> Metadata:
    # All topics are asked for: asking for one by name may create it, with the broker's defaults.
    return {described["topic"]: described for described in await admin.describe_topics()}


async def _visible(admin: AIOKafkaAdminClient, topics: Sequence[Topic]) -> Metadata:
    async with asyncio.timeout(VISIBLE_SECONDS):
        while True:
            present = await _metadata(admin)
            if all(topic.name in present for topic in topics):
                return present
            await asyncio.sleep(0.05)


async def _configs(admin: AIOKafkaAdminClient, topics: Sequence[Topic]) -> dict[str, dict[str, int]]:
    names = {name: "" for topic in topics for name in _settings(topic)}
    answers: Sequence[Any] = await admin.describe_configs(
        [ConfigResource(ConfigResourceType.TOPIC, topic.name, configs=names) for topic in topics]
    )
    return {
        resource[3]: {entry[0]: int(entry[1]) for entry in resource[4]}
        for answer in answers
        for resource in answer.resources
    }


def _verify(topic: Topic, replication: int, partitions: Sequence[Any], configs: Mapping[str, int]) -> None:
    """More than declared is the operator's choice, less breaks a promise."""
    if len(partitions) < topic.partitions:
        raise TopicMismatchError(f"{topic.name} has {len(partitions)} partitions, declared are {topic.partitions}")
    copies = min(len(partition["replicas"]) for partition in partitions)
    if copies < replication:
        raise TopicMismatchError(f"{topic.name} has {copies} replicas, set are {replication}")
    for name, least in _settings(topic).items():
        if UNLIMITED != configs[name] < least:
            raise TopicMismatchError(f"{topic.name} has {name}={configs[name]}, declared is {least}")


# -- counting and reading -----------------------------------------------------------------------------------


async def status(access: KafkaAccess, topics: Sequence[Topic]) -> list[TopicStatus]:
    """Length and lag of the topics that exist."""
    async with _unavailable("topics are counted"), _admin(access) as admin, _reader(access) as reader:
        present = await _metadata(admin)
        groups = [group[0] for group in await admin.list_consumer_groups()]
        return [
            await _status(admin, reader, topic.name, _partitions(present, topic), groups)
            for topic in topics
            if topic.name in present
        ]


def _partitions(present: Metadata, topic: Topic) -> list[TopicPartition]:
    described = present.get(topic.name, {"partitions": ()})
    return [TopicPartition(topic.name, partition["partition"]) for partition in described["partitions"]]


async def _status(
    admin: AIOKafkaAdminClient,
    reader: AIOKafkaConsumer,
    name: str,
    partitions: list[TopicPartition],
    groups: Sequence[str],
) -> TopicStatus:
    begins = await reader.beginning_offsets(partitions)
    ends = await reader.end_offsets(partitions)
    lag = {}
    for group in groups:
        kept = await admin.list_consumer_group_offsets(group, partitions=partitions)
        committed = {partition: at.offset for partition, at in kept.items() if at.offset >= 0}
        if committed:
            lag[group] = sum(end - max(committed.get(at, 0), begins[at]) for at, end in ends.items())
    length = sum(ends[partition] - begins[partition] for partition in partitions)
    return TopicStatus(name=name, partitions=len(partitions), length=length, lag=lag)


async def read(access: KafkaAccess, topic: Topic, limit: int, after: Mapping[int, str]) -> list[Received]:
    """Up to `limit` records that are there now; an unknown topic has none."""
    async with _unavailable("records are read"), asyncio.timeout(READ_SECONDS):
        async with _admin(access) as admin:
            partitions = _partitions(await _metadata(admin), topic)
        if not partitions:
            return []
        async with _reader(access) as reader:
            ends = await _seek(reader, partitions, after)
            return await _read_up_to(reader, ends, limit)


async def _seek(
    reader: AIOKafkaConsumer, partitions: list[TopicPartition], after: Mapping[int, str]
) -> dict[TopicPartition, int]:
    """Stand behind `after` in every partition; returns where each ends."""
    begins: dict[TopicPartition, int] = await reader.beginning_offsets(partitions)
    ends: dict[TopicPartition, int] = await reader.end_offsets(partitions)
    reader.assign(partitions)
    for at, begin in begins.items():
        reader.seek(at, max(begin, int(after[at.partition]) + 1) if at.partition in after else begin)
    return ends


async def _read_up_to(reader: AIOKafkaConsumer, ends: Mapping[TopicPartition, int], limit: int) -> list[Received]:
    records: list[Received] = []
    while len(records) < limit and not all([await reader.position(at) >= end for at, end in ends.items()]):
        batches = await reader.getmany(timeout_ms=500, max_records=limit - len(records))
        records += [received(record) for batch in batches.values() for record in batch]
    return records
