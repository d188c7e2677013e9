"""What was spoken is kept by organisation, until it is old or too much; what cannot be kept is no failure."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from common.jobs.open_jobs import JOBS_MIGRATIONS
from common.storage.objects import Objects, open_objects
from common.storage.postgres import Pool, open_postgres
from media.adapters.kept_objects import KeptObjects
from media.app import MIGRATIONS
from tests.support.engines import new_database

DAY = 86_400.0
AGED = "UPDATE media.speech_kept SET used_at = now() - $1::int * interval '1 hour' WHERE key = $2"


@pytest.fixture
async def pool(postgres_url: str) -> AsyncIterator[Pool]:
    async with new_database(postgres_url, "kept") as url:
        opened = open_postgres(
            url, size=2, migrations=MIGRATIONS, schema="media", unit_of_work=True, shared=[JOBS_MIGRATIONS]
        )
        async with opened as pool:
            yield pool


@pytest.fixture
async def objects(tmp_path: Path) -> AsyncIterator[Objects]:
    async with open_objects("", tmp_path) as opened:
        yield opened


def kept_in(objects: Objects, pool: Pool, **given: float) -> KeptObjects:
    return KeptObjects(objects, pool, **{"keep_seconds": 30 * DAY, "org_bytes": 10_000, **given})  # type: ignore[arg-type]


def files(folder: Path) -> int:
    return sum(1 for path in folder.rglob("*") if path.is_file())


async def test_what_is_kept_is_found_by_its_organisation_alone(objects: Objects, pool: Pool) -> None:
    kept = kept_in(objects, pool)
    # Names of organisations are no parts of paths.
    for org in ("acme", "../../etc", "a/b", "\u00fcber"):
        assert await kept.find(org, "k1") is None
        await kept.keep(org, "k1", {"rate": 48_000}, org.encode())
        found = await kept.find(org, "k1")
        assert found is not None
        assert (found.about, found.data) == ({"rate": 48_000}, org.encode())
    assert await kept.find("other", "k1") is None


async def test_what_is_used_least_goes_first(objects: Objects, pool: Pool, tmp_path: Path) -> None:
    kept = kept_in(objects, pool)
    for number in range(12):
        await kept.keep("acme", f"k{number}", {}, bytes(1_000))
        await pool.execute(AGED, 12 - number, f"k{number}")
    await kept.keep("other", "k", {}, bytes(1_000))
    assert await kept.find("acme", "k0") is not None
    await kept.note()
    assert await kept.sweep() == 2
    assert [await kept.find("acme", f"k{number}") is not None for number in (0, 1, 2, 3, 11)] == [
        True,
        False,
        False,
        True,
        True,
    ]
    assert await kept.find("other", "k") is not None
    assert files(tmp_path) == 11


async def test_what_was_not_used_for_long_goes(objects: Objects, pool: Pool, tmp_path: Path) -> None:
    kept = kept_in(objects, pool, keep_seconds=DAY)
    await kept.keep("acme", "old", {}, b"1")
    await kept.keep("acme", "new", {}, b"2")
    await pool.execute("UPDATE media.speech_kept SET used_at = now() - interval '2 days' WHERE key = 'old'")
    assert await kept.sweep() == 1
    assert (await kept.find("acme", "old"), files(tmp_path)) == (None, 1)


async def test_a_store_that_is_away_is_no_failure(objects: Objects, pool: Pool) -> None:
    kept = kept_in(objects, pool)
    await pool.execute("DROP TABLE media.speech_kept CASCADE")
    await pool.close()
    await kept.keep("acme", "k1", {}, b"1")
    assert await kept.find("acme", "k1") is None
