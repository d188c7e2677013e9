"""Interactions as records on Kafka, by a real producer and a real broker."""

import json
import uuid
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from common.bus.kafka_access import KafkaAccess
from common.bus.kafka_url import KafkaUrl
from huggingplace import HuggingPlaceError, KafkaTransport
from tests.integration.huggingplace.conftest import MakeClient
from tests.support.waiting import eventually

pytestmark = pytest.mark.kafka


def as_librdkafka_has_it(url: str) -> dict[str, str]:
    """What the URL says of TLS and of a login."""
    parsed = KafkaUrl.parse(url)
    named = {
        "security.protocol": parsed.protocol,
        "ssl.ca.location": parsed.options.get("ssl_cafile", ""),
        "sasl.mechanism": parsed.mechanism,
        "sasl.username": parsed.username,
        "sasl.password": parsed.password,
    }
    return {name: value for name, value in named.items() if value}


async def test_each_item_is_a_record_by_its_session(kafka_url: str, make_client: MakeClient, tmp_path: Path) -> None:
    access, topic = KafkaAccess.of(kafka_url), f"sdk-{uuid.uuid4().hex}"
    admin = AIOKafkaAdminClient(**access.arguments)
    await admin.start()
    await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    await admin.close()
    client = make_client(transport=KafkaTransport(access.servers, topic, config=as_librdkafka_has_it(kafka_url)))
    with client.start_session("s-1"):
        ids = [client.log(user_prompt=str(number)) for number in range(200)]
    assert client.flush(30)
    consumer = AIOKafkaConsumer(topic, **access.arguments, auto_offset_reset="earliest")
    await consumer.start()
    try:
        records = [await anext(consumer) for _ in range(200)]
    finally:
        await consumer.stop()
    assert [json.loads(record.value or b"")["id"] for record in records] == ids
    assert {record.key for record in records} == {b"s-1"}
    assert dict(records[0].headers) == {"id": ids[0].encode(), "kind": b"interaction"}


async def test_a_broker_that_is_not_there_loses_nothing(make_client: MakeClient, told: list[HuggingPlaceError]) -> None:
    client = make_client(transport=KafkaTransport("127.0.0.1:9", "sdk", timeout=0.3))
    client.log(user_prompt="x")
    await eventually(lambda: told)
    assert type(told[0]).__name__ in ("NetworkTimeoutError", "NetworkError")
    assert client.counters()["waiting"] == 1
    assert not client.close(1)
