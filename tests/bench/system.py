"""The processes of a bench run: the upstream, the load generator, `sonant up` and a Kafka broker."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from deploy.kafka import broker
from tests.bench.load import KEY_VARIABLE, LoadReport
from tests.bench.measure import Usage, cpu_between, usage_of

READY_DEADLINE = 60.0
STOP_DEADLINE = 30.0
GIVEN_BROKER = "SONANT_TEST_KAFKA"
ROOT = Path(__file__).parents[2]


class BenchError(Exception):
    """The system under test could not be started or died."""


@dataclass(frozen=True)
class Target:
    """Where load goes: an origin, the API key, the model to ask for, the pids behind it by name."""

    url: str
    key: str
    model: str
    pids: Callable[[], dict[str, int]]


@dataclass(frozen=True)
class Sample:
    """One run of the generator with what the processes used in its window."""

    load: LoadReport
    cpu: dict[str, float]
    usage: dict[str, Usage]


def free_port() -> int:
    """A loopback port nobody listens on now."""
    with socket.socket() as candidate:
        candidate.bind(("127.0.0.1", 0))
        return int(candidate.getsockname()[1])


@contextmanager
def running(process: subprocess.Popen[str], budget: float = 5.0) -> Iterator[subprocess.Popen[str]]:
    """End `process` when the block ends: ask, wait `budget` seconds, kill."""
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(budget)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()


@contextmanager
def bench_upstream(port: int = 0) -> Iterator[Target]:
    """The model server in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.upstream", "--port", str(port)]
    with running(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)) as process:
        assert process.stdout
        url = f"http://127.0.0.1:{int(process.stdout.readline())}"
        yield Target(url, "none", "bench", lambda: {"upstream": process.pid})


def drive(target: Target, streams: int, seconds: float, warmup: float, also: Mapping[str, int]) -> Sample:
    """Run the generator against `target` and account for its processes and those in `also`."""
    command = [sys.executable, "-m", "tests.bench.load", "--url", target.url, "--model", target.model]
    command += ["--streams", str(streams), "--seconds", str(seconds), "--warmup", str(warmup)]
    env = {**os.environ, KEY_VARIABLE: target.key}
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
    with running(process):
        assert process.stdout
        _expect(process, "begin")
        before = usage_of({**target.pids(), **also})
        _expect(process, "end")
        after = usage_of({**target.pids(), **also})
        report = LoadReport(**json.loads(process.stdout.readline()))
    return Sample(report, {**cpu_between(before, after), "generator": report.cpu_seconds}, after)


def _expect(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout
    if (got := process.stdout.readline().strip()) != line:
        raise BenchError(f"the load generator said {got!r} instead of {line!r}")


def write_models_file(path: Path, upstream_url: str) -> Path:
    """Map the alias `default` to the bench upstream."""
    path.write_text(
        "[aliases.default]\n[[aliases.default.upstreams]]\n"
        f'name = "bench"\nbase_url = "{upstream_url}/v1"\nmodel = "bench"\n'
    )
    return path


def read_pids(data_dir: Path) -> dict[str, int]:
    """The pids of what runs on this data directory, by name; read anew because a restart changes them."""
    try:
        run = json.loads((data_dir / "run.json").read_text())
    except FileNotFoundError:
        raise BenchError(f"nothing runs on {data_dir}") from None
    pids = {name: entry.get("pid") for name, entry in run["processes"].items()}
    return {"supervisor": run["pid"], **{name: pid for name, pid in pids.items() if pid}}


@dataclass(frozen=True)
class Sonant:
    """A running system and how long its start took (seconds)."""

    target: Target
    start_seconds: float


@contextmanager
def sonant_up(data_dir: Path, models_file: Path, log_url: str | None) -> Iterator[Sonant]:
    """`sonant up` on a free port; ends it when the block ends.

    Raises:
        BenchError: it ended, or was not ready within the deadline; carries the end of its output.
    """
    port = free_port()
    env = {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "SONANT_DATA_DIR": str(data_dir),
        "SONANT_PORT": str(port),
        "SONANT_MODELS_FILE": str(models_file),
        **({"SONANT_LOG_URL": log_url} if log_url else {}),
    }
    output = data_dir.with_name(f"{data_dir.name}.out")
    started = time.monotonic()
    with output.open("w") as file:
        command = [str(Path(sys.executable).parent / "sonant"), "up"]
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=file, stderr=subprocess.STDOUT, text=True)
    with running(process, STOP_DEADLINE):
        _await_ready(process, output, started + READY_DEADLINE)
        took = time.monotonic() - started
        key = (data_dir / "admin-key").read_text().strip()
        yield Sonant(Target(f"http://127.0.0.1:{port}", key, "default", lambda: read_pids(data_dir)), took)


def _await_ready(process: subprocess.Popen[str], output: Path, deadline: float) -> None:
    while "sonant ready on" not in (text := output.read_text(errors="replace")):
        if process.poll() is not None or time.monotonic() > deadline:
            raise BenchError(f"sonant up is not ready (exit code {process.returncode}):\n{text[-3000:]}")
        time.sleep(0.01)


@dataclass(frozen=True)
class BrokerInUse:
    """A running Kafka broker: the log URL and its pid by name."""

    url: str
    pids: dict[str, int]


def kafka_unavailable() -> str | None:
    """Why no broker can be had here; None when one can."""
    return None if GIVEN_BROKER in os.environ else broker.unavailable()


@contextmanager
def kafka_broker(data: Path) -> Iterator[BrokerInUse]:
    """The broker named by SONANT_TEST_KAFKA, else one of its own that keeps its records in `data`.

    Raises:
        BenchError: it cannot be had, or does not answer.
    """
    if given := os.environ.get(GIVEN_BROKER):
        yield BrokerInUse(f"kafka://{given}", _listener("kafka", int(given.rpartition(":")[2])))
        return
    own = broker.Broker(data)
    try:
        own.start()
        asyncio.run(own.ready())
        yield BrokerInUse(own.url, _listener("kafka", own.port))
    except broker.BrokerError as error:
        raise BenchError(str(error)) from error
    finally:
        own.stop()


def _listener(name: str, port: int) -> dict[str, int]:
    """The process that listens on `port` of this machine, under `name`; empty where it cannot be seen."""
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,) and connection.pid:
            return {name: connection.pid}
    return {}
