"""Real engines for a test session: Valkey and PostgreSQL from their wheels, each in a directory of its own."""

import tempfile
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from sonant_cli.engines import Engine, postgres, valkey
from sonant_cli.process import Child
from tests.support.sonant import free_port, suspended
from tests.support.waiting import eventually

START_SECONDS = 60
STOP_SECONDS = 10


class Running:
    """An engine under a test's control: started, stopped and started again on the same data and address."""

    def __init__(self, make: Callable[[Path, int, str], Engine], directory: Path) -> None:
        self._engine = make(directory / "data", free_port(), "test-password")
        self._log = directory / "engine.log"
        self._child: Child | None = None
        self.url = self._engine.url
        self.socket_url = self._engine.socket_url

    async def start(self) -> None:
        """Start it and wait until it answers."""
        self._child = Child(self._engine.process, self._log, lambda: None)
        self._child.start()

        async def ready() -> bool:
            return not await self._engine.process.probe()

        await eventually(ready, timeout=START_SECONDS)

    def hung(self) -> AbstractContextManager[None]:
        """It answers nothing for as long as the block runs, and then goes on with all that it was sent meanwhile."""
        assert self._child is not None
        assert self._child.pid is not None
        return suspended(self._child.pid)

    async def stop(self) -> None:
        """Stop it; its data stays."""
        if self._child is not None:
            await self._child.stop(STOP_SECONDS)
            self._child = None


@asynccontextmanager
async def running(make: Callable[[Path, int, str], Engine]) -> AsyncIterator[Running]:
    """An engine that answers, with its data in a directory that goes with it.

    Not below pytest's own: every start of pytest closes the directory they all share to other accounts, and
    PostgreSQL runs under another where the tests are root.
    """
    with tempfile.TemporaryDirectory(prefix="sonant-engine-") as directory:
        engine = Running(make, Path(directory))
        try:
            await engine.start()
            yield engine
        finally:
            await engine.stop()


@pytest.fixture(scope="session")
async def valkey_url() -> AsyncIterator[str]:
    """The address of a Valkey that the whole session shares: use keys of your own."""
    async with running(valkey) as engine:
        yield engine.url


@pytest.fixture(scope="session")
async def postgres_url() -> AsyncIterator[str]:
    """The address of a PostgreSQL with pgvector that the whole session shares: use a schema of your own."""
    async with running(postgres) as engine:
        yield engine.url


@asynccontextmanager
async def new_database(postgres_url: str, prefix: str) -> AsyncIterator[str]:
    """The address of an empty database that is dropped afterwards."""
    name = f"{prefix}_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(postgres_url)
    try:
        await admin.execute(f"CREATE DATABASE {name}")
        try:
            yield urlsplit(postgres_url)._replace(path=f"/{name}").geturl()
        finally:
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()
