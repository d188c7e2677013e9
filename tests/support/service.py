"""A service as a process of its own on real engines; the test plays everybody around it.

A `World` is the engines of one test, `started` is the service on them, and a `FakeGateway` asks it as a gateway does.
What only one service needs stands in the module named like it.
"""

import asyncio
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import orjson

from common.bus.connect import open_log
from common.bus.live.reader import LiveReader
from common.bus.port import Log
from common.events.envelope import Event, open_event
from common.events.record import Received
from common.events.registry import BY_NAME, topics
from common.events.reply import Reply, content
from common.events.spec import EventSpec, RequestSpec, Topic
from common.kernel.settings import CommonSettings
from common.storage.redis import open_redis
from sonant_cli.probes import http_ready
from tests.support.sonant import free_port
from tests.support.waiting import eventually

# Other suites share the engine; services keep their position under fixed names, so a world has a number of its own.
VALKEY_DATABASE = 9
ANSWER_SECONDS = 15.0
START_SECONDS = 90.0
STOP_SECONDS = 20.0
HANDLED_SECONDS = 30.0


def numbered(redis_url: str, database: int) -> str:
    """The address of one of the engine's numbered databases."""
    return urlsplit(redis_url)._replace(path=f"/{database}").geturl()


@dataclass(frozen=True)
class World:
    """The engines of one test, and what is on them."""

    redis_url: str
    database_url: str
    log: Log
    output: Path
    # Where the service finds the log: beside the live channel, or a broker's address.
    log_url: str

    async def publish(self, *events: Event[Any]) -> None:
        await self.log.publish(*(event.record() for event in events))

    async def events(self, topic: Topic) -> list[Event[Any]]:
        """Every event on a topic, oldest first."""
        records = await self.log.read(topic, limit=10_000)
        return [open_event(record, BY_NAME[record.headers["event-type"]]) for record in records]

    async def dead_letters(self, topic: Topic) -> Sequence[Received]:
        return await self.log.read(topic.dead_letters, limit=100)

    async def handled(self, topic: Topic, group: str) -> None:
        """Wait until a consumer group has finished every record of a topic."""

        async def check() -> bool:
            [status] = await self.log.status([topic])
            return status.lag == {group: 0}

        await eventually(check, timeout=HANDLED_SECONDS)

    async def fetch(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """Rows of the database as it is now."""
        connection = await asyncpg.connect(self.database_url, timeout=5)
        try:
            return [dict(row) for row in await connection.fetch(query, *values)]
        finally:
            await connection.close()


@asynccontextmanager
async def world_on(redis_url: str, database_url: str, output: Path, kafka_url: str = "") -> AsyncIterator[World]:
    """An empty live channel beside the database, with an empty log in it.

    With `kafka_url` the log is a broker that other tests write to as well: tell organisations apart.
    """
    url = numbered(redis_url, VALKEY_DATABASE)
    settings = CommonSettings(log_url=kafka_url or url, redis_url=url)
    async with open_redis(url) as redis, open_log(settings, redis) as log:
        await redis.flushdb()
        if kafka_url:
            await log.ensure(topics())
        yield World(url, database_url, log, output, settings.log_url)


@dataclass(frozen=True)
class ServiceProcess:
    """A service that was started, and what it says of itself."""

    process: asyncio.subprocess.Process
    ops_url: str
    output: Path

    async def trouble(self) -> str:
        """What keeps it from being ready; empty when it is."""
        return await http_ready(f"{self.ops_url}/readyz")

    async def ready(self) -> None:
        async def check() -> bool:
            assert self.process.returncode is None, self.text()
            return not await self.trouble()

        await eventually(check, timeout=START_SECONDS)

    async def complains(self, of: str, timeout: float = HANDLED_SECONDS) -> None:
        """Wait until it names this as the reason why it is not ready."""

        async def check() -> bool:
            return of in await self.trouble()

        await eventually(check, timeout=timeout)

    async def total(self, metric: str) -> float:
        """The sum of a metric over its labels; 0 where it is not there yet."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.ops_url}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((metric + "{", metric + " ")))

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()

    def text(self) -> str:
        """The end of what it has written."""
        return self.output.read_text(errors="replace")[-2000:]


@asynccontextmanager
async def process_of(service: str, output: Path, variables: Mapping[str, str]) -> AsyncIterator[ServiceProcess]:
    """`python -m` a service, not necessarily ready; ended by SIGTERM, after which it must have ended well."""
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SONANT_")}
    own = {"SONANT_OPS_PORT": str(port), "SONANT_DRAIN_SECONDS": "1", **variables}
    with output.open("ab") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", service, env=kept | own, stdout=file, stderr=file
        )
    running = ServiceProcess(process, f"http://127.0.0.1:{port}", output)
    try:
        yield running
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(STOP_SECONDS):
                assert await process.wait() == 0, running.text()
    finally:
        if process.returncode is None:
            await running.kill()


@asynccontextmanager
async def started(
    world: World, service: str, *, instance: str | None = None, settings: Mapping[str, str] | None = None
) -> AsyncIterator[ServiceProcess]:
    """A service on the engines of a world, as `process_of` runs it."""
    name = instance or f"{service}-0"
    variables = {
        "SONANT_LOG_URL": world.log_url,
        "SONANT_REDIS_URL": world.redis_url,
        "SONANT_DATABASE_URL": world.database_url,
        "SONANT_INSTANCE": name,
        **(settings or {}),
    }
    async with process_of(service, world.output / f"{name}.log", variables) as running:
        yield running


@dataclass(frozen=True)
class FakeGateway:
    """Asks as a gateway does, and waits for the replies in its mailbox."""

    world: World
    reader: LiveReader

    async def deliver(self, *events: Event[Any]) -> list[Reply[Any]]:
        """One reply for each delivery; the events keep their ids."""
        ids = [uuid.uuid4().hex for _ in events]
        with ExitStack() as open_waiters:
            waiters = [open_waiters.enter_context(self.reader.waiting(id)) for id in ids]
            await self.world.publish(*(self._addressed(*pair) for pair in zip(events, ids, strict=True)))
            replies = [await waiter.frames(ANSWER_SECONDS) for waiter in waiters]
        assert all(replies), "no reply"
        return [_read(event.spec, frames[0].payload) for event, frames in zip(events, replies, strict=True)]

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
