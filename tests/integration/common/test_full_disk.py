"""What `sonant up` promises about a disk that fills up: it keeps what runs, and starts what died when there is room."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from sonant_cli.engines import FsyncPolicy, postgres_ready
from sonant_cli.logfile import LogFile, tail
from sonant_cli.loopback import free_ports
from sonant_cli.state import DataDir
from tests.support.small_disk import SmallDisk, small_disk
from tests.support.waiting import eventually

# Enough for an empty cluster, which takes some 60 MB with its write-ahead log.
DISK_MEGABYTES = 120

# Both engines, and a service in miniature that is ready on its port, under the care of a supervisor.
SYSTEM = """
import asyncio, os, sys
from functools import partial
from pathlib import Path
from sonant_cli.engines import FsyncPolicy, postgres, valkey
from sonant_cli.probes import http_ready
from sonant_cli.process import Process
from sonant_cli.state import DataDir
from sonant_cli.supervisor import Supervisor

root, fsync, *ports = sys.argv[1:]
data = DataDir(Path(root))
data.create()
live, database, service = map(int, ports)
engines = [
    valkey(data.root / "valkey", live, "a-password", FsyncPolicy(fsync)),
    postgres(data.root / "postgres", database, "a-password"),
]
stand_in = Process(
    name="service",
    command=[sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(service)],
    probe=partial(http_ready, f"http://127.0.0.1:{service}/"),
    env=os.environ,
    directory=data.logs,
)
stages = [[engine.process for engine in engines], [stand_in]]
urls = {"redis": engines[0].url, "database": engines[1].url}
ready = partial(print, "ready", flush=True)
with data.lock():
    asyncio.run(Supervisor(data=data, url="http://here", urls=urls, stages=stages, on_ready=ready).run())
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", DISK_MEGABYTES) as disk:
        yield disk


@asynccontextmanager
async def running(data: DataDir, fsync: FsyncPolicy) -> AsyncIterator[asyncio.subprocess.Process]:
    """The system above, ready when the block begins and ended when it is left."""
    ports = map(str, free_ports(3))
    supervisor = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SYSTEM, str(data.root), fsync, *ports), stdout=asyncio.subprocess.PIPE
    )
    assert supervisor.stdout
    try:
        async with asyncio.timeout(60):
            assert await supervisor.stdout.readline() == b"ready\n"
        yield supervisor
    finally:
        if supervisor.returncode is None:
            supervisor.send_signal(signal.SIGTERM)
        await supervisor.communicate()


def pids(data: DataDir) -> dict[str, int | None]:
    return {name: entry["pid"] for name, entry in data.read_run()["processes"].items()}


def services(supervisor: int) -> set[int]:
    """The lives of the service that run now, whatever the record says; one that ends while it is looked at is none."""
    running = (process.info for process in psutil.process_iter(["pid", "ppid", "name"], ad_value=""))
    return {each["pid"] for each in running if each["ppid"] == supervisor and each["name"].startswith("python")}


@pytest.mark.parametrize("fsync", list(FsyncPolicy))
async def test_what_died_on_a_full_disk_is_back_when_there_is_room(disk: SmallDisk, fsync: FsyncPolicy) -> None:
    data = DataDir(disk.root / "data")
    async with running(data, fsync) as supervisor:
        before = pids(data)
        disk.fill()
        for pid in before.values():
            assert pid
            os.kill(pid, signal.SIGKILL)
        # The service needs no room: it is back although hardly anything about it can be written down.
        await eventually(lambda: services(supervisor.pid) - {before["service"]})
        disk.make_room()
        await eventually(lambda: all_back(data, before), timeout=30)
        await eventually(lambda: engines_work(data), timeout=30)
        assert supervisor.returncode is None
        assert data.read_run()["pid"] == supervisor.pid
        assert "starting again" in "\n".join(tail(data.logs / "service.log"))


def all_back(data: DataDir, before: dict[str, int | None]) -> bool:
    now = pids(data)
    return now.keys() == before.keys() and all(now[name] not in (None, before[name]) for name in now)


async def engines_work(data: DataDir) -> bool:
    urls = data.read_urls()
    try:
        async with Redis.from_url(urls["redis"]) as client:
            await client.set("written", "1")
    except RedisError:
        return False
    return not await postgres_ready(urls["database"])


async def test_the_full_disk_of_a_running_log_store_refuses_writes_and_then_takes_them_again(disk: SmallDisk) -> None:
    """Where the log is told to sync each write, the store ends at the first that fails: it is started again."""
    data = DataDir(disk.root / "data")
    async with running(data, FsyncPolicy.ALWAYS) as supervisor:
        disk.fill()

        async def refused() -> bool:
            return not await engines_work(data)

        await eventually(refused, timeout=30)
        disk.make_room()
        await eventually(lambda: engines_work(data), timeout=30)
        assert supervisor.returncode is None


def test_a_log_on_a_full_disk_is_bounded_and_says_what_it_lost(disk: SmallDisk) -> None:
    log = LogFile(disk.root / "gateway.log", limit=1000, kept=2)
    log.write(b"before\n")
    disk.fill()
    for _ in range(1000):
        log.write(b"x" * 99 + b"\n")
    lost = 1000 * 100 - sum(path.stat().st_size for path in disk.root.glob("gateway.log*")) + len(b"before\n")
    disk.make_room()
    log.write(b"after\n")
    assert tail(log.path)[-2:] == [f"supervisor: {lost} bytes of this log could not be written and are lost", "after"]
    log.close()
