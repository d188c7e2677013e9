"""Sums of turns that were stored before usage was counted by day are kept."""

import shutil
from pathlib import Path

import asyncpg

import telemetry
from common.storage.postgres import migrate_schema
from tests.support.engines import new_database

MIGRATIONS = Path(telemetry.__file__).parents[2] / "migrations"
TURN = """
INSERT INTO telemetry.turns (
    request_id, org_id, key_id, session_id, model, stream, outcome, prompt_tokens, completion_tokens, total_tokens,
    estimated, cost_usd, received_at, started_at, finished_at, attempts
)
SELECT 'req-' || n, 'org-1', 'key-1', 's', $1, true, $2, 10, 5, 15, false, 0.25, at, at, at, '[]'
FROM generate_series($3::int, $4::int) AS n, (SELECT '2026-01-31 23:59:59.5+00'::timestamptz AS at)
"""


async def test_usage_of_before_is_counted_by_day(postgres_url: str, tmp_path: Path) -> None:
    before = tmp_path / "before"
    shutil.copytree(MIGRATIONS, before, ignore=lambda _, names: [name for name in names if name >= "0030"])
    async with new_database(postgres_url, "usage") as url:
        await migrate_schema(url, before, "telemetry")
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(TURN, "m-1", "completed", 1, 3)
            await connection.execute(TURN, "m-1", "failed", 4, 4)
            await connection.execute(TURN, "x" * 5_000, "interrupted", 5, 5)
            await migrate_schema(url, MIGRATIONS, "telemetry")
            rows = await connection.fetch("SELECT * FROM telemetry.usage_days ORDER BY model")
            gone = await connection.fetchval("SELECT to_regclass('telemetry.turns')")
        finally:
            await connection.close()
    known, long = (dict(row) for row in rows)
    assert (known["model"], str(known["day"]), known["turns"]) == ("m-1", "2026-01-31", 4)
    assert (known["completed"], known["interrupted"], known["failed"]) == (3, 0, 1)
    assert (known["prompt_tokens"], known["completion_tokens"], known["total_tokens"]) == (40, 20, 60)
    assert float(known["cost_usd"]) == 1.0
    assert (long["interrupted"], len(long["model"])) == (1, 165)
    assert gone is None
