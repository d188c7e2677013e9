"""The database as use cases see it: the tables of one organisation, read now, at one moment, or written."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from common.storage.postgres import Executor, Pool, transient
from resources.adapters.postgres.audit_table import PostgresAudit
from resources.adapters.postgres.catalogue_tables import PostgresCatalogue, PostgresCatalogueWrites
from resources.adapters.postgres.rows import Rows
from resources.adapters.postgres.scope_tables import PostgresScopes, PostgresScopeWrites
from resources.ports import Tables, Work, WriteTables


class PostgresStore:
    """The port `Store`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def of(self, org_id: str) -> Tables:
        return _tables(self._pool, org_id)

    @asynccontextmanager
    async def snapshot(self, org_id: str) -> AsyncIterator[Tables]:
        async with (
            transient(),
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield _tables(connection, org_id)


def _tables(executor: Executor, org_id: str) -> Tables:
    rows = Rows(executor, org_id)
    return Tables(PostgresCatalogue(rows), PostgresScopes(rows), PostgresAudit(rows))


def write_tables(work: Work) -> WriteTables:
    """The tables within a unit of work."""
    rows = Rows(work.connection, work.org_id)
    return WriteTables(PostgresCatalogueWrites(rows, work), PostgresScopeWrites(rows, work), PostgresAudit(rows))
