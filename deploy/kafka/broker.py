"""A real Apache Kafka broker from its published jars, for tests and benches: fetch, start, kill, start again.

Runs by itself too: `python deploy/kafka/broker.py run --port 9092 --data DIR`.
"""

import argparse
import asyncio
import base64
import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

HERE = Path(__file__).parent
MIN_JAVA = 17
HEAP = "-Xmx320m"
# The first compiler tier and the serial collector start fastest and need the least memory.
JVM_FLAGS = ("-Xms64m", HEAP, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData")
QUIET = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
# The first fetch may go through a slow mirror.
FETCH_SECONDS = 600
READY_SECONDS = 60.0
STOP_SECONDS = 15.0


class BrokerError(Exception):
    """The broker cannot be had or has died; the message says why."""


def kafka_version() -> str:
    """The version pinned in pom.xml."""
    found = re.search(r"<kafka\.version>(.+?)<", (HERE / "pom.xml").read_text())
    if found is None:
        raise BrokerError("pom.xml names no kafka.version")
    return found[1]


def unavailable() -> str | None:
    """Why no broker can run on this machine, or None."""
    if shutil.which("mvn") is None and not jars_folder().exists():
        return "Maven is not installed"
    java = shutil.which("java")
    if java is None:
        return "Java is not installed"
    printed = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False).stderr
    found = re.search(r'version "(\d+)', printed)
    if found is None or int(found[1]) < MIN_JAVA:
        return f"Java {MIN_JAVA} or newer is needed"
    return None


def jars_folder() -> Path:
    """Where the jars are kept: `SONANT_KAFKA_CACHE`, or the user's cache directory."""
    if cache := os.environ.get("SONANT_KAFKA_CACHE"):
        return Path(cache) / f"kafka-{kafka_version()}"
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "sonant" / f"kafka-{kafka_version()}"


def fetch_jars() -> Path:
    """The folder of the jars, filled by Maven the first time; safe under concurrent runs. Raises BrokerError."""
    folder = jars_folder()
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_name(f"{folder.name}.lock")):
        if not folder.exists():
            _copy_jars(folder)
    return folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _copy_jars(folder: Path) -> None:
    """Copy next door, then rename: a half-filled folder is never seen."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        target = Path(scratch) / "jars"
        maven = ["mvn", "-q", "-B", "--strict-checksums", "-f", str(HERE / "pom.xml")]
        command = [*maven, "dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={target}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
        if done.returncode != 0:
            raise BrokerError(f"Maven could not fetch Kafka: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        target.rename(folder)


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def render_properties(*, bind: str, port: int, controller_port: int, logs: str) -> str:
    """The broker's configuration with its places filled in."""
    template = Template((HERE / "server.properties").read_text())
    return template.substitute(bind=bind, port=port, controller_port=controller_port, logs=logs)


class Broker:
    """One broker on a loopback port, keeping its data in a folder; may be killed and started again."""

    def __init__(self, data: Path, port: int = 0) -> None:
        self.data = data
        self.port = port or free_port()
        self._controller_port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"kafka://{self.address}"

    @property
    def client_arguments(self) -> dict[str, Any]:
        """What a client of `aiokafka` is told."""
        return {"bootstrap_servers": self.address}

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process is not None and self.running else None

    def start(self) -> None:
        """Start the process on whatever the data folder holds; `ready` tells when it serves. Raises BrokerError."""
        classpath = f"{fetch_jars()}/*"
        properties = self._configure()
        self._format(classpath, properties)
        java = ["java", *JVM_FLAGS, QUIET, "-cp", classpath, "kafka.Kafka", str(properties)]
        with self._log_file.open("ab") as output:
            self._process = subprocess.Popen([*_tied_to_parent(), *java], stdout=output, stderr=output)

    async def ready(self, timeout: float = READY_SECONDS) -> None:
        """Return once the broker answers a client; raises BrokerError when it died or took too long."""
        if not await answers(self.address, timeout, lambda: self.running, self.client_arguments):
            tail = self._log_file.read_text(errors="replace")[-2000:]
            raise BrokerError(f"Kafka {'is not ready' if self.running else 'ended by itself'}: {tail}")

    def stop(self) -> None:
        """End the process in good order, or by force after a while."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """What `kill -9` does: no farewell to anyone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def wait(self) -> int:
        """The exit status of the process, once it has ended."""
        return self._process.wait() if self._process is not None else 0

    @property
    def _log_file(self) -> Path:
        return self.data / "broker.log"

    def _configure(self) -> Path:
        self.data.mkdir(parents=True, exist_ok=True)
        logs = str(self.data / "logs")
        path = self.data / "server.properties"
        path.write_text(
            render_properties(bind="127.0.0.1", port=self.port, controller_port=self._controller_port, logs=logs)
            + self.more_properties()
        )
        return path

    def more_properties(self) -> str:
        """Lines for the end of the configuration; a later line replaces an earlier one of its name."""
        return ""

    def format_options(self) -> Sequence[str]:
        """What the storage is formatted with beside its id."""
        return ()

    def _format(self, classpath: str, properties: Path) -> None:
        if (self.data / "logs" / "meta.properties").exists():
            return
        # An id that began with a dash would be taken for an option.
        cluster = "A" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
        tool = ["java", *JVM_FLAGS, QUIET, "-cp", classpath, "kafka.tools.StorageTool"]
        command = [*tool, "format", "--cluster-id", cluster, "--config", str(properties), *self.format_options()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=READY_SECONDS, check=False)
        if done.returncode != 0:
            raise BrokerError(f"Kafka could not format its storage: {done.stdout}{done.stderr}")


def _tied_to_parent() -> Sequence[str]:
    """A command prefix that lets the broker die with whoever started it, where the system has one."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []


async def answers(
    address: str,
    timeout: float,
    alive: Callable[[], bool] = lambda: True,
    arguments: Mapping[str, Any] | None = None,
) -> bool:
    """Wait until the broker at `address` (host:port) answers a client; False when it took too long or died."""
    deadline = time.monotonic() + timeout
    while alive() and time.monotonic() < deadline:
        if _listens(address) and await _knows_itself(arguments or {"bootstrap_servers": address}):
            return True
        await asyncio.sleep(0.05)
    return False


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


async def _knows_itself(arguments: Mapping[str, Any]) -> bool:
    admin = AIOKafkaAdminClient(**arguments, request_timeout_ms=2000)
    try:
        await admin.start()
        return bool((await admin.describe_cluster())["brokers"])
    except (KafkaError, OSError):
        return False
    finally:
        await admin.close()


def main() -> int:
    """Run one broker until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(description="A small Apache Kafka broker on loopback.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="start and stay in the foreground")
    run.add_argument("--port", type=int, default=9092)
    run.add_argument("--data", type=Path, required=True, help="folder that keeps the records")
    commands.add_parser("fetch", help="only fetch the jars")
    arguments = parser.parse_args()
    if reason := unavailable():
        sys.exit(f"no Kafka here: {reason}")
    if arguments.command == "fetch":
        sys.stdout.write(f"{fetch_jars()}\n")
        return 0
    return _run(Broker(arguments.data, arguments.port))


def _run(broker: Broker) -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        broker.start()
        asyncio.run(broker.ready())
        sys.stdout.write(f"kafka {kafka_version()} ready on {broker.url}\n")
        sys.stdout.flush()
        return broker.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        broker.stop()


if __name__ == "__main__":
    sys.exit(main())
