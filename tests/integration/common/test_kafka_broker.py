"""The broker that the tests run on keeps what it acknowledged, even across kill -9."""

import uuid

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from common.bus.kafka_access import KafkaAccess
from deploy.kafka.broker import Broker

pytestmark = pytest.mark.kafka


async def _produce(broker: Broker, topic: str, value: bytes) -> None:
    async with AIOKafkaProducer(**broker.client_arguments, acks="all") as producer:
        await producer.send_and_wait(topic, value)


async def _consume(broker: Broker, topic: str, count: int) -> list[bytes | None]:
    async with AIOKafkaConsumer(topic, **broker.client_arguments, auto_offset_reset="earliest") as consumer:
        return [(await consumer.getone()).value for _ in range(count)]


async def test_records_survive_kill_and_restart_on_the_same_port(kafka_broker: Broker) -> None:
    topic = f"survivors-{uuid.uuid4().hex}"
    admin = AIOKafkaAdminClient(**kafka_broker.client_arguments)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    await admin.close()
    await _produce(kafka_broker, topic, b"before")

    kafka_broker.kill()
    assert not kafka_broker.running
    kafka_broker.start()
    await kafka_broker.ready()

    await _produce(kafka_broker, topic, b"after")
    assert await _consume(kafka_broker, topic, 2) == [b"before", b"after"]


async def test_the_shared_broker_answers(kafka_url: str) -> None:
    admin = AIOKafkaAdminClient(**KafkaAccess.of(kafka_url).arguments)
    await admin.start()
    try:
        assert (await admin.describe_cluster())["brokers"]
    finally:
        await admin.close()
