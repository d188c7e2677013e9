"""Batches of files on PostgreSQL: how far they are, their pages, and when they are forgotten."""

import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from common.events.documents import DOCUMENT_KIND
from common.events.media import JobRequested
from common.jobs.job_store import JobEnd
from common.jobs.postgres_jobs import PostgresJobs
from common.storage.postgres import Pool
from media.adapters.postgres_file_batches import PostgresFileBatches
from media.adapters.postgres_stores import PostgresStores
from media.retrieval_ports import BatchPage, NewBatch, StoreChange

ORG, STORE, BATCH = "org-1", "vs_1", "vsfb_1"
KEEP = 3600.0
EVERY = ("queued", "running", "completed", "failed", "cancelled")


@pytest.fixture
async def pool(media_rows: Pool) -> Pool:
    await PostgresStores(media_rows).put(StoreChange(ORG, STORE, True, "manuals", None))
    return media_rows


@pytest.fixture
def jobs(pool: Pool, document_jobs: PostgresJobs) -> PostgresJobs:
    """Jobs, once there is the store."""
    return document_jobs


@pytest.fixture
def batches(pool: Pool) -> PostgresFileBatches:
    return PostgresFileBatches(pool)


async def begun(jobs: PostgresJobs, batches: PostgresFileBatches, files: int, batch_id: str = BATCH) -> dict[str, str]:
    """A batch of so many files; the job of each asset."""
    made = {f"{batch_id}/{number}": f"job_{uuid.uuid4().hex}" for number in range(files)}
    await jobs.accept([_requested(asset_id, job_id) for asset_id, job_id in made.items()])
    await batches.add(new_batch(made, batch_id))
    return made


def _requested(asset_id: str, job_id: str) -> JobRequested:
    given = {"document_id": f"doc-{asset_id}", "asset_id": asset_id, "metadata": {"of": asset_id}}
    return JobRequested(
        org_id=ORG, key_id="key-1", job_id=job_id, kind=DOCUMENT_KIND, requested_at=time.time(), input=given
    )


def new_batch(jobs: Mapping[str, str], batch_id: str = BATCH, org_id: str = ORG, store_id: str = STORE) -> NewBatch:
    return NewBatch(org_id=org_id, store_id=store_id, id=batch_id, jobs=jobs, created_at=datetime.now(UTC))


def page(limit: int, *, ascending: bool = True, after: str | None = None, before: str | None = None) -> BatchPage:
    return BatchPage(
        org_id=ORG, batch_id=BATCH, states=EVERY, ascending=ascending, after=after, before=before, limit=limit
    )


async def numbers(batches: PostgresFileBatches, wanted: BatchPage) -> tuple[list[int], bool]:
    """The numbers of the files on a page, and whether there are more."""
    files, more = await batches.page(wanted)
    return [int(file.asset_id.partition("/")[2]) for file in files], more


async def test_a_batch_is_as_far_as_its_jobs(jobs: PostgresJobs, batches: PostgresFileBatches) -> None:
    made = await begun(jobs, batches, 4)
    first, second = await jobs.claim("a:1", DOCUMENT_KIND, 2, 30.0)
    await jobs.finish(first.lease, JobEnd("failed", KEEP, error={"code": "document_type", "message": "no"}))
    await jobs.cancel_all(ORG, DOCUMENT_KIND, [id for id in made.values() if id not in (first.id, second.id)][:1])
    found = await batches.get(ORG, STORE, BATCH)
    assert found is not None
    assert (found.in_progress, found.completed, found.failed, found.cancelled, found.total) == (2, 0, 1, 1, 4)
    files, _ = await batches.page(page(10))
    [failed] = [file for file in files if file.state == "failed"]
    assert (failed.error, failed.metadata) == ({"code": "document_type", "message": "no"}, {"of": failed.asset_id})
    assert sorted(await batches.jobs(ORG, BATCH)) == sorted(made.values())


async def test_pages_go_both_ways_and_lose_nothing(jobs: PostgresJobs, batches: PostgresFileBatches) -> None:
    await begun(jobs, batches, 5)
    assert await numbers(batches, page(2)) == ([0, 1], True)
    assert await numbers(batches, page(3, after=f"{BATCH}/1")) == ([2, 3, 4], False)
    assert await numbers(batches, page(2, before=f"{BATCH}/4")) == ([2, 3], True)
    assert await numbers(batches, page(2, before=f"{BATCH}/2")) == ([0, 1], False)
    assert await numbers(batches, page(9, after=f"{BATCH}/0", before=f"{BATCH}/3")) == ([1, 2], False)
    assert await numbers(batches, page(2, ascending=False)) == ([4, 3], True)
    assert await numbers(batches, page(2, ascending=False, after=f"{BATCH}/2")) == ([1, 0], False)
    assert await numbers(batches, page(2, ascending=False, before=f"{BATCH}/1")) == ([3, 2], True)
    assert await numbers(batches, page(2, after="of another batch")) == ([], False)


async def test_a_batch_is_nobody_elses(jobs: PostgresJobs, batches: PostgresFileBatches) -> None:
    made = await begun(jobs, batches, 1)
    assert await batches.get("org-2", STORE, BATCH) is None
    assert await batches.get(ORG, "vs_2", BATCH) is None
    assert await batches.jobs("org-2", BATCH) == []
    # Neither a store that is not there nor a batch that is known takes anything.
    await batches.add(new_batch(made, "vsfb_2", store_id="vs_2"))
    await batches.add(new_batch(made, "vsfb_2", org_id="org-2"))
    await batches.add(new_batch({**made, "more": "job_0"}))
    assert await batches.get(ORG, "vs_2", "vsfb_2") is None
    known = await batches.get(ORG, STORE, BATCH)
    assert known is not None
    assert known.total == 1


async def test_a_batch_is_forgotten_with_its_first_job_and_swept_with_its_last(
    jobs: PostgresJobs, batches: PostgresFileBatches, pool: Pool
) -> None:
    made = await begun(jobs, batches, 2)
    await jobs.cancel_all(ORG, DOCUMENT_KIND, list(made.values()))
    await pool.execute("UPDATE media.jobs SET expires_at = now() - interval '1 second'")
    first, last = made.values()
    await jobs.delete([first])
    assert await batches.get(ORG, STORE, BATCH) is None
    await jobs.delete([last])
    await begun(jobs, batches, 1, "vsfb_2")
    assert await pool.fetchval("SELECT array_agg(id) FROM media.file_batches") == ["vsfb_2"]


async def test_a_batch_goes_with_its_store(jobs: PostgresJobs, batches: PostgresFileBatches, pool: Pool) -> None:
    await begun(jobs, batches, 2)
    assert await PostgresStores(pool).remove(ORG, STORE)
    assert await batches.get(ORG, STORE, BATCH) is None
    assert await pool.fetchval("SELECT count(*) FROM media.file_batch_files") == 0
