"""Resources as a process of its own on engines of the test; the test plays the gateway and the other teams."""

import asyncio
import os
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import orjson
import pytest

from common.bus.connect import open_log
from common.bus.live.reader import LiveReader
from common.bus.port import Log
from common.bus.valkey import ValkeyLog
from common.events.envelope import Event, open_event
from common.events.registry import BY_NAME, topics
from common.events.reply import Reply, content
from common.events.resources import RESOURCE_COMMANDS
from common.events.spec import EventSpec, RequestSpec, Topic
from common.kernel.settings import CommonSettings
from common.storage.redis import open_redis
from sonant_cli.probes import http_ready
from tests.support.engines import new_database
from tests.support.mailbox import open_mailbox
from tests.support.sonant import free_port
from tests.support.waiting import eventually

# Other suites share the engine; the service keeps its position under fixed names, so it gets a number of its own.
VALKEY_DATABASE = 10
ANSWER_SECONDS = 15.0
START_SECONDS = 90.0


@dataclass(frozen=True)
class World:
    """The engines of one test."""

    redis_url: str
    database_url: str
    log: Log
    output: Path
    # Where the service finds the log; beside the live channel where none is named.
    log_url: str = ""

    async def fetch(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """Rows of the database as it is now."""
        connection = await asyncpg.connect(self.database_url)
        try:
            return [dict(row) for row in await connection.fetch(query, *values)]
        finally:
            await connection.close()

    async def told(self, topic: Topic) -> list[Event[Any]]:
        """Every event on a topic, oldest first."""
        records = await self.log.read(topic, limit=10_000)
        return [open_event(record, BY_NAME[record.headers["event-type"]]) for record in records]


@asynccontextmanager
async def world_on(redis_url: str, database_url: str, output: Path) -> AsyncIterator[World]:
    """An empty log beside the database."""
    url = urlsplit(redis_url)._replace(path=f"/{VALKEY_DATABASE}").geturl()
    async with open_redis(url) as redis:
        await redis.flushdb()
        log = ValkeyLog(url, redis)
        try:
            yield World(url, database_url, log, output)
        finally:
            await log.close()


@asynccontextmanager
async def world_on_kafka(kafka_url: str, redis_url: str, database_url: str, output: Path) -> AsyncIterator[World]:
    """A log that other tests write to as well: tell organisations apart."""
    url = urlsplit(redis_url)._replace(path=f"/{VALKEY_DATABASE}").geturl()
    settings = CommonSettings(log_url=kafka_url, redis_url=url)
    async with open_redis(url) as redis, open_log(settings, redis) as log:
        await redis.flushdb()
        await log.ensure(topics())
        yield World(url, database_url, log, output, kafka_url)


@pytest.fixture
async def resources_world(valkey_url: str, postgres_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """Shared engines, with a log and a database of this test's own."""
    async with new_database(postgres_url, "resources") as database_url:
        async with world_on(valkey_url, database_url, tmp_path) as world:
            yield world


@dataclass(frozen=True)
class Resources:
    """The service as a process."""

    process: asyncio.subprocess.Process
    ops_url: str

    async def trouble(self) -> str:
        return await http_ready(f"{self.ops_url}/readyz")

    async def ready(self) -> None:
        async def check() -> bool:
            return not await self.trouble()

        await eventually(check, timeout=START_SECONDS)

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def started(
    world: World, *, instance: str = "resources-0", settings: Mapping[str, str] | None = None
) -> AsyncIterator[Resources]:
    """`python -m resources`, not necessarily ready; ended by SIGTERM, after which it must have ended well."""
    port = free_port()
    own = {
        "SONANT_LOG_URL": world.log_url or world.redis_url,
        "SONANT_REDIS_URL": world.redis_url,
        "SONANT_DATABASE_URL": world.database_url,
        "SONANT_INSTANCE": instance,
        "SONANT_OPS_PORT": str(port),
        "SONANT_DRAIN_SECONDS": "1",
        **(settings or {}),
    }
    with (world.output / f"{instance}.log").open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "resources", env={**os.environ, **own}, stdout=output, stderr=output
        )
    try:
        yield Resources(process, f"http://127.0.0.1:{port}")
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(20):
                assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@dataclass(frozen=True)
class Caller:
    """Asks as a gateway would, on behalf of one organisation and user. Everything is delivered twice."""

    world: World
    reader: LiveReader
    org_id: str = "org-1"
    key_id: str = "key-1"
    user_id: str = "user-1"
    asked: list[Event[Any]] = field(default_factory=list)

    def of(self, org_id: str, user_id: str = "user-1") -> "Caller":
        """The same gateway on behalf of somebody else."""
        return Caller(self.world, self.reader, org_id, f"key-of-{org_id}", user_id, self.asked)

    async def ask(self, spec: EventSpec[Any], /, *, seconds: float = ANSWER_SECONDS, **fields: Any) -> Reply:
        """The answer, the same to both deliveries of a command."""
        event = self.event(spec, seconds, **fields)
        self.asked.append(event)
        first, second = await self.deliver(event, event)
        if spec.topic == RESOURCE_COMMANDS:
            assert (first.status, first.body) == (second.status, second.body)
        return first

    def event(self, spec: EventSpec[Any], seconds: float = ANSWER_SECONDS, /, **fields: Any) -> Event[Any]:
        payload = spec.payload(org_id=self.org_id, key_id=self.key_id, user_id=self.user_id, **fields)
        return Event(spec, payload, deadline=time.time() + seconds)

    async def deliver(self, *events: Event[Any]) -> list[Reply]:
        """One answer for each delivery; the events keep their ids."""
        ids = [uuid.uuid4().hex for _ in events]
        with ExitStack() as open_waiters:
            waiters = [open_waiters.enter_context(self.reader.waiting(id)) for id in ids]
            await self.world.log.publish(*(self._addressed(*pair).record() for pair in zip(events, ids, strict=True)))
            answers = [await waiter.frames(ANSWER_SECONDS) for waiter in waiters]
        assert all(answers), "no answer"
        return [_read(event.spec, frames[0].payload) for event, frames in zip(events, answers, strict=True)]

    def _addressed(self, event: Event[Any], request_id: str) -> Event[Any]:
        return Event(
            event.spec,
            event.payload,
            id=event.id,
            time=event.time,
            deadline=event.deadline,
            reply_to=self.reader.mailbox,
            request_id=request_id,
        )


def _read(spec: EventSpec[Any], payload: bytes) -> Reply[Any]:
    """A reply as it travelled, which is what its declaration says: nothing more, nothing less."""
    reply: Reply[Any] = Reply(**orjson.loads(payload))
    if reply.status < 400 and isinstance(spec, RequestSpec):
        assert content(spec.reply.model_validate(reply.body)) == reply.body
    return reply


@asynccontextmanager
async def asking(world: World) -> AsyncIterator[Caller]:
    """A mailbox, open and read."""
    async with open_mailbox(world.redis_url) as reader:
        yield Caller(world, reader)


async def relayed(world: World) -> None:
    """Wait until the outbox is empty."""

    async def check() -> bool:
        return await world.fetch("SELECT 1 FROM resources.outbox LIMIT 1") == []

    await eventually(check, timeout=30)


@asynccontextmanager
async def service(world: World) -> AsyncIterator[Caller]:
    """The service, ready, and somebody who asks it."""
    async with started(world) as running, asking(world) as caller:
        await running.ready()
        yield caller
