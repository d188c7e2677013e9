"""The store of jobs on PostgreSQL: fair claims, fences, bounds, memos, what was paid, and an end for everything."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from common.events.media import JobListRequested, JobRequested
from common.events.registry import BY_NAME
from common.failures import Park
from common.jobs.job_store import AttemptEnd, Bounds, JobEnd, JobHead, LeaseLost
from common.jobs.open_jobs import JOBS_MIGRATIONS
from common.jobs.postgres_jobs import PostgresJobs, checked
from common.storage.postgres import Pool, open_postgres
from tests.support.engines import new_database

KEEP = 3600.0
BOUNDS = Bounds("toast", ("slice", "brown"), queue=6, share=4, deadline_seconds=60.0, keep_seconds=KEEP)
LEASE = 30.0


@pytest.fixture
async def pool(postgres_url: str, tmp_path: Path) -> AsyncIterator[Pool]:
    async with new_database(postgres_url, "jobs") as url:
        async with open_postgres(
            url, size=4, migrations=tmp_path, schema="kitchen", unit_of_work=True, shared=[JOBS_MIGRATIONS]
        ) as opened:
            yield opened


@pytest.fixture
def store(pool: Pool) -> PostgresJobs:
    return PostgresJobs(pool, "kitchen", {"toast": BOUNDS})


def wanted(org_id: str = "org-1", *, ago: float = 0.0) -> JobRequested:
    return JobRequested(
        org_id=org_id,
        key_id="key-1",
        job_id=f"job_{uuid.uuid4().hex}",
        kind="toast",
        requested_at=time.time() - ago,
        input={"bread": "rye"},
    )


async def accepted(store: PostgresJobs, *requests: JobRequested) -> list[str]:
    await store.accept(requests)
    return [request.job_id for request in requests]


async def claimed(store: PostgresJobs, limit: int = 10, worker: str = "a:1") -> Sequence[JobHead]:
    return await store.claim(worker, "toast", limit, LEASE)


async def the_one(store: PostgresJobs) -> JobHead:
    [head] = await claimed(store, 1)
    return head


async def facts(pool: Pool) -> list[str]:
    rows = await pool.fetch("SELECT name, payload FROM kitchen.outbox ORDER BY id")
    for row in rows:
        # Whatever the statements put together is what the declarations say.
        BY_NAME[row["name"]].payload.model_validate_json(row["payload"])
    return [row["name"] for row in rows]


async def test_a_job_is_kept_once_and_its_facts_fit_their_declarations(store: PostgresJobs, pool: Pool) -> None:
    request = wanted()
    await accepted(store, request)
    await accepted(store, request)
    head = await the_one(store)
    assert await claimed(store) == []
    await store.milestone(head.lease, "step", "slice", 10.0)
    await store.finish(head.lease, JobEnd("completed", KEEP, result={"golden": True}))
    job = await store.get("org-1", request.job_id)
    assert job is not None
    assert (job.state, job.result, job.percent) == ("completed", {"golden": True}, 100)
    assert [each.event for each in job.history] == ["queued", "started", "step", "completed"]
    assert [step.state for step in job.steps] == ["completed", "waiting"]
    assert await store.get("org-2", request.job_id) is None
    assert await facts(pool) == ["media.job.progressed/1"] * 2 + ["media.job.completed/1"]


async def test_a_queue_without_room_fails_what_comes_too_much(store: PostgresJobs, pool: Pool) -> None:
    mine = await accepted(store, *[wanted() for _ in range(5)])
    others = await accepted(store, *[wanted("org-2") for _ in range(3)])
    states = {}
    for org_id, job_id in [*(("org-1", each) for each in mine), *(("org-2", each) for each in others)]:
        job = await store.get(org_id, job_id)
        assert job is not None
        states[job_id] = (job.state, job.error and job.error.code)
    assert list(states.values()).count(("failed", "queue_full")) == 2
    assert states[mine[4]] == states[others[2]] == ("failed", "queue_full")
    assert await facts(pool) == ["media.job.failed/1"] * 2


async def test_many_jobs_are_ended_at_once_and_those_of_others_are_not(store: PostgresJobs, pool: Pool) -> None:
    mine = await accepted(store, *[wanted() for _ in range(3)])
    [other] = await accepted(store, wanted("org-2"))
    done = await the_one(store)
    await store.finish(done.lease, JobEnd("completed", KEEP, result={}))
    running = await the_one(store)
    if running.org_id == "org-2":
        running = await the_one(store)
    assert await store.cancel_all("org-1", "toast", [*mine, other]) == [running.id]
    states = {id: job.state for id in mine if (job := await store.get("org-1", id))}
    assert [states[id] for id in mine if id not in (done.id, running.id)] == ["cancelled"]
    assert (states[done.id], states[running.id]) == ("completed", "running")
    untouched = await store.get("org-2", other)
    assert untouched is not None
    assert not untouched.cancel_requested
    # Whoever has the running one learns it with its lease.
    assert await store.renew({running.lease: 0.0}, LEASE) == {running.id: True}
    assert (await facts(pool)).count("media.job.cancelled/1") == 1


async def test_who_has_less_at_work_goes_first(store: PostgresJobs) -> None:
    await accepted(store, *[wanted(ago=30) for _ in range(4)], *[wanted("org-2") for _ in range(2)])
    first = [head.org_id for head in await claimed(store, 4)]
    assert sorted(first) == ["org-1", "org-1", "org-2", "org-2"]
    assert [head.org_id for head in await claimed(store, 4)] == ["org-1", "org-1"]


async def test_two_workers_never_have_the_same_job(store: PostgresJobs) -> None:
    for org in range(1, 4):
        await accepted(store, *[wanted(f"org-{org}") for _ in range(2)])
    found = await asyncio.gather(*(claimed(store, 2, worker=f"w:{each}") for each in range(8)))
    ids = [head.id for heads in found for head in heads]
    assert len(ids) == len(set(ids))


async def test_who_has_lost_a_job_can_write_nothing(store: PostgresJobs) -> None:
    [job_id] = await accepted(store, wanted())
    old = await the_one(store)
    number = await store.begin_attempt(old.lease, "slice", "knife", "cut", LEASE)
    assert await store.free_of("b:") == 0
    assert await store.free_of("a:") == 1
    new = await the_one(store)
    assert (new.deaths, new.lease.fence) == (1, old.lease.fence + 1)
    writes = [
        store.milestone(old.lease, "step", "slice", 1.0),
        store.remember(old.lease, "x", 1),
        store.forget(old.lease, "x"),
        store.begin_attempt(old.lease, None, "knife", "cut", LEASE),
        store.end_attempt(old.lease, number, AttemptEnd("completed", 1.0)),
        store.postpone(old.lease, 1.0, None),
        store.release(old.lease),
        store.finish(old.lease, JobEnd("completed", KEEP, result={})),
    ]
    for write in writes:
        with pytest.raises(LeaseLost):
            await write
    with pytest.raises(LeaseLost):
        await store.recall(old.lease)
    assert await store.renew({old.lease: 1.0, new.lease: 2.0}, LEASE) == {job_id: False}
    job = await store.get("org-1", job_id)
    assert job is not None
    assert [attempt.outcome for attempt in job.attempts] == ["unknown"]


async def test_memos_survive_workers_and_rounds(store: PostgresJobs) -> None:
    [job_id] = await accepted(store, wanted())
    head = await the_one(store)
    await store.remember(head.lease, "task", {"id": "one\x00"})
    await store.remember(head.lease, "task", {"id": "two"})
    await store.remember(head.lease, "other", 1)
    await store.forget(head.lease, "other")
    await store.finish(head.lease, JobEnd("failed", KEEP, error={"message": "burnt", "code": "burnt"}))
    assert await store.retry("org-1", job_id, "command-1")
    assert await store.retry("org-1", job_id, "command-1")
    assert not await store.retry("org-1", job_id, "command-2")
    assert not await store.retry("org-2", job_id, "command-3")
    again = await the_one(store)
    assert (again.round, again.tries, again.step) == (2, 0, None)
    assert await store.recall(again.lease) == {"task": {"id": "two"}}


async def test_what_a_provider_charged_counts_once_for_each_reference(store: PostgresJobs, pool: Pool) -> None:
    [job_id] = await accepted(store, wanted())
    head = await the_one(store)
    for reference in ("one", "one", "two"):
        number = await store.begin_attempt(head.lease, "slice", "baker", "bake", LEASE)
        end = AttemptEnd("completed", 0.25, reference)
        await store.end_attempt(head.lease, number, end)
        await store.end_attempt(head.lease, number, end)
    job = await store.get("org-1", job_id)
    assert job is not None
    assert job.cost_usd == 0.5
    audits = await pool.fetch("SELECT action, target FROM kitchen.audit")
    assert [tuple(row) for row in audits] == [("provider.called", f"baker/bake {job_id}")] * 3
    assert (await facts(pool)).count("audit.recorded/1") == 3


async def test_a_postponed_job_comes_back_when_it_is_due(store: PostgresJobs) -> None:
    [job_id] = await accepted(store, wanted())
    head = await the_one(store)
    await store.postpone(head.lease, 60.0, {"message": "no bread", "code": "unavailable"})
    assert await store.due() == set()
    assert await claimed(store) == []
    job = await store.get("org-1", job_id)
    assert job is not None
    assert (job.state, job.error and job.error.code, job.history[-1].event) == ("queued", "unavailable", "waiting")


async def test_an_end_is_asked_for_and_told(store: PostgresJobs) -> None:
    [waiting, running] = await accepted(store, wanted(), wanted())
    [head] = [each for each in await claimed(store) if each.id == running]
    assert await store.cancel("org-2", running) is None
    assert await store.cancel("org-1", running) == "running"
    assert await store.renew({head.lease: 0.0}, LEASE) == {running: True}
    await store.finish(head.lease, JobEnd("cancelled", KEEP))
    assert await store.cancel("org-1", running) == "cancelled"
    [other] = await accepted(store, wanted())
    assert await store.cancel("org-1", other) == "cancelled"
    assert waiting != other


async def test_what_waits_past_its_deadline_fails(store: PostgresJobs, pool: Pool) -> None:
    [late, early] = await accepted(store, wanted(ago=120), wanted())
    assert await store.end_late(["toast"]) == 1
    job = await store.get("org-1", late)
    assert job is not None
    assert (job.state, job.error and job.error.code) == ("failed", "deadline_exceeded")
    assert [head.id for head in await claimed(store)] == [early]


async def test_pages_are_in_order_and_leave_nothing_out(store: PostgresJobs) -> None:
    ids = await accepted(store, *[wanted(ago=number) for number in (3, 3, 2, 1)])
    seen, after = list[str](), None
    while True:
        page = await store.page(JobListRequested(org_id="org-1", after=after, limit=1))
        seen += [job.id for job in page.data]
        if not page.has_more:
            break
        after = seen[-1]
    assert sorted(seen) == sorted(ids)
    assert seen[:2] == [ids[3], ids[2]]
    none = await store.page(JobListRequested(org_id="org-1", state="completed", limit=10))
    assert none.data == ()
    late = await store.page(JobListRequested(org_id="org-1", created_since=time.time() - 1.5, limit=10))
    assert [job.id for job in late.data] == [ids[3]]


async def test_old_jobs_go_with_all_that_is_kept_of_them(pool: Pool) -> None:
    store = PostgresJobs(pool, "kitchen", {"toast": replace(BOUNDS, keep_seconds=0.0)})
    [gone, stays] = await accepted(store, wanted(), wanted())
    [head] = [each for each in await claimed(store) if each.id == gone]
    await store.remember(head.lease, "x", 1)
    await store.finish(head.lease, JobEnd("completed", 0.0, result={}))
    assert await store.expired(10) == [("org-1", gone)]
    await store.delete([gone, stays])
    assert await store.get("org-1", gone) is None
    assert await store.get("org-1", stays) is not None
    assert await pool.fetchval("SELECT count(*) FROM kitchen.job_memos") == 0


@pytest.mark.parametrize(
    "given", [{"requested_at": 1e18}, {"requested_at": -5.0}, {"deadline_seconds": -1.0}, {"job_id": "x" * 600}]
)
def test_what_no_table_can_hold_is_set_aside(given: dict[str, object]) -> None:
    with pytest.raises(Park):
        checked(wanted().model_copy(update=given))
