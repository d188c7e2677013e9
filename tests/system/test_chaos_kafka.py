"""The main job on a real Kafka, with llm-stream, the gateway and the broker killed under load."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from deploy.kafka.broker import Broker
from tests.support.clients import client, new_key
from tests.support.load import End, check_books, kill, load, open_account
from tests.support.sonant import Sonant, sonant_system
from tests.support.waiting import eventually

pytestmark = pytest.mark.kafka

OUTAGE_SECONDS = 5.0
# A publish waits three seconds for its acknowledgement; the rest is a machine under load.
REFUSED_SECONDS = 6.0
# What the issue promises after the broker's return.
BACK_SECONDS = 10.0


@contextmanager
def system_on(broker: Broker) -> Iterator[Sonant]:
    with sonant_system(env={"SONANT_CHAT_DEADLINE": "30", "SONANT_LOG_URL": broker.url}) as system:
        yield system


async def embeds(system: Sonant) -> None:
    """Embeddings take the same way."""
    async with client(system.url, new_key(system).headers) as http:
        response = await http.post("/v1/embeddings", json={"model": "embeddings", "input": ["one", "two"]})
        assert response.status_code == 200, response.text
        assert [each["index"] for each in response.json()["data"]] == [0, 1]

        async def counted() -> bool:
            rows = (await http.get("/v1/usage")).json()["data"]
            return [(row["model"], row["completed"]) for row in rows] == [("embeddings", 1)]

        await eventually(counted)


async def test_the_main_job_on_kafka_survives_kills_of_the_services_and_of_the_broker(kafka_broker: Broker) -> None:
    with system_on(kafka_broker) as system:
        await embeds(system)
        account = open_account(system)
        async with load(system, account.key, 12) as brisk, load(system, account.key, 6, "slow") as slow:
            await slow.all_flow()
            for service in ("llm-stream", "gateway"):
                killed_at = time.monotonic()
                ready = await kill(system, service)
                answered = await brisk.serves_again(killed_at)
                print(f"{service} on Kafka: ready {ready:.2f} s after the kill, first answer after {answered:.2f} s")
                await slow.all_flow()
            kafka_broker.kill()
            async with load(system, account.key, 4) as newcomers:
                await asyncio.sleep(OUTAGE_SECONDS)
                # A balancer learns to go elsewhere.
                await eventually(lambda: "log" in system.ops("gateway", "/readyz").json()["complaints"])
                refused = newcomers.outcomes.copy()
                kafka_broker.start()
                await kafka_broker.ready()
                back = await newcomers.serves_again(time.monotonic())
            await eventually(lambda: system.ready("gateway"))
            assert refused
            assert all(o.refused and o.status == 503 for o in refused), newcomers.summary()
            slowest = max(o.ended - o.begun for o in newcomers.outcomes if o.refused)
            print(f"kafka: slowest 503 {slowest:.2f} s, first answer {back:.2f} s after its return")
        print(f"brisk: {brisk.summary()}\nslow: {slow.summary()}\nnewcomers: {newcomers.summary()}")
        assert slowest < REFUSED_SECONDS
        assert back < BACK_SECONDS
        for clients in (brisk, slow, newcomers):
            clients.check(closed=True)
            assert clients.of(End.COMPLETE)
        assert slow.of(End.CLOSED)
        await check_books(system, account, brisk.outcomes + slow.outcomes + newcomers.outcomes)
