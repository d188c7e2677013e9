"""A Kafka for the tests: a given one, a container, or a broker from its published jars; otherwise a reasoned skip.

With `SONANT_TEST_KAFKA_SECURITY=sasl_ssl` it is one from the jars that speaks TLS and wants a login.
"""

import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from deploy.kafka import broker as kafka
from deploy.kafka.broker import Broker
from tests.support.secured_kafka import SecuredBroker

# Long enough for a local engine to answer, short enough not to be noticed where there is none.
DOCKER_PING_SECONDS = 2

USED = pytest.StashKey[str]()
WORKER_OUTPUT = "kafka"


@pytest.fixture(scope="session")
async def kafka_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The URL of the broker that all tests share; they keep to topics of their own."""
    stash = request.config.stash
    if given := os.environ.get("SONANT_TEST_KAFKA"):
        stash[USED] = f"{given} (SONANT_TEST_KAFKA)"
        yield given if "://" in given else f"kafka://{given}"
        return
    port = kafka.free_port()
    with _container(port) as started:
        if started:
            stash[USED] = f"container apache/kafka:{kafka.kafka_version()}"
            assert await kafka.answers(f"127.0.0.1:{port}", kafka.READY_SECONDS), "the container is not ready"
            yield f"kafka://127.0.0.1:{port}"
            return
    async for own in _from_jars(tmp_path_factory.mktemp("kafka"), stash):
        yield own.url


@pytest.fixture(scope="session")
async def _own_broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Broker]:
    async for own in _from_jars(tmp_path_factory.mktemp("kafka-own"), request.config.stash):
        yield own


@pytest.fixture(scope="session")
async def secured_broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[SecuredBroker]:
    """A broker with TLS and logins, whatever the others have."""
    if reason := kafka.unavailable():
        _go_without(reason)
    own = SecuredBroker(tmp_path_factory.mktemp("kafka-secured"))
    try:
        own.start()
        await own.ready()
        yield own
    finally:
        own.stop()


@pytest.fixture
async def kafka_broker(_own_broker: Broker) -> Broker:
    """A broker of the test's own, running at its start, that it may kill and start again."""
    if not _own_broker.running:
        _own_broker.start()
    await _own_broker.ready()
    return _own_broker


async def _from_jars(data: Path, stash: pytest.Stash) -> AsyncIterator[Broker]:
    if reason := kafka.unavailable():
        stash[USED] = f"none: {reason}"
        _go_without(reason)
    own = SecuredBroker(data) if _wants_security() else Broker(data)
    try:
        own.start()
        await own.ready()
        by = " by SASL_SSL" if _wants_security() else ""
        stash.setdefault(USED, f"Apache Kafka {kafka.kafka_version()} from its published jars{by}")
        yield own
    finally:
        own.stop()


def _wants_security() -> bool:
    wanted = os.environ.get("SONANT_TEST_KAFKA_SECURITY", "")
    assert wanted in ("", "sasl_ssl"), "SONANT_TEST_KAFKA_SECURITY is sasl_ssl, or not set"
    return bool(wanted)


def _go_without(reason: str) -> None:
    advice = f"no Kafka: {reason} (set SONANT_TEST_KAFKA, start Docker, or install Java 17 and Maven)"
    if os.environ.get("SONANT_REQUIRE_KAFKA") == "1":
        pytest.fail(advice, pytrace=False)
    pytest.skip(advice)


@contextmanager
def _container(port: int) -> Iterator[bool]:
    """A broker in a container that listens on the same port inside and outside; False where none can be had."""
    if _wants_security() or not _docker_answers():
        yield False
        return
    from testcontainers.core.container import DockerContainer

    settings = kafka.render_properties(bind="0.0.0.0", port=port, controller_port=port + 1, logs="/tmp/kafka")
    image = DockerContainer(f"apache/kafka:{kafka.kafka_version()}").with_bind_ports(port, port)
    for line in settings.splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            image.with_env("KAFKA_" + name.upper().replace(".", "_"), value)
    with image:
        yield True


def _docker_answers() -> bool:
    """Ask the engine by hand: its client package leaves a socket behind when nobody answers."""
    try:
        with _docker_socket() as engine:
            engine.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 " in engine.recv(64)
    except OSError:
        return False


@contextmanager
def _docker_socket() -> Iterator[socket.socket]:
    url = urlsplit(os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock")
    family = socket.AF_UNIX if url.scheme == "unix" else socket.AF_INET
    with socket.socket(family) as engine:
        engine.settimeout(DOCKER_PING_SECONDS)
        engine.connect(url.path if url.scheme == "unix" else (url.hostname, url.port or 2375))
        yield engine


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of a distributed run tells the process that prints the summary."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[WORKER_OUTPUT] = session.config.stash.get(USED, None)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Keep what the worker told; one that crashed told nothing."""
    if used := getattr(node, "workeroutput", {}).get(WORKER_OUTPUT):
        node.config.stash[USED] = used


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which broker the run used: a green run on none proves little."""
    if used := config.stash.get(USED, None):
        terminalreporter.write_line(f"kafka: {used}")
