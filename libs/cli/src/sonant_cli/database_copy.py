"""`sonant backup` and `sonant restore`: the database as one file, with PostgreSQL's own tools."""

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qsl, unquote, urlsplit

import typer

from sonant_cli import engines
from sonant_cli.errors import CliError
from sonant_cli.loopback import Ports
from sonant_cli.process import Child
from sonant_cli.state import DataDir

VARIABLE = "SONANT_DATABASE_URL"
# Seconds for the embedded server to start, and to end.
START_SECONDS = 60.0
STOP_SECONDS = 30.0
LOOK_SECONDS = 0.1
# Of `sslmode`: those by which a connection in the clear is none.
TLS_MODES = ("require", "verify-ca", "verify-full")
# Everything of ours; what else is in the database is left alone.
EMPTY = """
DROP SCHEMA IF EXISTS gateway, media, resources, telemetry CASCADE;
DROP TABLE IF EXISTS public._pogo_migration, public._pogo_version;
"""

File = Annotated[Path, typer.Argument(help="The file of the backup, in pg_dump's custom format.")]


def backup(file: File) -> None:
    """Write the database into FILE, while everything runs. Files and the log are apart: docs/backup-and-restore.md."""
    data = DataDir.from_environment()
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        # Before it holds anything: there are keys and conversations in it.
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        asyncio.run(_backup(data, draft))
        draft.replace(file)
    except OSError as error:
        raise CliError(f"{file} cannot be written: {error.strerror}") from None
    finally:
        draft.unlink(missing_ok=True)
    typer.echo(f"the database is in {file} ({file.stat().st_size:,} bytes)")


def restore(file: File) -> None:
    """Replace the database by what FILE holds. Stop the services first; they drop by themselves what they cached."""
    if not file.is_file():
        raise CliError(f"{file} is no file")
    asyncio.run(_restore(DataDir.from_environment(), file))
    typer.echo(f"the database is as {file} has it; start the services again")


async def _backup(data: DataDir, draft: Path) -> None:
    options = ("--format=custom", f"--file={draft}")
    known = data.read_urls().get("database") if data.is_running() else os.environ.get(VARIABLE)
    if known:
        await _run("pg_dump", known, *options)
        return
    async with _stopped_database(data) as url:
        await _run("pg_dump", url, *options)


async def _restore(data: DataDir, file: Path) -> None:
    async with _stopped_database(data) as url:
        await _run("pg_restore", url, "--list", str(file), connect=False)
        await _empty(url)
        await _run("pg_restore", url, "--no-owner", "--no-privileges", "--exit-on-error", str(file))


@asynccontextmanager
async def _stopped_database(data: DataDir) -> AsyncIterator[str]:
    """The address of the database while no service of this data directory runs; the embedded one is started for it."""
    if url := os.environ.get(VARIABLE):
        if data.is_running():
            raise CliError("sonant runs: stop it first")
        yield url
        return
    if not data.root.is_dir():
        raise CliError(f"there is no data directory {data.root}; {VARIABLE} names a database elsewhere")
    data.create()
    with data.lock(), Ports() as ports:
        engine = engines.postgres(data.root / "postgres", ports.free(), data.secret("postgres"))
        child = Child(engine.process, data.logs / "postgres.log", lambda: None)
        child.start()
        try:
            await _await_ready(child)
            yield engine.url
        finally:
            await child.stop(STOP_SECONDS)


async def _await_ready(child: Child) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        why = await child.spec.probe()
        if not why:
            return
        if time.monotonic() > deadline:
            raise CliError(f"the embedded database does not start: {why}; see {child.log}")
        await asyncio.sleep(LOOK_SECONDS)


async def _empty(url: str) -> None:
    import asyncpg

    try:
        connection = await asyncpg.connect(url, timeout=START_SECONDS, statement_cache_size=0)
        try:
            await connection.execute(EMPTY)
        finally:
            await connection.close()
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise CliError(f"{VARIABLE}: {error}") from None


async def _run(program: str, url: str, *options: str, connect: bool = True) -> None:
    """Run one of PostgreSQL's tools; the password goes by the environment, which others cannot see."""
    address = [f"--dbname={_without_password(url)}"] if connect else []
    done = await asyncio.to_thread(
        subprocess.run,
        [_program(program, url), *address, *options],
        env={**os.environ, **_password(url)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise CliError(f"{program} failed: {' '.join(done.stderr.split())[:1000]}")


def _program(name: str, url: str) -> str:
    """Those of the wheel are as new as any server, and speak no TLS; where that is wanted, those of the system."""
    mode = dict(parse_qsl(urlsplit(url).query)).get("sslmode", "")
    own = None if mode in TLS_MODES else engines.tool(name)
    chosen = own or shutil.which(name)
    if not chosen:
        raise CliError(f"{name} is not installed: it comes with PostgreSQL's client, not older than the server")
    return chosen


def _password(url: str) -> Mapping[str, str]:
    password = urlsplit(url).password
    return {"PGPASSWORD": unquote(password)} if password else {}


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    login, at, hosts = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{login.partition(':')[0]}{at}{hosts}").geturl()
