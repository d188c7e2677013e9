"""Vector stores on PostgreSQL: their pages, those of their files, and what a deletion leaves."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from common.events.documents import DOCUMENT_KIND, DocumentInput, document_id
from common.events.media import JobRequested
from common.events.resource_terms import DEFAULT_PROJECT
from common.failures import Refused
from common.jobs.job_store import JobEnd, JobHead
from common.jobs.postgres_jobs import PostgresJobs
from common.storage.postgres import Pool
from media.adapters.postgres_documents import PostgresDocuments
from media.adapters.postgres_stores import PostgresStores
from media.retrieval_ports import StoreChange, StoreFilePage, StorePage, Version

ORG, STORE = "org-1", f"vs_{1:032x}"
KEEP = 3600.0
EVERY = ("queued", "running", "completed", "failed", "cancelled")
# Jobs are asked for a second apart.
BEGUN = time.time() - 1_000


@pytest.fixture
async def pool(media_rows: Pool) -> Pool:
    await PostgresStores(media_rows).put(StoreChange(ORG, STORE, True, "manuals", None))
    return media_rows


@pytest.fixture
def jobs(pool: Pool, document_jobs: PostgresJobs) -> PostgresJobs:
    """Jobs, once there is the store."""
    return document_jobs


@pytest.fixture
def stores(pool: Pool) -> PostgresStores:
    return PostgresStores(pool)


@pytest.fixture
def documents(pool: Pool) -> PostgresDocuments:
    return PostgresDocuments(pool)


def asset(number: int) -> str:
    return f"ast_{number:032x}"


def document_of(number: int, org_id: str = ORG, store_id: str = STORE) -> str:
    return document_id(org_id, DEFAULT_PROJECT, store_id, "", asset(number))


def requested(number: int, *, at: float | None = None, org_id: str = ORG, store_id: str = STORE) -> JobRequested:
    """The job that takes a file in, asked for at the moment of its number."""
    given = DocumentInput(
        document_id=document_of(number, org_id, store_id),
        collection=store_id,
        name=asset(number),
        asset_id=asset(number),
        metadata={"number": number},
    )
    return JobRequested(
        org_id=org_id,
        key_id="key-1",
        job_id=f"job_{uuid.uuid4().hex}",
        kind=DOCUMENT_KIND,
        requested_at=BEGUN + number if at is None else at,
        input=given.model_dump(mode="json", exclude_none=True),
    )


def version(wanted: DocumentInput, job_id: str, asked_at: datetime) -> Version:
    """What a job makes of a file, with no chunks."""
    return Version(
        org_id=ORG,
        wanted=wanted,
        content_type="text/plain",
        sha256="0" * 64,
        characters=7,
        job_id=job_id,
        asked_at=asked_at,
        chunks=(),
        vectors={},
    )


async def taken_in(documents: PostgresDocuments, job: JobHead) -> None:
    await documents.replace(version(DocumentInput.model_validate(job.input), job.id, job.created_at))


async def claimed(jobs: PostgresJobs, number: int) -> dict[int, JobHead]:
    """So many jobs that run, by the number of their file."""
    heads = await jobs.claim("a:1", DOCUMENT_KIND, number, 30.0)
    return {head.input["metadata"]["number"]: head for head in heads}


def files_page(
    limit: int = 20,
    *,
    states: Sequence[str] = EVERY,
    ascending: bool = True,
    after: int | None = None,
    before: int | None = None,
    org_id: str = ORG,
    store_id: str = STORE,
) -> StoreFilePage:
    return StoreFilePage(
        org_id=org_id,
        store_id=store_id,
        states=states,
        ascending=ascending,
        after=None if after is None else document_of(after),
        before=None if before is None else document_of(before),
        limit=limit,
    )


async def numbers(stores: PostgresStores, wanted: StoreFilePage) -> tuple[list[int], bool]:
    """The numbers of the files on a page, and whether there are more."""
    files, more = await stores.files(wanted)
    return [int(file.asset_id.removeprefix("ast_"), 16) for file in files], more


async def test_files_are_listed_from_the_moment_they_are_put_in(
    jobs: PostgresJobs, stores: PostgresStores, documents: PostgresDocuments
) -> None:
    await jobs.accept([requested(number) for number in range(4)])
    running = await claimed(jobs, 4)
    await jobs.accept([requested(4)])
    await taken_in(documents, running[0])
    await jobs.finish(running[0].lease, JobEnd("completed", KEEP, result={}))
    # Its document is there, and the end of its job is not written yet.
    await taken_in(documents, running[1])
    await jobs.finish(running[2].lease, JobEnd("failed", KEEP, error={"code": "document_type", "message": "no"}))
    await jobs.cancel_all(ORG, DOCUMENT_KIND, await stores.jobs(ORG, STORE, 10))
    await jobs.finish(running[3].lease, JobEnd("cancelled", KEEP))
    files, more = await stores.files(files_page())
    assert [file.state for file in files] == ["completed", "completed", "failed", "cancelled", "cancelled"]
    assert not more
    assert [file.characters for file in files] == [7, 7, 0, 0, 0]
    assert [dict(file.metadata) for file in files] == [{"number": number} for number in range(5)]
    assert files[2].error == {"code": "document_type", "message": "no"}
    assert await numbers(stores, files_page(states=["completed"])) == ([0, 1], False)
    assert await numbers(stores, files_page(states=["failed"], ascending=False)) == ([2], False)
    assert await numbers(stores, files_page(1, states=["cancelled"])) == ([3], True)
    assert await numbers(stores, files_page(states=["queued", "running"])) == ([], False)


async def test_a_file_is_listed_once_as_its_last_job_is(
    jobs: PostgresJobs, stores: PostgresStores, documents: PostgresDocuments
) -> None:
    await jobs.accept([requested(1), requested(2)])
    running = await claimed(jobs, 2)
    await jobs.finish(running[1].lease, JobEnd("failed", KEEP, error={"code": "x", "message": "no"}))
    await jobs.accept([requested(1, at=BEGUN + 3)])
    assert await numbers(stores, files_page()) == ([2, 1], False)
    assert await numbers(stores, files_page(states=["failed"])) == ([], False)
    again = await claimed(jobs, 1)
    await taken_in(documents, again[1])
    await jobs.finish(again[1].lease, JobEnd("completed", KEEP, result={}))
    assert await numbers(stores, files_page(states=["completed"])) == ([1], False)
    # What was taken out is in no list, whatever became of it before.
    assert await documents.remove(ORG, document_of(1))
    assert await numbers(stores, files_page()) == ([2], False)


async def test_pages_go_both_ways_and_lose_nothing_while_files_are_taken_in(
    jobs: PostgresJobs, stores: PostgresStores, documents: PostgresDocuments
) -> None:
    await jobs.accept([requested(number) for number in range(5)])
    running = await claimed(jobs, 5)
    for done in range(6):
        assert await numbers(stores, files_page(2)) == ([0, 1], True)
        assert await numbers(stores, files_page(3, after=1)) == ([2, 3, 4], False)
        assert await numbers(stores, files_page(2, before=4)) == ([2, 3], True)
        assert await numbers(stores, files_page(2, before=2)) == ([0, 1], False)
        assert await numbers(stores, files_page(9, after=0, before=3)) == ([1, 2], False)
        assert await numbers(stores, files_page(2, ascending=False)) == ([4, 3], True)
        assert await numbers(stores, files_page(2, ascending=False, after=2)) == ([1, 0], False)
        assert await numbers(stores, files_page(2, ascending=False, before=1)) == ([3, 2], True)
        assert await numbers(stores, files_page(2, after=99)) == ([], False)
        if done < 5:
            # The last ones first: none of them moves to another place.
            await taken_in(documents, running[4 - done])


async def test_a_page_goes_on_after_a_file_that_was_taken_out(
    jobs: PostgresJobs, stores: PostgresStores, documents: PostgresDocuments
) -> None:
    await jobs.accept([requested(number) for number in range(3)])
    for head in (await claimed(jobs, 3)).values():
        await taken_in(documents, head)
        await jobs.finish(head.lease, JobEnd("completed", KEEP, result={}))
    assert await documents.remove(ORG, document_of(1))
    assert await numbers(stores, files_page(after=1)) == ([2], False)
    assert await numbers(stores, files_page(before=1)) == ([0], False)


async def test_a_list_has_the_files_of_its_own_store_alone(
    jobs: PostgresJobs, stores: PostgresStores, documents: PostgresDocuments
) -> None:
    other = f"vs_{2:032x}"
    await jobs.accept([requested(1), requested(2, store_id=other), requested(3, org_id="org-2")])
    assert await numbers(stores, files_page()) == ([1], False)
    assert await numbers(stores, files_page(org_id="org-2")) == ([3], False)
    assert await numbers(stores, files_page(store_id=other)) == ([2], False)
    assert await stores.jobs("org-3", STORE, 10) == []
    assert len(await stores.jobs(ORG, STORE, 10)) == 1
    # A document that is no file has no id to be listed by.
    note = DocumentInput(document_id=document_of(9), collection=STORE, name="note", text="A note.")
    await documents.replace(version(note, "job_1", datetime.now(UTC)))
    assert await numbers(stores, files_page()) == ([1], False)


async def test_stores_are_listed_both_ways(stores: PostgresStores, pool: Pool) -> None:
    ids = [f"vs_{number:032x}" for number in range(2, 7)]
    for number, store_id in enumerate(ids):
        await stores.put(StoreChange("org-2", store_id, True, str(number), None))
    # No store: a collection with a name like that of one, which no route of stores leads to.
    await pool.execute(
        "INSERT INTO media.collections (org_id, project_id, id, name) VALUES ('org-2', 'default', 'vs_x', '')"
    )

    async def listed(limit: int, *, ascending: bool, after: int | None = None, before: int | None = None) -> object:
        wanted = StorePage(
            org_id="org-2",
            ascending=ascending,
            after=None if after is None else ids[after],
            before=None if before is None else ids[before],
            limit=limit,
        )
        found, more = await stores.page(wanted)
        return [int(store.name) for store in found], more

    assert await listed(9, ascending=True) == ([0, 1, 2, 3, 4], False)
    assert await listed(2, ascending=False) == ([4, 3], True)
    assert await listed(2, ascending=False, after=3) == ([2, 1], True)
    assert await listed(2, ascending=False, before=2) == ([4, 3], False)
    assert await listed(2, ascending=True, after=3) == ([4], False)
    assert await listed(2, ascending=True, before=3) == ([1, 2], True)
    assert await listed(9, ascending=True, after=0, before=3) == ([1, 2], False)


async def test_a_job_brings_no_deleted_store_back(
    jobs: PostgresJobs, stores: PostgresStores, documents: PostgresDocuments
) -> None:
    await jobs.accept([requested(1), requested(2)])
    running = await claimed(jobs, 2)
    await taken_in(documents, running[1])
    # There is a document in it.
    assert not await stores.remove(ORG, STORE)
    assert await documents.remove(ORG, document_of(1))
    assert await stores.remove(ORG, STORE)
    with pytest.raises(Refused) as refused:
        await taken_in(documents, running[2])
    assert refused.value.status == 404
    assert await stores.get(ORG, STORE) is None
    assert await stores.job_of(ORG, document_of(2)) is None
    assert await documents.get(ORG, document_of(2)) is None


async def test_jobs_that_were_asked_to_end_are_not_asked_again(jobs: PostgresJobs, stores: PostgresStores) -> None:
    await jobs.accept([requested(number) for number in range(4)])
    await claimed(jobs, 2)
    asked: list[str] = []
    while some := await stores.jobs(ORG, STORE, 3):
        asked += some
        await jobs.cancel_all(ORG, DOCUMENT_KIND, some)
    assert len(set(asked)) == len(asked) == 4


async def test_a_store_and_its_documents_end_together_whichever_is_first(
    jobs: PostgresJobs, stores: PostgresStores, documents: PostgresDocuments, pool: Pool
) -> None:
    for race in range(10):
        store_id = f"vs_{race + 10:032x}"
        await stores.put(StoreChange(ORG, store_id, True, "race", None))
        inputs = [DocumentInput.model_validate(requested(n, store_id=store_id).input) for n in range(3)]
        asked_at = datetime.now(UTC) + timedelta(seconds=race)
        takers = [documents.replace(version(wanted, "job_1", asked_at)) for wanted in inputs]
        *ends, gone = await asyncio.gather(*takers, stores.remove(ORG, store_id), return_exceptions=True)
        refused = [isinstance(end, Refused) for end in ends]
        # Either no document is in it and none follows, or it stays with all of them.
        assert all(refused) if gone is True else (gone is False and not any(refused))
        there = await pool.fetchval("SELECT count(*) FROM media.documents WHERE collection = $1", store_id)
        assert there == (0 if gone is True else 3)


async def test_a_file_is_taken_out_wherever_it_is_on_its_way(
    jobs: PostgresJobs, stores: PostgresStores, documents: PostgresDocuments
) -> None:
    await jobs.accept([requested(number) for number in range(4)])
    running = await claimed(jobs, 4)
    await jobs.accept([requested(4)])
    await taken_in(documents, running[0])
    await jobs.finish(running[0].lease, JobEnd("completed", KEEP, result={}))
    await jobs.finish(running[1].lease, JobEnd("failed", KEEP, error={"code": "document_type", "message": "no"}))
    # In, failed, under way, and waiting.
    assert await stores.strike(ORG, STORE, document_of(0)) == []
    assert await stores.strike(ORG, STORE, document_of(1)) == []
    assert await stores.strike(ORG, STORE, document_of(2)) == [running[2].id]
    [waiting] = await stores.strike(ORG, STORE, document_of(4)) or ()
    await jobs.cancel_all(ORG, DOCUMENT_KIND, [running[2].id, waiting])
    assert await numbers(stores, files_page()) == ([3], False)
    store = await stores.get(ORG, STORE)
    assert store is not None
    assert (store.in_progress, store.completed, store.failed, store.cancelled) == (1, 0, 0, 0)
    for number in (0, 1, 2, 4):
        found = await stores.job_of(ORG, document_of(number))
        assert found is None, number
        assert await stores.strike(ORG, STORE, document_of(number)) is None
    # A job that is about to put its file in finds that it may not.
    with pytest.raises(Refused) as refused:
        await taken_in(documents, running[2])
    assert (refused.value.status, refused.value.code) == (409, "file_taken_out")
    assert await documents.get(ORG, document_of(2)) is None
    await taken_in(documents, running[3])
    assert await documents.get(ORG, document_of(3)) is not None


async def test_a_file_that_was_taken_out_can_be_put_in_again(
    jobs: PostgresJobs, stores: PostgresStores, documents: PostgresDocuments
) -> None:
    await jobs.accept([requested(1)])
    failed = (await claimed(jobs, 1))[1]
    await jobs.finish(failed.lease, JobEnd("failed", KEEP, error={"code": "document_type", "message": "no"}))
    assert await stores.strike(ORG, STORE, document_of(1)) == []
    await jobs.accept([requested(1, at=BEGUN + 100)])
    again = (await claimed(jobs, 1))[1]
    assert await numbers(stores, files_page(states=["running"])) == ([1], False)
    await taken_in(documents, again)
    assert await numbers(stores, files_page(states=["completed"])) == ([1], False)


async def test_only_a_file_of_the_store_and_the_organisation_is_taken_out(
    jobs: PostgresJobs, stores: PostgresStores
) -> None:
    other = f"vs_{2:032x}"
    await stores.put(StoreChange(ORG, other, True, "others", None))
    await stores.put(StoreChange("org-2", other, True, "theirs", None))
    await jobs.accept([requested(1), requested(2, store_id=other), requested(3, org_id="org-2", store_id=other)])
    assert await stores.strike(ORG, STORE, document_of(2, store_id=other)) is None
    assert await stores.strike(ORG, other, document_of(3, "org-2", other)) is None
    assert await stores.strike("org-2", STORE, document_of(1)) is None
    assert await stores.strike(ORG, f"vs_{9:032x}", document_of(1)) is None
    assert await numbers(stores, files_page()) == ([1], False)


async def test_taking_out_and_taking_in_at_once_leave_nothing_behind(
    pool: Pool, jobs: PostgresJobs, stores: PostgresStores, documents: PostgresDocuments
) -> None:
    await jobs.accept([requested(number) for number in range(30)])
    running = await claimed(jobs, 30)

    async def in_any_way(number: int) -> None:
        with contextlib.suppress(Refused):
            await taken_in(documents, running[number])

    await asyncio.gather(
        *(act for number in range(30) for act in (in_any_way(number), stores.strike(ORG, STORE, document_of(number))))
    )
    assert await pool.fetchval("SELECT count(*) FROM media.documents WHERE org_id = $1", ORG) == 0
    assert await numbers(stores, files_page()) == ([], False)
    # Once its jobs are gone, nothing is kept about a file either.
    await pool.execute("DELETE FROM media.jobs WHERE org_id = $1", ORG)
    await jobs.accept([requested(99)])
    await stores.strike(ORG, STORE, document_of(99))
    assert await pool.fetchval("SELECT count(*) FROM media.struck_files") == 1
