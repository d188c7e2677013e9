"""What a fault is, and what it has to work with."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import asyncpg
import psutil

from tests.support.clients import Key, new_key
from tests.support.sonant import Sonant
from tests.support.webhook_sink import Sink

# A client that waits for longer than this counts as not answered.
CALL_SECONDS = 30.0
# Requests of one load that are under way; the next ones are left out meanwhile.
UNDER_WAY = 50
FIRE_SECONDS = 540.0
END_SECONDS = 540.0


@dataclass
class Scene:
    """A running system, its Prometheus, and a receiver of webhooks."""

    system: Sonant
    http: aiohttp.ClientSession
    prometheus: str
    sink: Sink

    async def key(self, *scopes: str, organization: str | None = None, **fields: Any) -> Key:
        """A key, of an organisation of its own where none is named."""
        wanted = {"scopes": list(scopes)} if scopes else {}
        return await asyncio.to_thread(new_key, self.system, organization, **wanted, **fields)

    async def call(self, method: str, path: str, key: Key, body: Any = None, **headers: str) -> int:
        """A request to the end of its answer: its status, 0 where none came."""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
            sent = {**key.headers, "x-user-id": "alert-faults", **headers}
            async with self.http.request(method, self.system.url + path, json=body, headers=sent) as answer:
                await answer.read()
                return answer.status
        return 0

    async def told(self, method: str, path: str, key: Key, body: Any = None) -> dict[str, Any]:
        """The answer to a request that must succeed."""
        sent = {**key.headers, "x-user-id": "alert-faults"}
        async with self.http.request(method, self.system.url + path, json=body, headers=sent) as answer:
            assert answer.status < 300, f"{method} {path}: {answer.status} {await answer.text()}"
            found: dict[str, Any] = await answer.json()
            return found

    async def execute(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """What the database of the system answers to somebody who may do everything."""
        async with self.connection() as connection:
            return [dict(row) for row in await connection.fetch(statement, *values)]

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection to the database."""
        connection = await asyncpg.connect(self.system.urls()["database"], timeout=10)
        try:
            yield connection
        finally:
            await connection.close()

    async def value(self, expression: str) -> float:
        """What Prometheus says of an expression, 0 where it has nothing to say."""
        async with self.http.get(f"{self.prometheus}/api/v1/query", params={"query": expression}) as answer:
            found = (await answer.json())["data"]["result"]
        return float(found[0]["value"][1]) if found else 0.0


Provoke = Callable[[Scene], AbstractAsyncContextManager[None]]


@dataclass(frozen=True)
class Fault:
    """What makes alerts fire: `rules` names them, each with the labels it must have to count.

    The fault is there while `provoke` is entered. Where alerts end by a window alone (`windowed`), the next fault of
    the lane is made meanwhile.
    """

    rules: Mapping[str, Mapping[str, str]]
    what: str
    provoke: Provoke
    fire_seconds: float = FIRE_SECONDS
    end_seconds: float = END_SECONDS
    windowed: bool = False


@dataclass(frozen=True)
class Phase:
    """A system and what is done to it: the faults of a lane one after the other, the lanes at the same time."""

    name: str
    lanes: Sequence[Sequence[Fault]]
    env: Mapping[str, str] = field(default_factory=dict)
    models: str | None = None


@asynccontextmanager
async def repeated(seconds: float, once: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Do something every so many seconds while the block runs, whether what came before is over or not."""
    under_way: set[asyncio.Task[None]] = set()

    async def one() -> None:
        await once()

    async def go_on() -> None:
        while True:
            if len(under_way) < UNDER_WAY:
                task = asyncio.create_task(one())
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            await asyncio.sleep(seconds)

    going = asyncio.create_task(go_on())
    try:
        yield
    finally:
        going.cancel()
        for task in list(under_way):
            task.cancel()
        await asyncio.gather(going, *under_way, return_exceptions=True)


@contextmanager
def stopped(system: Sonant, name: str) -> Iterator[None]:
    """A process and its children that do nothing (SIGSTOP) for as long as the block runs."""
    top = psutil.Process(system.pid(name))
    # The one that begins others first, or there would be new ones.
    top.suspend()
    children = top.children(recursive=True)
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.suspend()
    try:
        yield
    finally:
        for process in (*children, top):
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                os.kill(process.pid, signal.SIGCONT)


@asynccontextmanager
async def pulses(system: Sonant, name: str, still: float, moving: float) -> AsyncIterator[None]:
    """A process that stands still again and again, so many seconds each time."""

    async def go_on() -> None:
        while True:
            with stopped(system, name):
                await asyncio.sleep(still)
            await asyncio.sleep(moving)

    going = asyncio.create_task(go_on())
    try:
        yield
    finally:
        going.cancel()
        await asyncio.gather(going, return_exceptions=True)
