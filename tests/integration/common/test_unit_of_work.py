"""The unit of work in any schema: all of it or nothing, once, and on tables that an older version made."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from common.events.envelope import Event
from common.events.reply import Reply
from common.events.resource_replies import ResourceDeleted
from common.events.resources import (
    RESOURCE_CHANGED,
    RESOURCE_DELETE_REQUESTED,
    ResourceChanged,
    ResourceDeleteRequested,
)
from common.events.spec import Payload
from common.failures import Refused
from common.storage.command_answers import prune_answers
from common.storage.postgres import Pool, open_postgres
from common.storage.unit_of_work import Repeated, UnitOfWork, UnitsOfWork
from tests.support.engines import new_database
from tests.support.waiting import eventually

# As the first migration of resources made them, before they came from common.
BEFORE = """
CREATE SCHEMA jobs;
CREATE TABLE jobs.organizations (org_id text PRIMARY KEY, clock bigint NOT NULL DEFAULT 0);
CREATE TABLE jobs.audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    org_id text NOT NULL, key_id text NOT NULL, user_id text NOT NULL, action text NOT NULL, target text NOT NULL,
    before text, after text, event_id text NOT NULL, at timestamptz NOT NULL
);
CREATE INDEX audit_newest ON jobs.audit (org_id, id DESC);
CREATE TABLE jobs.outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id text NOT NULL, name text NOT NULL, payload jsonb NOT NULL, created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE jobs.answers (
    event_id text PRIMARY KEY, status integer NOT NULL, body jsonb NOT NULL, at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX answers_oldest ON jobs.answers (at);
INSERT INTO jobs.organizations VALUES ('org', 41);
INSERT INTO jobs.answers VALUES ('old', 200, '{"id": "x", "version": null, "deleted": true}');
"""
DELETED = Reply(ResourceDeleted(id="x", version=3, deleted=True))


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[str]:
    async with new_database(postgres_url, "units") as url:
        yield url


@pytest.fixture
async def pool(database: str, tmp_path: Path) -> AsyncIterator[Pool]:
    async with open_postgres(database, size=4, migrations=tmp_path, schema="jobs", unit_of_work=True) as opened:
        yield opened


class Units:
    """Units of work that know what was committed; their tables are the connection itself."""

    def __init__(self, pool: Pool) -> None:
        self.committed: list[Sequence[Payload]] = []
        self.units: UnitsOfWork[Any] = UnitsOfWork(
            pool, "jobs", tables=lambda work: work.connection, committed=self._note
        )

    async def _note(self, event: Event[Any], facts: Sequence[Payload]) -> None:
        self.committed.append(list(facts))


def command(**envelope: Any) -> Event[Any]:
    wanted = ResourceDeleteRequested(org_id="org", key_id="key", user_id="user", kind="prompt", id="x")
    return Event(RESOURCE_DELETE_REQUESTED, wanted, **envelope)


async def change(work: UnitOfWork[Any]) -> None:
    fact = ResourceChanged(org_id="org", kind="prompt", id="x", action="deleted", clock=work.clock, at=work.at)
    await work.publish(RESOURCE_CHANGED, fact)


async def counts(pool: Pool) -> list[int]:
    return [await pool.fetchval(f"SELECT count(*) FROM jobs.{table}") for table in ("audit", "outbox", "answers")]  # noqa: S608


async def test_a_unit_is_all_or_nothing(pool: Pool) -> None:
    here = Units(pool)

    async def fail() -> None:
        async with here.units.begin(command()) as work:
            await work.audit("prompt.deleted", "prompt:x")
            await work.answer(DELETED)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert (await counts(pool), here.committed) == ([0, 0, 0], [])
    async with here.units.begin(command()) as work:
        await work.audit("prompt.deleted", "prompt:x", before={"b": 1, "a": 2})
        await change(work)
        await work.answer(DELETED)
        assert (work.org_id, work.clock, work.tables) == ("org", 1, work.connection)
    assert await counts(pool) == [1, 2, 1]
    assert [[type(fact).__name__ for fact in facts] for facts in here.committed] == [
        ["AuditRecorded", "ResourceChanged"]
    ]


async def test_a_command_is_done_once_and_answered_twice(pool: Pool) -> None:
    here, event = Units(pool), command()
    assert await here.units.answer_to(event) is None

    async def once() -> Any:
        try:
            async with here.units.begin(event) as work:
                return await work.answer(DELETED)
        except Repeated as repeated:
            return repeated.answer

    assert await asyncio.gather(*(once() for _ in range(3))) == [DELETED] * 3
    assert len(here.committed) == 1


async def test_a_refusal_that_was_kept_is_a_refusal_again(pool: Pool) -> None:
    here, event = Units(pool), command()
    refused = Refused(422, "No.", "draft_refused", "description", details={"reasons": ["a"]})
    async with here.units.begin(event) as work:
        await work.refuse(refused)
    kept = await here.units.answer_to(event)
    assert isinstance(kept, Refused)
    assert (kept.status, kept.body()) == (422, refused.body())


async def test_a_rehearsal_leaves_nothing(pool: Pool) -> None:
    here = Units(pool)

    async def fail(work: UnitOfWork[Any]) -> None:
        async with work.rehearsal():
            await change(work)
            raise ZeroDivisionError

    async with here.units.begin(command()) as work:
        async with work.rehearsal():
            await change(work)
        with pytest.raises(ZeroDivisionError):
            await fail(work)
    assert (await counts(pool), here.committed) == ([0, 0, 0], [[]])


async def test_old_answers_are_removed_for_good(pool: Pool) -> None:
    here = Units(pool)
    for _ in range(2):
        async with here.units.begin(command()) as work:
            await work.answer(DELETED)
    await pool.execute("UPDATE jobs.answers SET at = now() - interval '2 days' WHERE ctid = '(0,1)'")
    pruning = asyncio.create_task(prune_answers(pool, "jobs", 86_400))

    async def pruned() -> bool:
        return await counts(pool) == [0, 0, 1]

    await eventually(pruned, timeout=10)
    pruning.cancel()
    await asyncio.wait([pruning])


async def test_tables_that_are_there_already_stay_as_they_are(database: str, tmp_path: Path) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute(BEFORE)
    await connection.close()
    for _ in range(2):
        async with open_postgres(database, size=4, migrations=tmp_path, schema="jobs", unit_of_work=True) as pool:
            old = await Units(pool).units.answer_to(command(id="old"))
            assert isinstance(old, Reply)
            assert old.body == ResourceDeleted(id="x", version=None, deleted=True)
    async with open_postgres(database, size=4, migrations=tmp_path, schema="jobs", unit_of_work=True) as pool:
        async with Units(pool).units.begin(command()) as work:
            assert work.clock == 42


async def test_each_schema_has_tables_of_its_own(database: str, tmp_path: Path) -> None:
    for schema in ("jobs", "media"):
        async with open_postgres(database, size=4, migrations=tmp_path, schema=schema, unit_of_work=True) as pool:
            assert await pool.fetchval("SELECT to_regclass($1 || '.outbox') IS NOT NULL", schema)
