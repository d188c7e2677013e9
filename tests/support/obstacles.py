"""What keeps a database that answers from being written to: read-only, a full disk, an account without rights."""

import asyncio
import os
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.support.engines import new_database

# Room for an empty database of 8 MB and the turns of one test.
DISK_BYTES = 24 * 1024 * 1024


@dataclass(frozen=True)
class Obstacle:
    """What keeps a database that answers from being written to."""

    database_url: str
    begin: Callable[[], Awaitable[None]]
    end: Callable[[], Awaitable[None]]


@asynccontextmanager
async def read_only(postgres_url: str) -> AsyncIterator[Obstacle]:
    """A server that has become a replica, or holds itself back."""
    async with new_database(postgres_url, "obstacle") as url:
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
        # The account that the server runs as.
        account = Path(f"/proc/{await connection.fetchval('SELECT pg_backend_pid()')}").stat()
        await connection.close()
        os.chown(space, account.st_uid, account.st_gid)
        await execute(postgres_url, f"CREATE TABLESPACE small LOCATION '{space}'")
        ballast = disk / "ballast"

        async def fill() -> None:
            # What a server has just begun with makes room again for a moment, such as a draft that it takes away.
            tries_for_nothing = 0
            with ballast.open("ab", buffering=0) as opened:
                while tries_for_nothing < 50:
                    tries_for_nothing += 1
                    with suppress(OSError):
                        while opened.write(bytes(4096)):
                            tries_for_nothing = 0
                    await asyncio.sleep(0.01)

        async def empty() -> None:
            ballast.unlink()

        try:
            async with new_database(postgres_url, "obstacle") as url:
                await execute(postgres_url, f"ALTER DATABASE {urlsplit(url).path[1:]} SET TABLESPACE small")
                yield Obstacle(url, fill, empty)
        finally:
            await execute(postgres_url, "DROP TABLESPACE small")


@asynccontextmanager
async def no_rights(postgres_url: str) -> AsyncIterator[Obstacle]:
    """Sessions that may do nothing with the tables, as after a change of roles or a restore without their grants."""
    async with new_database(postgres_url, "obstacle") as url:
        name, role = urlsplit(url).path[1:], f"nobody_{uuid.uuid4().hex[:12]}"
        account = urlsplit(url).username
        leave = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"  # noqa: S608  (a name of ours)
        setting = f"ALTER ROLE {account} IN DATABASE {name}"
        await execute(postgres_url, f"CREATE ROLE {role}")
        try:
            yield Obstacle(
                url,
                partial(execute, postgres_url, f"{setting} SET role TO {role}", leave),
                partial(execute, postgres_url, f"{setting} RESET role", leave),
            )
        finally:
            await execute(postgres_url, f"{setting} RESET role", f"DROP ROLE {role}")


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
