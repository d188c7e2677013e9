"""The database as operators have it: behind a pooler, by TLS, and read-only for a moment when it fails over."""

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from common.failures import StoreUnavailableError
from common.storage.database_watch import DatabaseWatch
from common.storage.postgres import open_postgres, transient
from sonant_cli.engine_check import findings
from tests.support.active import new_team, reading, resolve, settled
from tests.support.engines import new_database
from tests.support.obstacles import execute
from tests.support.pgbouncer import pooled
from tests.support.resources import caller_of
from tests.support.service import started, world_on
from tests.support.waiting import eventually

SWITCHES = 12


async def test_services_work_through_a_pooler_in_transaction_mode(
    valkey_url: str, postgres_url: str, tmp_path: Path
) -> None:
    """Migrations of services that start together, units of work, the outbox, and the reads of many at once."""
    settings = {"SONANT_DATABASE_STATEMENTS": "0"}
    async with (
        new_database(postgres_url, "pooled") as direct,
        pooled(direct) as url,
        world_on(valkey_url, url, tmp_path) as world,
        started(world, "resources", settings=settings) as resources,
        started(world, "telemetry", settings=settings) as telemetry,
        caller_of(world) as caller,
        reading(caller) as reader,
    ):
        assert await findings({"SONANT_DATABASE_URL": url}) == []
        await resources.ready()
        await telemetry.ready()
        teams = [new_team(caller) for _ in range(SWITCHES)]
        answers = await asyncio.gather(*[team.switch(await team.pins()) for team in teams])
        assert [answer.status for answer in answers] == [200] * SWITCHES
        await settled(world)
        for team, answer in zip(teams, answers, strict=True):
            assert await resolve(reader, team) == answer.body
        for process in (resources, telemetry):
            text = process.output.read_text()
            assert "does not exist" not in text, text
            assert "Traceback" not in text, text


async def test_what_a_server_by_tls_refuses_is_a_line_each(postgres_url: str) -> None:
    async with pooled(postgres_url) as url:
        [untrusted] = await findings({"SONANT_DATABASE_URL": url.replace("localhost", "127.0.0.1")})
        assert untrusted.text.startswith("SONANT_DATABASE_URL: ")
        assert "certificate" in untrusted.text
        host = urlsplit(url).netloc
        [wrong] = await findings({"SONANT_DATABASE_URL": f"postgresql://{host}/x?sslmode=disable"})
        assert wrong.text.startswith("SONANT_DATABASE_URL: refuses us: ")
        assert "\n" not in wrong.text + untrusted.text


async def test_after_a_failover_the_pool_leaves_what_has_become_a_replica(postgres_url: str, tmp_path: Path) -> None:
    (tmp_path / "migrations").mkdir()
    async with new_database(postgres_url, "failover") as url:
        name = urlsplit(url).path[1:]
        async with open_postgres(url, size=2, migrations=tmp_path / "migrations", schema="kept") as pool:
            await pool.execute("CREATE TABLE kept.rows (n int)")
            # What connects now is led to a replica, and what connects afterwards to the new primary.
            await execute(postgres_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
            await pool.expire_connections()
            with pytest.raises(StoreUnavailableError):
                await insert(pool)
            await execute(postgres_url, f"ALTER DATABASE {name} SET default_transaction_read_only = off")
            with pytest.raises(StoreUnavailableError):
                await insert(pool)
            watching = asyncio.create_task(DatabaseWatch().run(pool))

            async def written() -> bool:
                try:
                    await insert(pool)
                except StoreUnavailableError:
                    return False
                return True

            await eventually(written, timeout=30)
            watching.cancel()


async def insert(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    async with transient():
        await pool.execute("INSERT INTO kept.rows VALUES (1)")
