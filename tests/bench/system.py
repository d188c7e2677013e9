"""The processes of a bench run: the upstream, the bare relay, the load generator, `sonant up` and a Kafka broker."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import psutil

from deploy.kafka import broker
from tests.bench.load import KEY_VARIABLE, LoadReport
from tests.bench.measure import Cores, Usage, cores, cpu_between, usage_of
from tests.support.sonant import free_port

READY_DEADLINE = 60.0
STOP_DEADLINE = 30.0
GIVEN_BROKER = "SONANT_TEST_KAFKA"
ROOT = Path(__file__).parents[2]


class BenchError(Exception):
    """The system under test could not be started or died."""


@dataclass(frozen=True)
class Checkout:
    """The tree whose system is measured, with its interpreter; this one if nothing is said."""

    root: Path = ROOT
    python: Path = Path(sys.executable)

    @classmethod
    def at(cls, root: Path) -> "Checkout":
        """A tree with a `.venv` of its own; raises BenchError where `make .venv/.runtime` has not been run in it."""
        python = root.resolve() / ".venv/bin/python"
        if not python.with_name("sonant").exists():
            raise BenchError(f"{root} has no .venv/bin/sonant: run `make .venv/.runtime` there")
        return cls(root.resolve(), python)

    @property
    def sonant(self) -> Path:
        """The command line of this tree."""
        return self.python.with_name("sonant")


OWN = Checkout()


@dataclass(frozen=True)
class Target:
    """Where load goes: an origin, the API key, the model to ask for, the pids behind it by name."""

    url: str
    key: str
    model: str
    pids: Callable[[], dict[str, int]]


@dataclass(frozen=True)
class Sample:
    """One run of the generator with what the processes used in its window, and all cores."""

    load: LoadReport
    cpu: dict[str, float]
    usage: dict[str, Usage]
    cores: Cores

    def cpu_per_thousand(self) -> dict[str, float]:
        """CPU seconds of each process per 1,000 streams; empty where none was completed."""
        completed = self.load.completed
        return {name: seconds / completed * 1000 for name, seconds in self.cpu.items()} if completed else {}


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """A directory for one run; others may pass through, as a database account of its own has to."""
    with tempfile.TemporaryDirectory(prefix="sonant-bench-", ignore_cleanup_errors=True) as name:
        path = Path(name)
        path.chmod(0o711)
        yield path


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
def bench_upstream(port: int = 0, *options: str) -> Iterator[Target]:
    """The model server in a process of its own; `options` are those of its command line."""
    with listening("upstream", "--port", str(port), *options) as target:
        yield target


@contextmanager
def bare_relay(upstream: Target) -> Iterator[Target]:
    """A process that forwards to the upstream and keeps nothing."""
    with listening("relay", "--upstream", upstream.url) as target:
        yield target


@contextmanager
def listening(name: str, *options: str) -> Iterator[Target]:
    """A process of the bench that prints its port; raises BenchError where it prints none."""
    command = [sys.executable, "-m", f"tests.bench.{name}", *options]
    with running(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)) as process:
        assert process.stdout
        if not (port := process.stdout.readline().strip()):
            raise BenchError(f"tests.bench.{name} does not listen (exit code {process.poll()})")
        yield Target(f"http://127.0.0.1:{port}", "none", "bench", lambda: {name: process.pid})


def drive(target: Target, streams: int, seconds: float, warmup: float, also: Mapping[str, int]) -> Sample:
    """Run the generator against `target` and account for its processes and those in `also`."""
    load = ["tests.bench.load", "--model", target.model]
    return generate(target, [*load, "--streams", str(streams)], seconds, warmup, also)


def generate(target: Target, load: Sequence[str], seconds: float, warmup: float, also: Mapping[str, int]) -> Sample:
    """Run the generator `load` (a module and its options) as `drive` does."""
    command = [sys.executable, "-m", *load, "--url", target.url, "--seconds", str(seconds), "--warmup", str(warmup)]
    env = {**os.environ, KEY_VARIABLE: target.key}
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
    with running(process):
        assert process.stdout
        _expect(process, "begin")
        before, cores_before = usage_of({**target.pids(), **also}), cores()
        _expect(process, "end")
        used = cores() - cores_before
        after = usage_of({**target.pids(), **also})
        report = LoadReport(**json.loads(process.stdout.readline()))
    cpu = {**cpu_between(before, after), "generator": report.cpu_seconds}
    return Sample(report, cpu, after, used.less(known=sum(cpu.values())))


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
    run = _run(data_dir)
    pids = {name: entry.get("pid") for name, entry in run["processes"].items()}
    return {"supervisor": run["pid"], **{name: pid for name, pid in pids.items() if pid}}


def ops_url(data_dir: Path, name: str) -> str:
    """Where a service of this data directory shows its metrics."""
    return str(_run(data_dir)["processes"][name]["ops_url"])


def _run(data_dir: Path) -> dict[str, Any]:
    try:
        run: dict[str, Any] = json.loads((data_dir / "run.json").read_text())
    except FileNotFoundError:
        raise BenchError(f"nothing runs on {data_dir}") from None
    return run


def engine_urls(data_dir: Path) -> dict[str, str]:
    """Where the engines of this data directory are: `log`, `redis`, `database`."""
    urls: dict[str, str] = json.loads((data_dir / "urls.json").read_text())
    return urls


@dataclass(frozen=True)
class Sonant:
    """A running system and how long its start took (seconds)."""

    target: Target
    start_seconds: float


@contextmanager
def sonant_up(
    data_dir: Path,
    models_file: Path,
    log_url: str | None,
    settings: Mapping[str, str] = MappingProxyType({}),
    checkout: Checkout = OWN,
) -> Iterator[Sonant]:
    """`sonant up` of a checkout on a free port; ends it when the block ends.

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
        **settings,
    }
    output = data_dir.with_name(f"{data_dir.name}.out")
    started = time.monotonic()
    with output.open("w") as file:
        command = [str(checkout.sonant), "up"]
        process = subprocess.Popen(
            command, cwd=checkout.root, env=env, stdout=file, stderr=subprocess.STDOUT, text=True
        )
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
class Replica:
    """A service process of its own beside a running system: its name, its ops port and, of a gateway, its origin."""

    name: str
    ops_url: str
    url: str = ""


@contextmanager
def replica(module: str, name: str, data_dir: Path, env: Mapping[str, str]) -> Iterator[Replica]:
    """Another process of a service on the engines of a running system, ready; ends with the block."""
    ops, port = free_port(), free_port()
    engines = {f"SONANT_{engine.upper()}_URL": url for engine, url in engine_urls(data_dir).items()}
    own = {"SONANT_INSTANCE": name, "SONANT_OPS_PORT": str(ops), "SONANT_PORT": str(port)}
    output = data_dir.with_name(f"{name}.out")
    with output.open("w") as file:
        command = [sys.executable, "-m", module]
        environ = {**os.environ, **engines, **own, **env}
        process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=file, stderr=subprocess.STDOUT, text=True)
    with running(process, STOP_DEADLINE):
        made = Replica(name, f"http://127.0.0.1:{ops}", f"http://127.0.0.1:{port}")
        _await_health(process, made, output)
        yield made


def _await_health(process: subprocess.Popen[str], made: Replica, output: Path) -> None:
    deadline = time.monotonic() + READY_DEADLINE
    while not _answers(f"{made.ops_url}/readyz"):
        if process.poll() is not None or time.monotonic() > deadline:
            raise BenchError(f"{made.name} is not ready:\n{output.read_text(errors='replace')[-3000:]}")
        time.sleep(0.02)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


def counted(ops_url: str, metric: str, label: str = "") -> float:
    """A counter of a service, summed over the lines that contain `label`."""
    lines = httpx.get(f"{ops_url}/metrics").text.splitlines()
    mine = [line for line in lines if line.startswith((metric + "{", metric + " ")) and label in line]
    return sum(float(line.rpartition(" ")[2]) for line in mine)


@contextmanager
def provider_sandbox() -> Iterator[str]:
    """The stand-in for the voice provider in a process of its own; yields its URL."""
    command = [sys.executable, "-m", "sandbox", "--port", "0"]
    with running(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)) as process:
        assert process.stdout
        yield process.stdout.readline().strip().rpartition(" ")[2]


@dataclass(frozen=True)
class BrokerInUse:
    """A running Kafka broker: the log URL and its pid by name."""

    url: str
    pids: dict[str, int]


def kafka_unavailable() -> str | None:
    """Why no broker can be had here; None when one can."""
    return None if GIVEN_BROKER in os.environ else broker.unavailable()


def chosen_logs(choice: str) -> list[str]:
    """The logs to measure; `both` leaves Kafka out, and says why, where no broker can be had."""
    reason = kafka_unavailable()
    if choice == "both" and reason:
        print(f"kafka is left out: {reason}")
        return ["embedded"]
    return ["embedded", "kafka"] if choice == "both" else [choice]


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
