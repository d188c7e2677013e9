"""PostgreSQL: a pool that waits for its server at boot, and migrations under a lock."""

import asyncio
import logging
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
import structlog
from pogo_core.error import BadMigrationError
from pogo_core.util import migrate

from common.failures import StoreForbiddenError, StoreUnavailableError

log = structlog.get_logger(__name__)

# Quoted: the class is generic for the type checker only.
Pool: TypeAlias = "asyncpg.Pool[Any]"
Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[Any]"
# What runs a statement: a connection, or whichever one of the pool is free.
Executor: TypeAlias = "Connection | Pool"

# The tables of `storage.unit_of_work`, for whichever schema.
UNIT_OF_WORK = Path(__file__).parent / "migrations"

# What "the database does not answer, or not now" looks like; the statement may work in a moment.
UNAVAILABLE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    # No space on its disk, no memory, no connection left.
    asyncpg.InsufficientResourcesError,
    # Starting, ending, crashed, or a statement cancelled by an operator.
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresIOError,
    # A replica that takes over, or a provider's answer to a disk that is nearly full.
    asyncpg.ReadOnlySQLTransactionError,
    # While a password is changed, one side has the new one first.
    asyncpg.InvalidAuthorizationSpecificationError,
    # Of an account that lost its rights, until it has them again.
    asyncpg.InsufficientPrivilegeError,
    asyncpg.InterfaceError,
    # A connection that dies in mid-command may say so only when it is given back, and by this error.
    asyncpg.InternalClientError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
)
COMMAND_SECONDS = 10.0
CONNECT_SECONDS = 3.0
BOOT_RETRY_SECONDS = 0.2
CLOSE_SECONDS = 5.0
STATEMENTS = 100


class ExtensionMissing(Exception):
    """The server lacks an extension that the tables need; the message says which, and what to do."""

    def __init__(self, name: str) -> None:
        super().__init__(f"PostgreSQL has no extension {name!r}: install it on the server, then start this again.")


@asynccontextmanager
async def open_postgres(
    url: str,
    *,
    size: int,
    statements: int = STATEMENTS,
    migrations: Path,
    schema: str,
    unit_of_work: bool = False,
    shared: Sequence[Path] = (),
    extensions: Sequence[str] = (),
) -> AsyncIterator[Pool]:
    """A pool of up to `size` connections on a migrated schema, each with up to `statements` prepared ones.

    Waits for a server that is not there yet or takes no writes; the process is not ready meanwhile.

    With `unit_of_work` the schema also has the tables of `storage.unit_of_work`. `shared` are folders of further
    migrations that name no schema. Raises `pogo_core.error.BadMigrationError` when a migration cannot be applied, and
    ExtensionMissing where the server has not all `extensions`.
    """
    folders = [*([UNIT_OF_WORK] if unit_of_work else []), *shared]
    await _await_migrated(url, migrations, schema, folders, extensions)
    pool = asyncpg.create_pool(
        url,
        min_size=1,
        max_size=size,
        command_timeout=COMMAND_SECONDS,
        timeout=CONNECT_SECONDS,
        statement_cache_size=statements,
        reset=_leave_as_it_is,
    )
    await pool
    try:
        yield pool
    finally:
        await _close(pool)


async def _leave_as_it_is(connection: "asyncpg.Connection[Any]") -> None:
    """Whatever is set here is set within a transaction, which is rolled back if it is open.

    The pool would otherwise send a statement that resets the session behind every use: a round trip for nothing.
    """


async def _close(pool: Pool) -> None:
    """Let statements in flight end, but not for ever: a connection that is never given back must not keep us here."""
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await pool.close()
    except TimeoutError:
        pool.terminate()


async def _await_migrated(
    url: str, migrations: Path, schema: str, shared: Sequence[Path], extensions: Sequence[str]
) -> None:
    warned = False
    while True:
        try:
            for name in extensions:
                await require_extension(url, name)
            return await migrate_schema(url, migrations, schema, shared=shared)
        except asyncpg.InsufficientPrivilegeError:
            # Nobody has seen it work yet: whoever starts it is told at once.
            raise
        except UNAVAILABLE as error:
            if not warned:
                log.warning("waiting for the database", error=str(error))
            warned = True
            await asyncio.sleep(BOOT_RETRY_SECONDS)


async def require_extension(url: str, name: str) -> None:
    """Raises ExtensionMissing, and those of `UNAVAILABLE` while the server is away."""
    connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS)
    try:
        if not await connection.fetchval("SELECT count(*) FROM pg_available_extensions WHERE name = $1", name):
            raise ExtensionMissing(name)
    finally:
        await connection.close()


async def migrate_schema(
    url: str, migrations: Path, schema: str, *, unit_of_work: bool = False, shared: Sequence[Path] = ()
) -> None:
    """Apply the migrations that are missing. Instances that start together take turns.

    Raises `BadMigrationError`, and those of `UNAVAILABLE` while the server is away.
    """
    # The statements are prepared for once only; behind a pooler, those that are kept would be met by other sessions.
    connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS, statement_cache_size=0)
    try:
        # In one transaction: so nothing is half done, and through a pooler all of it is one session's.
        async with connection.transaction():
            # One key for all services: the migration library records them in a table that all share.
            await connection.execute("SELECT pg_advisory_xact_lock($1)", zlib.crc32(b"sonant-migrations"))
            await connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
            for folder in [*([UNIT_OF_WORK] if unit_of_work else []), *shared]:
                # These fit any schema, so they name none.
                await connection.execute(f'SET LOCAL search_path TO "{schema}"')
                await _apply(connection, folder, schema)
                await connection.execute("SET LOCAL search_path TO DEFAULT")
            await _apply(connection, migrations, schema)
    finally:
        await connection.close()


async def _apply(connection: asyncpg.Connection, migrations: Path, schema: str) -> None:
    try:
        await migrate.apply(connection, migrations, schema_name=schema, logger=logging.getLogger(__name__))
    except BadMigrationError as error:
        # The library wraps whatever it meets, a full disk too.
        if isinstance(error.__cause__, UNAVAILABLE):
            raise error.__cause__ from error
        raise


@asynccontextmanager
async def transient() -> AsyncIterator[None]:
    """Raise StoreUnavailableError, which the kernel retries, where the database is away.

    Where it does not let our account work, that is a StoreForbiddenError: after a change of roles, or a restore
    without their grants.
    """
    try:
        yield
    except asyncpg.InsufficientPrivilegeError as error:
        raise StoreForbiddenError(f"the database does not let this service work: {error}") from error
    except UNAVAILABLE as error:
        raise StoreUnavailableError(f"the database does not answer: {error}") from error
