"""What telemetry promises about turns: each stored once, none lost, whatever dies meanwhile."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import orjson
import pytest

from common.bus.live.reader import LiveReader
from common.bus.valkey import ValkeyLog
from common.docs.asyncapi import PASSPORT
from common.events.chat import (
    CHAT_EVENTS,
    CHAT_REPLY_COMPLETED,
    CHAT_REPLY_FAILED,
    CHAT_REPLY_INTERRUPTED,
    Attempt,
    ChatReplyCompleted,
    ChatReplyFailed,
    ChatReplyInterrupted,
    ReplyError,
    StopReceipt,
    Usage,
)
from common.events.envelope import Event
from common.events.record import Received, Record
from common.events.telemetry import USAGE_REQUESTED, UsageList, UsageRequested
from common.storage.redis import open_redis
from sonant_cli.engines import postgres
from sonant_cli.probes import http_ready
from tests.support.engines import new_database, running
from tests.support.mailbox import open_mailbox
from tests.support.sonant import free_port
from tests.support.waiting import eventually

# Other suites share the engine; the service keeps its position under fixed names, so it gets a number of its own.
VALKEY_DATABASE = 9
# Room for an empty database of 8 MB and the turns of one test.
DISK_BYTES = 24 * 1024 * 1024
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()


@dataclass(frozen=True)
class World:
    """The engines of one test and what it asks of them."""

    redis_url: str
    database_url: str
    log: ValkeyLog
    output: Path

    async def publish(self, *events: Event[Any]) -> None:
        await self.log.publish(*(event.record() for event in events))

    async def stored(self) -> int:
        """Rows there are; 0 while the database or the table is not there."""
        try:
            connection = await asyncpg.connect(self.database_url, timeout=5)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return 0
        try:
            return int(await connection.fetchval("SELECT count(*) FROM telemetry.turns"))
        except asyncpg.PostgresError:
            return 0
        finally:
            await connection.close()

    async def fetch(self, query: str) -> list[dict[str, Any]]:
        connection = await asyncpg.connect(self.database_url)
        try:
            return [dict(row) for row in await connection.fetch(query)]
        finally:
            await connection.close()

    async def has(self, rows: int, timeout: float = 30) -> None:
        """Wait until exactly `rows` turns are stored."""

        async def check() -> bool:
            return await self.stored() == rows

        await until(check, timeout)

    async def reaches(self, rows: int) -> None:
        """Wait until at least `rows` turns are stored."""

        async def check() -> bool:
            return await self.stored() >= rows

        await until(check, 30)

    async def all_read(self) -> None:
        """Wait until the service has finished every record."""

        async def check() -> bool:
            [status] = await self.log.status([CHAT_EVENTS])
            return status.lag == {"telemetry": 0}

        await until(check, 30)

    async def parked(self) -> Sequence[Received]:
        return await self.log.read(CHAT_EVENTS.dead_letters, limit=100)


async def until(check: Callable[[], Awaitable[bool]], timeout: float = 10) -> None:
    widened: Callable[[], bool | Awaitable[bool]] = check
    await eventually(widened, timeout=timeout)


@asynccontextmanager
async def world_on(redis_url: str, database_url: str, output: Path) -> AsyncIterator[World]:
    url = urlsplit(redis_url)._replace(path=f"/{VALKEY_DATABASE}").geturl()
    async with open_redis(url) as redis:
        await redis.flushdb()
        log = ValkeyLog(url, redis)
        try:
            yield World(url, database_url, log, output)
        finally:
            await log.close()


@pytest.fixture
async def world(valkey_url: str, postgres_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """Shared engines, with a log and a database of this test's own."""
    async with new_database(postgres_url, "telemetry") as database_url:
        async with world_on(valkey_url, database_url, tmp_path) as world:
            yield world


@dataclass(frozen=True)
class Telemetry:
    """The service as a process."""

    process: asyncio.subprocess.Process
    ops_url: str

    async def trouble(self) -> str:
        return await http_ready(f"{self.ops_url}/readyz")

    async def ready(self) -> None:
        async def check() -> bool:
            return not await self.trouble()

        await until(check, 30)

    async def total(self, metric: str) -> float:
        """The sum of a metric over its labels; 0 where it is not there yet."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.ops_url}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(metric + "{"))

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def started(world: World) -> AsyncIterator[Telemetry]:
    """`python -m telemetry`, not necessarily ready; ended by SIGTERM, after which it must have ended well."""
    port = free_port()
    own = {
        "SONANT_LOG_URL": world.redis_url,
        "SONANT_REDIS_URL": world.redis_url,
        "SONANT_DATABASE_URL": world.database_url,
        "SONANT_INSTANCE": "telemetry-0",
        "SONANT_OPS_PORT": str(port),
        "SONANT_DRAIN_SECONDS": "1",
    }
    with (world.output / "telemetry.log").open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "telemetry", env={**os.environ, **own}, stdout=output, stderr=output
        )
    try:
        yield Telemetry(process, f"http://127.0.0.1:{port}")
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(20):
                assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def completed(number: int, **fields: Any) -> Event[ChatReplyCompleted]:
    return Event(CHAT_REPLY_COMPLETED, ChatReplyCompleted(**{**common_fields(number), **fields}))


def interrupted(number: int) -> Event[ChatReplyInterrupted]:
    receipt = StopReceipt(reason="user_interruption", signal_at=NOON + 0.5, generated_tokens=9, delivered_tokens=7)
    return Event(CHAT_REPLY_INTERRUPTED, ChatReplyInterrupted(**common_fields(number), receipt=receipt))


def failed(number: int) -> Event[ChatReplyFailed]:
    error = ReplyError(status=502, message="No upstream answered.", type="server_error", code="upstream_failed")
    return Event(CHAT_REPLY_FAILED, ChatReplyFailed(**common_fields(number), error=error))


def common_fields(number: int) -> dict[str, Any]:
    attempt = Attempt(upstream="one", model="m-1", outcome="answered", started_at=NOON, duration_ms=900.0)
    return {
        "request_id": f"req-{number}",
        "org_id": "org-1",
        "key_id": "key-1",
        "session_id": f"session-{number % 7}",
        "model": "default",
        "stream": True,
        "upstream": "one",
        "upstream_model": "m-1",
        "usage": Usage(prompt_tokens=10, completion_tokens=5, total_tokens=15),
        "cost_usd": 0.001,
        "received_at": NOON,
        "started_at": NOON + 0.01,
        "first_token_at": NOON + 0.1,
        "finished_at": NOON + 1,
        "finish_reason": "stop",
        "attempts": (attempt,),
    }


async def test_a_turn_keeps_what_its_fact_said(world: World) -> None:
    async with started(world) as telemetry:
        await telemetry.ready()
        await world.publish(completed(1), interrupted(2), failed(3))
        await world.has(3)
    rows = await world.fetch("SELECT * FROM telemetry.turns ORDER BY request_id")
    assert [row["outcome"] for row in rows] == ["completed", "interrupted", "failed"]
    first, second, third = rows
    assert (first["org_id"], first["key_id"], first["session_id"], first["user_id"]) == (
        "org-1",
        "key-1",
        "session-1",
        None,
    )
    assert (first["prompt_tokens"], first["completion_tokens"], first["total_tokens"]) == (10, 5, 15)
    assert first["finished_at"].timestamp() == NOON + 1
    assert float(first["cost_usd"]) == 0.001
    assert orjson.loads(first["attempts"])[0]["upstream"] == "one"
    assert first["receipt"] is None
    assert first["error"] is None
    assert orjson.loads(second["receipt"])["delivered_tokens"] == 7
    assert orjson.loads(third["error"])["code"] == "upstream_failed"


async def test_everything_delivered_twice_is_stored_once_and_the_first_end_wins(world: World) -> None:
    facts = [completed(number) for number in range(300)]
    async with started(world) as telemetry:
        await telemetry.ready()
        await world.publish(*facts, *facts)
        await world.has(300)
        await world.publish(*(failed(number) for number in range(300)), *facts, completed(300))
        await world.has(301)
        await world.all_read()
    assert await world.fetch("SELECT DISTINCT outcome FROM telemetry.turns") == [{"outcome": "completed"}]
    assert await world.stored() == 301


async def test_kill_9_in_the_middle_of_a_load_loses_and_doubles_nothing(world: World) -> None:
    total = 6000

    async def load() -> None:
        for start in range(0, total, 50):
            await world.publish(*(completed(number) for number in range(start, start + 50)))

    async with started(world) as first:
        await first.ready()
        loading = asyncio.create_task(load())
        await world.reaches(total // 10)
        await first.kill()
    async with started(world) as second:
        await world.reaches(total // 3)
        await second.kill()
    async with started(world):
        await loading
        await world.has(total, timeout=60)
        await world.all_read()
    assert await world.stored() == total


async def test_a_database_killed_under_load_gets_every_turn_in_the_end(valkey_url: str, tmp_path: Path) -> None:
    total = 3000
    async with (
        running(postgres) as database,
        world_on(valkey_url, database.url, tmp_path) as world,
        started(world) as telemetry,
    ):
        await telemetry.ready()

        async def complains() -> bool:
            return "database" in await telemetry.trouble()

        await world.publish(*(completed(number) for number in range(total // 2)))
        await world.reaches(1)
        assert database._child is not None
        assert database._child.pid is not None
        os.kill(database._child.pid, signal.SIGKILL)
        await database.stop()
        await world.publish(*(completed(number) for number in range(total // 2, total)))
        await until(complains)
        await database.start()
        await world.has(total, timeout=60)
        await telemetry.ready()
        await world.all_read()
        assert await world.stored() == total
        assert not await world.parked()


@dataclass(frozen=True)
class Obstacle:
    """What keeps a database that answers from being written to."""

    database_url: str
    begin: Callable[[], Awaitable[None]]
    end: Callable[[], Awaitable[None]]


@asynccontextmanager
async def read_only(postgres_url: str) -> AsyncIterator[Obstacle]:
    """A server that has become a replica, or holds itself back."""
    async with new_database(postgres_url, "telemetry") as url:
        name = urlsplit(url).path[1:]
        # New connections alone notice, so there shall be no old ones.
        leave = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"  # noqa: S608  (a name of ours)
        setting = f"ALTER DATABASE {name} SET default_transaction_read_only ="
        yield Obstacle(
            url,
            partial(execute, postgres_url, f"{setting} on", leave),
            partial(execute, postgres_url, f"{setting} off", leave),
        )


@asynccontextmanager
async def full_disk(postgres_url: str) -> AsyncIterator[Obstacle]:
    """A small file system of the database's own, filled up; skips where none may be mounted."""
    with mounted() as disk:
        space = disk / "space"
        space.mkdir(mode=0o700)
        connection = await asyncpg.connect(postgres_url)
        account = Path(await connection.fetchval("SHOW data_directory")).stat()
        await connection.close()
        os.chown(space, account.st_uid, account.st_gid)
        await execute(postgres_url, f"CREATE TABLESPACE small LOCATION '{space}'")
        ballast = disk / "ballast"

        async def fill() -> None:
            with suppress(OSError), ballast.open("wb", buffering=0) as opened:
                while True:
                    opened.write(bytes(4096))

        async def empty() -> None:
            ballast.unlink()

        try:
            async with new_database(postgres_url, "telemetry") as url:
                await execute(postgres_url, f"ALTER DATABASE {urlsplit(url).path[1:]} SET TABLESPACE small")
                yield Obstacle(url, fill, empty)
        finally:
            await execute(postgres_url, "DROP TABLESPACE small")


@contextmanager
def mounted() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sonant-disk-") as directory:
        options = ["-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=755", "none", directory]
        if os.geteuid() != 0 or subprocess.run(["mount", *options], check=False).returncode != 0:
            pytest.skip("a full disk needs the right to mount one")
        try:
            yield Path(directory)
        finally:
            subprocess.run(["umount", "--lazy", directory], check=True)


async def execute(postgres_url: str, *statements: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@pytest.mark.parametrize("make", [read_only, full_disk])
async def test_a_database_that_takes_no_writes_gets_every_turn_in_the_end(
    make: Callable[[str], AbstractAsyncContextManager[Obstacle]], valkey_url: str, postgres_url: str, tmp_path: Path
) -> None:
    total = 300
    async with (
        make(postgres_url) as obstacle,
        world_on(valkey_url, obstacle.database_url, tmp_path) as world,
        started(world) as telemetry,
    ):
        await telemetry.ready()
        await obstacle.begin()
        await world.publish(*(completed(number) for number in range(total)))

        async def tried_long() -> bool:
            # More often than a bug is given, even if some turns still found room.
            return await telemetry.total("sonant_event_retries_total") >= total * 4

        await until(tried_long, 30)
        await obstacle.end()
        await world.has(total)
        await world.all_read()
        await telemetry.ready()
        assert not await world.parked()


async def test_what_cannot_be_read_is_parked_with_its_passport_and_the_rest_goes_on(world: World) -> None:
    broken = replace(completed(1).record(), value=b'{"request_id": 7')
    lacking = replace(completed(2).record(), value=b'{"request_id": "req-2", "surprise": true}')
    async with started(world) as telemetry:
        await telemetry.ready()
        await world.log.publish(completed(0).record(), broken, lacking, completed(3).record())
        await world.has(2)
        await world.all_read()
    first, second = await world.parked()
    assert first.value == broken.value
    assert first.headers["event-id"] == broken.headers["event-id"]
    assert {name for name in first.headers if name.startswith("dlq-")} == PASSPORT["properties"].keys()
    assert first.headers["dlq-topic"] == "chat-events"
    assert first.headers["dlq-handler"] == "telemetry.handlers.on_chat_reply_completed"
    assert first.headers["dlq-error"] == second.headers["dlq-error"] == "ValidationError"


async def test_unknown_fields_and_unknown_events_are_tolerated(world: World) -> None:
    record = completed(1).record()
    newer = replace(record, value=orjson.dumps({**orjson.loads(record.value), "mood": {"joy": 0.9}}))
    unheard = Record("chat-events", "k", b"{}", {"event-id": "e", "event-type": "chat.reply.admired/1"})
    async with started(world) as telemetry:
        await telemetry.ready()
        await world.log.publish(unheard, newer)
        await world.has(1)
        await world.all_read()
    assert not await world.parked()


async def test_a_turn_the_table_cannot_hold_is_parked_alone_and_nul_is_replaced(world: World) -> None:
    unholdable = [
        completed(1, usage=Usage(prompt_tokens=2**40)),
        completed(2, usage=Usage(prompt_tokens=2**70)),
        completed(3, finished_at=1e300),
        completed(4, request_id=os.urandom(20_000).hex()),
    ]
    strange = completed(5, user_id="a\0b", model=r"back\u0000slash", finish_reason="\0")
    around = [completed(number) for number in range(100, 400)]
    async with started(world) as telemetry:
        await telemetry.ready()
        await world.publish(*around[:150], *unholdable, strange, *around[150:])
        await world.has(301)
        await world.all_read()
    [row] = await world.fetch("SELECT user_id, model FROM telemetry.turns WHERE request_id = 'req-5'")
    assert row == {"user_id": "a\ufffdb", "model": r"back\u0000slash"}
    parked = await world.parked()
    assert {record.headers["event-id"] for record in parked} == {event.id for event in unholdable}
    assert {record.headers["dlq-error"] for record in parked} == {"Park"}


class Requester:
    """Asks for usage as a gateway would."""

    def __init__(self, world: World, reader: LiveReader) -> None:
        self._world = world
        self._reader = reader

    async def ask(self, **fields: Any) -> tuple[int, Any]:
        """Status and body of the answer."""
        query = UsageRequested(**{"org_id": "org-1", "since": date(2026, 11, 1), "until": date(2026, 11, 30), **fields})
        request_id = uuid.uuid4().hex
        event = Event(USAGE_REQUESTED, query, reply_to=self._reader.mailbox, request_id=request_id)
        with self._reader.waiting(request_id) as waiter:
            await self._world.publish(event)
            [frame] = await waiter.frames(timeout=10)
        answer = orjson.loads(frame.payload)
        return answer["status"], answer["body"]


@asynccontextmanager
async def asking(world: World) -> AsyncIterator[Requester]:
    async with open_mailbox(world.redis_url) as reader:
        yield Requester(world, reader)


async def test_usage_sums_up_by_utc_day_model_and_key(world: World) -> None:
    midnight = datetime(2026, 11, 22, tzinfo=UTC).timestamp()
    async with started(world) as telemetry, asking(world) as gateway:
        await telemetry.ready()
        await world.publish(
            *(completed(1), interrupted(2), failed(3)),
            completed(4, finished_at=midnight - 0.001),
            completed(5, finished_at=midnight),
            completed(6, model="large", key_id="key-2"),
            completed(7, org_id="org-2"),
        )
        await world.has(7)
        status, body = await gateway.ask()
        assert (status, body["object"], body["has_more"]) == (200, "list", False)
        assert body.keys() == UsageList.model_fields.keys()
        assert [(row["day"], row["model"], row["key_id"], row["turns"]) for row in body["data"]] == [
            ("2026-11-21", "default", "key-1", 4),
            ("2026-11-21", "large", "key-2", 1),
            ("2026-11-22", "default", "key-1", 1),
        ]
        assert body["data"][0] == {
            "day": "2026-11-21",
            "model": "default",
            "key_id": "key-1",
            "turns": 4,
            "completed": 2,
            "interrupted": 1,
            "failed": 1,
            "prompt_tokens": 40,
            "completion_tokens": 20,
            "total_tokens": 60,
            "cost_usd": 0.004,
        }
        _, filtered = await gateway.ask(model="large", key_id="key-2")
        assert [row["model"] for row in filtered["data"]] == ["large"]
        _, last_day = await gateway.ask(since=date(2026, 11, 22), until=date(2026, 11, 22))
        assert [row["day"] for row in last_day["data"]] == ["2026-11-22"]


ODD_QUESTIONS: list[tuple[dict[str, Any], int]] = [
    ({"since": date(2026, 11, 30), "until": date(2026, 11, 1)}, 400),
    ({"since": date(2020, 1, 1)}, 400),
    ({"since": date(9999, 12, 1), "until": date(9999, 12, 31)}, 200),
    ({"since": date(1, 1, 1), "until": date(1, 1, 2)}, 200),
    ({"model": "nul\0", "org_id": "x" * 100_000}, 200),
]


async def test_odd_questions_get_a_plain_answer(world: World) -> None:
    async with started(world) as telemetry, asking(world) as gateway:
        await telemetry.ready()
        for fields, status in ODD_QUESTIONS:
            got, body = await gateway.ask(**fields)
            assert got == status, fields
            assert body.get("data", []) == []
            assert got == 200 or body["error"]["type"] == "invalid_request_error"


async def test_a_question_while_the_database_is_away_is_answered_so(valkey_url: str, tmp_path: Path) -> None:
    async with (
        running(postgres) as database,
        world_on(valkey_url, database.url, tmp_path) as world,
        started(world) as telemetry,
        asking(world) as gateway,
    ):
        await telemetry.ready()
        await database.stop()
        status, body = await gateway.ask()
        assert (status, body["error"]["code"]) == (503, "database_unavailable")
        await database.start()

        async def answered() -> bool:
            return (await gateway.ask())[0] == 200

        await until(answered)


async def test_on_a_store_that_may_evict_records_it_waits_and_says_why(world: World) -> None:
    async with open_redis(world.redis_url) as operator:
        try:
            await operator.config_set("maxmemory-policy", "allkeys-lru")
            async with started(world) as telemetry:

                async def complains() -> bool:
                    return "maxmemory-policy" in await telemetry.trouble()

                await until(complains, 30)
                await operator.config_set("maxmemory-policy", "noeviction")
                await telemetry.ready()
        finally:
            await operator.config_set("maxmemory-policy", "noeviction")


async def test_started_before_its_database_it_complains_and_catches_up(valkey_url: str, tmp_path: Path) -> None:
    async with running(postgres) as database, world_on(valkey_url, database.url, tmp_path) as world:
        await database.stop()
        async with started(world) as telemetry:

            async def complains() -> bool:
                return "database" in await telemetry.trouble()

            await until(complains, 30)
            await world.publish(*(completed(number) for number in range(50)))
            await database.start()
            await world.has(50)
            await telemetry.ready()
