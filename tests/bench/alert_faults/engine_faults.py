"""Faults of the engines: those that hang (SIGSTOP), a database that lets nobody work, and a log that is full."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import redis.asyncio

from common.bus.valkey_retention import member_seen
from common.events.interactions import INTERACTIONS
from tests.bench.alert_faults.fault import Fault, Scene, repeated, stopped
from tests.bench.alert_faults.provider_faults import video
from tests.support.clients import Key, chat
from tests.support.ingest import SINGLE, interaction
from tests.support.waiting import eventually

# Of these a thousand and a quarter have a place.
RECORDS = 2_500
SENDERS = 16
VIDEOS = 10
WINDOW_10M = 660.0
# So small that some hundred interactions fill it.
SMALL_LOG = {"SONANT_LOG_MAX_BYTES": str(16 * 1024 * 1024), "SONANT_CANARY_SECONDS": "0"}
FULL_SECONDS = 120.0
TEXT_BYTES = 60_000
REFUSED = 503


async def _send(scene: Scene, key: Key, count: int) -> None:
    async def sender() -> None:
        for number in range(count // SENDERS):
            await scene.call("POST", SINGLE, key, interaction(number, mode="prod"))

    await asyncio.gather(*(sender() for _ in range(SENDERS)))


@asynccontextmanager
async def database_hangs(scene: Scene) -> AsyncIterator[None]:
    """PostgreSQL that answers nothing, while interactions come."""
    key = await scene.key("ingest")
    # The gateway knows the key from now on.
    await scene.call("POST", SINGLE, key, interaction(mode="prod"))
    with stopped(scene.system, "postgres"):
        await _send(scene, key, RECORDS)
        yield


@asynccontextmanager
async def store_hangs(scene: Scene) -> AsyncIterator[None]:
    """A store that answers nothing, while turns are asked for and videos at their provider become ready."""
    keys = [await scene.key("chat", limits={"requests_per_minute": 100_000}), await scene.key("media")]
    for number in range(VIDEOS):
        await scene.call("POST", "/v1/media/video", keys[1], video(f"sandbox:seconds-20 Ready {number}."))
    # Their jobs are at work before nobody can be told of them.
    running = "SELECT count(*) AS jobs FROM media.jobs WHERE state = 'running'"

    async def at_work() -> bool:
        return bool((await scene.execute(running))[0]["jobs"] == VIDEOS)

    await eventually(at_work, timeout=30)

    async def once() -> None:
        await scene.call("POST", "/v1/chat/completions", keys[0], chat("Hello."))

    with stopped(scene.system, "valkey"):
        async with repeated(0.5, once):
            yield


@asynccontextmanager
async def no_rights(scene: Scene) -> AsyncIterator[None]:
    """A database in which the services may do nothing, while interactions come."""
    key = await scene.key("ingest")

    async def once() -> None:
        await scene.call("POST", SINGLE, key, interaction(mode="prod"))

    await once()
    async with scene.connection() as operator:
        account = await operator.fetchval("SELECT current_user")
        database = await operator.fetchval("SELECT current_database()")
        setting = f'ALTER ROLE "{account}" IN DATABASE "{database}"'
        # What connects from now on does so with the setting.
        others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()"
        await operator.execute("CREATE ROLE nobody")
        await operator.execute(f"{setting} SET role TO nobody")
        await operator.fetch(others, database)
        try:
            async with repeated(0.5, once):
                yield
        finally:
            await operator.execute(f"{setting} RESET role")
            await operator.fetch(others, database)


@asynccontextmanager
async def log_full(scene: Scene) -> AsyncIterator[None]:
    """A telemetry that reads nothing (SIGSTOP) while interactions fill a small log."""
    key = await scene.key("ingest")
    with stopped(scene.system, "telemetry"):
        await _fill(scene, key)
        async with repeated(1.0, lambda: scene.call("POST", SINGLE, key, _large())):
            yield


@asynccontextmanager
async def group_forsaken(scene: Scene) -> AsyncIterator[None]:
    """The same, and telemetry's sign of life has run out, as after an hour."""
    async with log_full(scene):
        async with redis.asyncio.Redis.from_url(scene.system.urls()["redis"]) as store:
            await store.delete(member_seen(INTERACTIONS.name, "telemetry"))
        yield


def _large() -> dict[str, object]:
    # Hex of random bytes: what is packed well would not fill a log.
    return interaction(mode="prod", user_prompt=os.urandom(TEXT_BYTES).hex())


async def _fill(scene: Scene, key: Key) -> None:
    async def refused() -> bool:
        return await scene.call("POST", SINGLE, key, _large()) == REFUSED

    await eventually(refused, timeout=FULL_SECONDS, interval=0.0)


DATABASE_HANGS = Fault(
    {"DatabaseDown": {}, "ConsumerLag": {"group": "telemetry"}, "CanaryNotVisible": {}},
    "PostgreSQL hangs (SIGSTOP) while interactions come",
    database_hangs,
    fire_seconds=660.0,
)
STORE_HANGS = Fault(
    {"LogUnavailable": {}, "LiveReconnects": {}, "LimitsUnavailable": {}, "ServerErrors": {}, "OutboxStuck": {}},
    "the store with log, limits and live channel hangs (SIGSTOP)",
    store_hangs,
    fire_seconds=420.0,
)
NO_RIGHTS = Fault({"ConsumerHalted": {"group": "telemetry"}}, "the services lose their rights in PostgreSQL", no_rights)
LOG_FULL = Fault({"LogFull": {}}, "telemetry hangs (SIGSTOP) until a small log is full", log_full)
GROUP_FORSAKEN = Fault(
    {"LogLost": {"topic": INTERACTIONS.name}},
    "the same, and its group counts as forsaken, as after an hour",
    group_forsaken,
    end_seconds=WINDOW_10M,
)
