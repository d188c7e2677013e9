"""Nothing lost, nothing twice: every part on the way of an interaction is killed under load."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import httpx
import pytest

from deploy.kafka.broker import Broker
from tests.support.clients import Key, client
from tests.support.ingest import BATCH, ingest_key, interaction, rows
from tests.support.load import kill
from tests.support.sonant import Sonant, sonant_system
from tests.support.waiting import eventually

PRODUCERS = 4
ITEMS = 50
# A machine under load, with everything killed once.
SETTLED_SECONDS = 90.0
BACK_SECONDS = 60.0


async def send(http: httpx.AsyncClient, items: list[dict[str, Any]]) -> None:
    """Send a batch until it is accepted, as a client that spools does: the same items with the same ids."""
    while True:
        try:
            answer = await http.post(BATCH, json={"items": items})
        except httpx.TransportError:
            await asyncio.sleep(0.1)
            continue
        if answer.status_code == 200:
            assert answer.json()["rejected"] == 0, answer.text
            return
        assert answer.status_code in (429, 503), answer.text
        await asyncio.sleep(0.1)


async def produce(system: Sonant, key: Key, number: int, sent: set[str], enough: asyncio.Event) -> None:
    """Send batches one after the other, some of them twice, each until it is accepted."""
    async with client(system.url, key.headers) as http:
        while not enough.is_set():
            items = [interaction(index, session_id=f"session-{number}", total_tokens=1) for index in range(ITEMS)]
            await send(http, items)
            sent |= {item["id"] for item in items}
            if random.random() < 0.2:
                await send(http, items)
            await asyncio.sleep(0.05)


async def check(system: Sonant, key: Key, sent: set[str]) -> None:
    """All that was sent is there, once, in every table that counts it; and the ledger says so."""

    async def settled() -> bool:
        try:
            found = await rows(system, "SELECT id::text FROM telemetry.chat WHERE org_id = $1", key.organization)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        return len(found) >= len(sent)

    await eventually(settled, timeout=SETTLED_SECONDS)
    found = await rows(system, "SELECT id::text FROM telemetry.chat WHERE org_id = $1", key.organization)
    assert sorted(row["id"] for row in found) == sorted(sent)
    async with client(system.url, key.headers) as http:

        async def balanced() -> dict[str, Any]:
            answer = await http.get("/v2/ledger")
            told: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
            return told if told.get("balanced") and not await behind(http) else {}

        async def behind(http: httpx.AsyncClient) -> bool:
            sessions = (await http.get("/v2/sessions")).json().get("data", [])
            turns: int = sum(session["turns"] for session in sessions)
            return turns != len(sent)

        told = await eventually(balanced, timeout=SETTLED_SECONDS)
    hours = told["data"]
    assert sum(hour["stored"] for hour in hours) == len(sent)
    assert sum(hour["accepted"] for hour in hours) == len(sent) + sum(hour["repeated"] for hour in hours)


async def kill_engine(system: Sonant, name: str) -> None:
    """`kill -9` an engine, and wait until the services work on the one in its place."""
    former = system.kill(name)
    await eventually(lambda: system.run()["processes"][name]["pid"] not in (None, former), timeout=BACK_SECONDS)
    await eventually(lambda: system.ready("gateway", "telemetry"), timeout=BACK_SECONDS)


async def flood(system: Sonant, *kills: Callable[[], Awaitable[Any]]) -> None:
    """Report while everything is killed in turn, each time once more was accepted."""
    key, sent, enough = ingest_key(system), set[str](), asyncio.Event()
    producers = [asyncio.create_task(produce(system, key, number, sent, enough)) for number in range(PRODUCERS)]
    for kill_one in kills:
        seen = len(sent)
        await eventually(lambda: len(sent) >= seen + PRODUCERS * ITEMS, timeout=BACK_SECONDS)  # noqa: B023
        await kill_one()
    enough.set()
    await asyncio.gather(*producers)
    print(f"{len(sent)} interactions over {len(kills)} kills")
    await check(system, key, sent)


async def test_nothing_is_lost_and_nothing_is_there_twice_on_the_embedded_engines() -> None:
    with sonant_system() as system:
        await flood(
            system,
            lambda: kill(system, "telemetry"),
            lambda: kill(system, "gateway"),
            lambda: kill_engine(system, "postgres"),
            lambda: kill_engine(system, "valkey"),
        )


@pytest.mark.kafka
async def test_nothing_is_lost_and_nothing_is_there_twice_on_kafka(kafka_broker: Broker) -> None:
    with sonant_system(env={"SONANT_LOG_URL": kafka_broker.url}) as system:

        async def kill_broker() -> None:
            kafka_broker.kill()
            kafka_broker.start()
            await kafka_broker.ready()

        await flood(
            system,
            lambda: kill(system, "gateway"),
            lambda: kill(system, "telemetry"),
            kill_broker,
            lambda: kill_engine(system, "postgres"),
        )
