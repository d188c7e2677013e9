"""What makes a gateway's database ready: the first admin key, and migrations in both directions."""

import asyncio
from pathlib import Path

import asyncpg
from pogo_core.util import migrate

from common.storage.postgres import Pool, migrate_schema
from gateway.keys.first_admin import ensure_admin
from tests.support.keys import MIGRATIONS, Fleet, Operated, pool_on


async def test_the_first_admin_key_is_made_once_and_again_when_its_file_is_lost(
    tmp_path: Path, pool: Pool, fleet: Fleet
) -> None:
    await pool.execute("DELETE FROM gateway.api_keys WHERE org_id = 'default'")
    keys, store, file = fleet.members[0], fleet.stores[0], tmp_path / "data" / "admin-key"
    await ensure_admin(store, file)
    first = file.read_text().strip()
    caller = await keys.authenticate(first)
    assert (caller.org_id, "admin" in caller.scopes) == ("default", True)
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["admin-key"]
    await ensure_admin(store, file)
    assert file.read_text().strip() == first
    file.unlink()
    await ensure_admin(store, file)
    second = file.read_text().strip()
    assert second != first
    for key in (first, second):
        await keys.authenticate(key)
        await keys.revoke(key.split("-")[2])
    await ensure_admin(store, file)
    await keys.authenticate(file.read_text().strip())


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
