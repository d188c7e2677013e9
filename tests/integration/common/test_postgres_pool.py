"""What a connection of the pool is given back as, and that giving it back costs no statement."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from common.storage.postgres import Pool, open_postgres
from tests.support.engines import new_database

LAST_STATEMENT = "SELECT query FROM pg_stat_activity WHERE pid = $1"


@pytest.fixture
async def pool(postgres_url: str, tmp_path: Path) -> AsyncIterator[Pool]:
    (tmp_path / "migrations").mkdir()
    async with (
        new_database(postgres_url, "pool") as url,
        open_postgres(url, size=1, migrations=tmp_path / "migrations", schema="kept") as opened,
    ):
        yield opened


async def test_nothing_is_sent_behind_a_statement(pool: Pool, postgres_url: str) -> None:
    pid = await pool.fetchval("SELECT pg_backend_pid()")
    watcher = await asyncpg.connect(postgres_url)
    try:
        assert await watcher.fetchval(LAST_STATEMENT, pid) == "SELECT pg_backend_pid()"
    finally:
        await watcher.close()


async def test_a_transaction_that_was_left_open_is_rolled_back(pool: Pool) -> None:
    await pool.execute("CREATE TABLE kept.rows (n int)")
    async with pool.acquire() as connection:
        await connection.execute("BEGIN; SET LOCAL work_mem = '1MB'; INSERT INTO kept.rows VALUES (1)")
    async with pool.acquire() as connection:
        assert not connection.is_in_transaction()
        assert await connection.fetchval("SELECT count(*) FROM kept.rows") == 0
        assert await connection.fetchval("SHOW work_mem") != "1MB"
