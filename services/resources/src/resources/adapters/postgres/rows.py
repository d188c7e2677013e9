"""Statements about one organisation, on a connection or on whichever one of the pool is free."""

from collections.abc import Sequence
from typing import Any

import asyncpg
import orjson

from common.storage.postgres import Executor, transient


class Rows:
    """What the tables are read with. Every statement has the organisation as `$1`.

    Raises StoreUnavailableError while the database is away.
    """

    def __init__(self, executor: Executor, org_id: str) -> None:
        self._executor = executor
        self._org_id = org_id

    async def fetch(self, query: str, *values: Any) -> Sequence[asyncpg.Record]:
        async with transient():
            found: Sequence[asyncpg.Record] = await self._executor.fetch(query, self._org_id, *values)
        return found

    async def row(self, query: str, *values: Any) -> asyncpg.Record | None:
        async with transient():
            return await self._executor.fetchrow(query, self._org_id, *values)

    async def value(self, query: str, *values: Any) -> Any:
        async with transient():
            return await self._executor.fetchval(query, self._org_id, *values)

    async def execute(self, query: str, *values: Any) -> None:
        async with transient():
            await self._executor.execute(query, self._org_id, *values)

    async def execute_all(self, query: str, rows: Sequence[Sequence[Any]]) -> None:
        async with transient():
            await self._executor.executemany(query, [(self._org_id, *row) for row in rows])


def encoded(document: Any) -> str:
    """A JSON document as a column takes it."""
    return orjson.dumps(document).decode()


def decoded(column: str | None) -> Any:
    return None if column is None else orjson.loads(column)
