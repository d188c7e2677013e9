"""What makes a gateway's database ready: the first admin key, and migrations in both directions."""

import asyncio
from pathlib import Path

import asyncpg
import pytest
from pogo_core.util import migrate

from common.storage.postgres import migrate_schema
from gateway.keys.first_admin import AdminKeyFileError, ensure_admin
from tests.support.keys import MIGRATIONS, Fleet, Operated, pool_on


async def test_the_first_admin_key_is_made_once_in_the_life_of_a_database(tmp_path: Path, operated: Operated) -> None:
    file = tmp_path / "data" / "admin-key"
    async with pool_on(operated.url) as pool:
        await pool.execute("DELETE FROM gateway.first_admin")
        fleet = Fleet(pool)
        keys, store = fleet.members[0], fleet.stores[0]
        await ensure_admin(store, file)
        first = file.read_text().strip()
        caller = await keys.authenticate(first)
        assert (caller.org_id, "admin" in caller.scopes) == ("default", True)
        assert file.stat().st_mode & 0o777 == 0o600
        assert [path.name for path in file.parent.iterdir()] == ["admin-key"]
        made, _ = await keys.list(None, 100)
        # Neither a lost file nor a revoked key brings another one.
        file.unlink()
        await ensure_admin(store, file)
        await keys.revoke(first.split("-")[2])
        await ensure_admin(store, file)
        assert not file.exists()
        assert [key.id for key in (await keys.list(None, 100))[0]] == [key.id for key in made]


async def test_a_key_that_cannot_be_handed_over_is_not_made(tmp_path: Path, operated: Operated) -> None:
    (tmp_path / "taken").write_text("a file where the folder should be")
    file = tmp_path / "admin-key"
    async with pool_on(operated.url) as pool:
        await pool.execute("DELETE FROM gateway.first_admin")
        store = Fleet(pool).stores[0]
        with pytest.raises(AdminKeyFileError, match="taken"):
            await ensure_admin(store, tmp_path / "taken" / "admin-key")
        assert await pool.fetchval("SELECT count(*) FROM gateway.first_admin") == 0
        await ensure_admin(store, file)
        await Fleet(pool).members[0].authenticate(file.read_text().strip())


async def test_processes_that_start_together_make_one_admin_key(tmp_path: Path, operated: Operated) -> None:
    file = tmp_path / "admin-key"
    async with pool_on(operated.url) as pool:
        await asyncio.gather(*(ensure_admin(store, file) for store in Fleet(pool).stores * 2))
        [only], _ = await Fleet(pool).members[0].list(None, 10)
        assert only.id == file.read_text().split("-")[2]


async def test_migrations_go_back_and_forth(postgres_url: str) -> None:
    await migrate_schema(postgres_url, MIGRATIONS, "gateway")
    connection = await asyncpg.connect(postgres_url)
    try:
        transaction = connection.transaction()
        await transaction.start()
        await migrate.rollback(connection, MIGRATIONS, schema_name="gateway")
        assert await connection.fetchval("SELECT to_regclass('gateway.api_keys')") is None
        await migrate.apply(connection, MIGRATIONS, schema_name="gateway")
        assert await connection.fetchval("SELECT to_regclass('gateway.api_keys')") is not None
        await transaction.rollback()
    finally:
        await connection.close()
