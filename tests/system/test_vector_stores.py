"""OpenAI's vector stores through OpenAI's own client."""

import asyncio
import io
import uuid
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import asyncpg
import openai
import pytest

from tests.support.clients import new_key
from tests.support.sonant import Sonant
from tests.support.waiting import eventually

KETTLE = b"# Kettle\n\nThe kettle holds two litres of water.\n\n# Toaster\n\nThe toaster has three slots.\n"
POLL_MS = 300
JOB = "SELECT id, step, state, cancel, lease_until FROM media.jobs WHERE id = $1"
NO_FILE = "file-" + "0" * 32
TOO_MANY = [f"file-{number:032x}" for number in range(2_001)]
# Some of them wait for a place while the first ones are taken in.
MANY = 24


def client_of(sonant: Sonant) -> openai.AsyncOpenAI:
    """A client of an organisation of its own."""
    return openai.AsyncOpenAI(base_url=f"{sonant.url}/v1", api_key=new_key(sonant, scopes=["media"]).text)


async def uploaded(client: openai.AsyncOpenAI, name: str = "kettle.md", text: bytes = KETTLE) -> str:
    """The id of a file that is there now."""
    return (await client.files.create(file=(name, io.BytesIO(text)), purpose="assistants")).id


async def many_uploaded(client: openai.AsyncOpenAI) -> list[str]:
    """The ids of `MANY` files, each with a text of its own."""
    texts = [f"# Room {number}\n\nIn room {number} stands a chair.\n".encode() for number in range(MANY)]
    return await asyncio.gather(*(uploaded(client, f"room-{number}.md", text) for number, text in enumerate(texts)))


@pytest.fixture
async def api(sonant: Sonant, text_models: object) -> AsyncIterator[openai.AsyncOpenAI]:
    async with client_of(sonant) as client:
        yield client


@pytest.fixture
async def stranger(sonant: Sonant) -> AsyncIterator[openai.AsyncOpenAI]:
    async with client_of(sonant) as client:
        yield client


async def test_a_file_goes_into_a_store_and_is_found(api: openai.AsyncOpenAI) -> None:
    store = await api.vector_stores.create(name="manuals", metadata={"shop": "north"})
    assert (store.object, store.name, store.status, store.metadata) == (
        *("vector_store", "manuals", "completed"),
        {"shop": "north"},
    )
    file = await api.files.create(file=("kettle.md", io.BytesIO(KETTLE)), purpose="assistants")
    assert (file.filename, file.bytes, file.purpose) == ("kettle.md", len(KETTLE), "assistants")
    added = await api.vector_stores.files.create_and_poll(
        file.id, vector_store_id=store.id, attributes={"room": "kitchen"}, poll_interval_ms=POLL_MS
    )
    assert (added.id, added.status, added.attributes) == (file.id, "completed", {"room": "kitchen"})
    found = await api.vector_stores.search(
        store.id,
        query="How many slots has the toaster?",
        max_num_results=1,
        filters={"type": "and", "filters": [{"type": "eq", "key": "room", "value": "kitchen"}]},
    )
    [piece] = found.data
    assert (piece.file_id, piece.attributes) == (file.id, {"room": "kitchen"})
    assert piece.content[0].text == "The toaster has three slots."
    assert 0 <= piece.score <= 1
    assert (await api.vector_stores.retrieve(store.id)).file_counts.completed == 1
    assert [each.id async for each in api.vector_stores.files.list(store.id)] == [file.id]
    assert [each.id async for each in api.vector_stores.list()] == [store.id]
    assert [each.id async for each in api.files.list()] == [file.id]
    renamed = await api.vector_stores.update(store.id, name="north")
    assert (renamed.name, renamed.metadata) == ("north", {"shop": "north"})
    assert (await api.vector_stores.files.delete(file.id, vector_store_id=store.id)).deleted
    assert (await api.vector_stores.search(store.id, query="toaster")).data == []
    assert (await api.vector_stores.delete(store.id)).deleted
    with pytest.raises(openai.NotFoundError):
        await api.vector_stores.retrieve(store.id)
    assert (await api.files.retrieve(file.id)).id == file.id
    assert (await api.files.delete(file.id)).deleted
    with pytest.raises(openai.NotFoundError):
        await api.files.retrieve(file.id)


async def test_a_file_that_is_no_document_has_failed(api: openai.AsyncOpenAI) -> None:
    file = await api.files.create(file=("x.bin", io.BytesIO(b"\x7fELF\0\0\0\0")), purpose="assistants")
    store = await api.vector_stores.create(file_ids=[file.id])
    ended = await api.vector_stores.files.poll(file.id, vector_store_id=store.id, poll_interval_ms=POLL_MS)
    assert (ended.status, ended.last_error and ended.last_error.code) == ("failed", "unsupported_file")
    # Whoever tries again has one file yet.
    await api.vector_stores.files.create_and_poll(file.id, vector_store_id=store.id, poll_interval_ms=POLL_MS)
    assert [each.id async for each in api.vector_stores.files.list(store.id)] == [file.id]
    counts = (await api.vector_stores.retrieve(store.id)).file_counts
    assert (counts.failed, counts.total) == (1, 1)
    gone = await api.vector_stores.files.delete(file.id, vector_store_id=store.id)
    assert (gone.id, gone.object, gone.deleted) == (file.id, "vector_store.file.deleted", True)
    assert [each.id async for each in api.vector_stores.files.list(store.id)] == []
    assert (await api.vector_stores.retrieve(store.id)).file_counts.total == 0
    for asked in (api.vector_stores.files.delete, api.vector_stores.files.retrieve):
        with pytest.raises(openai.NotFoundError):
            await asked(file.id, vector_store_id=store.id)


async def test_a_file_is_taken_out_while_it_goes_in(api: openai.AsyncOpenAI) -> None:
    files, ids = api.vector_stores.files, await many_uploaded(api)
    store = await api.vector_stores.create(file_ids=ids)
    out = ids[::2]
    gone = await asyncio.gather(*(files.delete(id, vector_store_id=store.id) for id in out))
    assert all(each.deleted for each in gone)
    await eventually(lambda: _settled(api, store.id), timeout=60)
    assert {each.id async for each in files.list(store.id)} == set(ids[1::2])
    assert (await api.vector_stores.retrieve(store.id)).file_counts.total == len(ids[1::2])
    found = await api.vector_stores.search(store.id, query="chair", max_num_results=50)
    assert {piece.file_id for piece in found.data} <= set(ids[1::2])
    again = await files.create_and_poll(out[0], vector_store_id=store.id, poll_interval_ms=POLL_MS)
    assert again.status == "completed"


async def _settled(api: openai.AsyncOpenAI, store_id: str) -> bool:
    return (await api.vector_stores.retrieve(store_id)).file_counts.in_progress == 0


async def test_files_are_listed_in_both_orders_page_after_page(api: openai.AsyncOpenAI) -> None:
    ids = [await uploaded(api, f"{number}.md", b"Oak.") for number in range(5)]
    assert [each.id async for each in api.files.list(order="asc", limit=2)] == ids
    assert [each.id async for each in api.files.list(order="desc", limit=2)] == ids[::-1]
    assert [each.id async for each in api.files.list(purpose="assistants")] == ids[::-1]
    assert [each.id async for each in api.files.list(purpose="batch")] == []


async def test_no_route_of_stores_leads_to_another_organisation(
    api: openai.AsyncOpenAI, stranger: openai.AsyncOpenAI
) -> None:
    file = await api.files.create(file=("kettle.md", io.BytesIO(KETTLE)), purpose="assistants")
    store = await api.vector_stores.create(name="mine")
    own = await stranger.vector_stores.create(name="theirs")
    for asked in (
        stranger.files.retrieve(file.id),
        stranger.files.delete(file.id),
        stranger.vector_stores.retrieve(store.id),
        stranger.vector_stores.update(store.id, name="taken"),
        stranger.vector_stores.delete(store.id),
        stranger.vector_stores.search(store.id, query="kettle"),
        stranger.vector_stores.files.create(store.id, file_id=file.id),
        stranger.vector_stores.files.create(own.id, file_id=file.id),
        stranger.vector_stores.files.retrieve(file.id, vector_store_id=store.id),
    ):
        with pytest.raises(openai.NotFoundError):
            await asked
    assert [each.id async for each in stranger.vector_stores.list()] == [own.id]
    assert [each.id async for each in stranger.files.list()] == []
    assert (await api.vector_stores.retrieve(store.id)).name == "mine"


async def test_files_go_into_a_store_together(api: openai.AsyncOpenAI) -> None:
    store, broken = await api.vector_stores.create(), await uploaded(api, "x.bin", b"\x7fELF\0\0\0\0")
    streams = [(f"{name}.md", io.BytesIO(f"The {name} is red.".encode())) for name in ("lamp", "chair")]
    batch = await api.vector_stores.file_batches.upload_and_poll(
        store.id, files=streams, file_ids=[broken], poll_interval_ms=POLL_MS
    )
    assert (batch.object, batch.vector_store_id, batch.status) == ("vector_store.files_batch", store.id, "completed")
    counts = batch.file_counts
    assert (counts.completed, counts.failed, counts.in_progress, counts.total) == (2, 1, 0, 3)
    assert (await api.vector_stores.file_batches.retrieve(batch.id, vector_store_id=store.id)) == batch
    files = api.vector_stores.file_batches
    [failed] = [each async for each in files.list_files(batch.id, vector_store_id=store.id, filter="failed")]
    assert (failed.id, failed.last_error and failed.last_error.code) == (broken, "unsupported_file")
    # Page after page, in both directions.
    up = [each.id async for each in files.list_files(batch.id, vector_store_id=store.id, order="asc", limit=1)]
    down = [each.id async for each in files.list_files(batch.id, vector_store_id=store.id, limit=2)]
    assert up == down[::-1]
    assert len(set(up)) == 3
    before = await files.list_files(batch.id, vector_store_id=store.id, order="asc", before=up[2], limit=1)
    assert [each.id for each in before.data] == [up[1]]
    assert before.has_more
    found = await api.vector_stores.search(store.id, query="Which colour has the chair?", max_num_results=1)
    assert found.data[0].content[0].text == "The chair is red."
    assert (await api.vector_stores.retrieve(store.id)).file_counts.completed == 2


async def test_files_of_a_store_are_listed_by_their_status_in_both_orders(api: openai.AsyncOpenAI) -> None:
    store, files = await api.vector_stores.create(), api.vector_stores.files
    ids = [
        await uploaded(api),
        await uploaded(api, "x.bin", b"\x7fELF\0\0\0\0"),
        await uploaded(api, "desk.md", b"Oak."),
    ]
    for file_id in ids:
        await files.create_and_poll(file_id, vector_store_id=store.id, poll_interval_ms=POLL_MS)
    listed = [each async for each in files.list(store.id, order="asc", limit=1)]
    assert [(each.id, each.status) for each in listed] == [
        (ids[0], "completed"),
        (ids[1], "failed"),
        (ids[2], "completed"),
    ]
    assert listed[1] == await files.retrieve(ids[1], vector_store_id=store.id)
    assert [each.id async for each in files.list(store.id, limit=2)] == ids[::-1]
    assert [each.id async for each in files.list(store.id, filter="completed", order="asc")] == [ids[0], ids[2]]
    assert [each.id async for each in files.list(store.id, filter="failed")] == [ids[1]]
    assert [each.id async for each in files.list(store.id, filter="in_progress")] == []
    assert [each.id async for each in files.list(store.id, filter="cancelled")] == []
    before = await files.list(store.id, order="asc", before=ids[2], limit=1)
    assert ([each.id for each in before.data], before.has_more) == ([ids[1]], True)
    page = await api.get(f"/vector_stores/{store.id}/files", cast_to=object, options={"params": {"limit": 2}})
    assert isinstance(page, dict)
    assert (page["first_id"], page["last_id"], page["has_more"]) == (ids[2], ids[1], True)


async def test_no_file_is_missed_while_files_are_taken_in(api: openai.AsyncOpenAI) -> None:
    store, ids = await api.vector_stores.create(), await many_uploaded(api)
    batch = await api.vector_stores.file_batches.create(store.id, file_ids=ids)
    listed = [each.id async for each in api.vector_stores.files.list(store.id, limit=5)]
    assert sorted(listed) == sorted(ids)
    await api.vector_stores.file_batches.poll(batch.id, vector_store_id=store.id, poll_interval_ms=POLL_MS)
    assert [each.id async for each in api.vector_stores.files.list(store.id, limit=5)] == listed


async def test_stores_are_listed_in_both_orders(api: openai.AsyncOpenAI) -> None:
    ids = [(await api.vector_stores.create(name=str(number))).id for number in range(4)]
    assert [each.id async for each in api.vector_stores.list(order="asc", limit=1)] == ids
    assert [each.id async for each in api.vector_stores.list(limit=3)] == ids[::-1]
    before = await api.vector_stores.list(order="asc", before=ids[3], limit=2)
    assert ([each.id for each in before.data], before.has_more) == (ids[1:3], True)
    after = await api.vector_stores.list(order="asc", after=ids[1])
    assert ([each.id for each in after.data], after.has_more) == (ids[2:], False)


async def test_a_deleted_store_ends_what_goes_into_it(api: openai.AsyncOpenAI) -> None:
    store, batches = await api.vector_stores.create(), api.vector_stores.file_batches
    ids = await many_uploaded(api)
    batch = await batches.create(store.id, file_ids=ids)
    assert (await api.vector_stores.delete(store.id)).deleted
    for asked in (
        batches.retrieve(batch.id, vector_store_id=store.id),
        batches.cancel(batch.id, vector_store_id=store.id),
        batches.list_files(batch.id, vector_store_id=store.id),
        api.vector_stores.files.list(store.id),
        api.vector_stores.files.retrieve(ids[0], vector_store_id=store.id),
    ):
        with pytest.raises(openai.NotFoundError):
            await asked

    async def states() -> list[str] | None:
        jobs = await api.get("/jobs", cast_to=object, options={"params": {"kind": "document", "limit": 100}})
        assert isinstance(jobs, dict)
        found = [job["state"] for job in jobs["data"]]
        return None if {"queued", "running"} & set(found) else found

    ended = await eventually(states, timeout=60)
    assert ended is not None
    assert len(ended) == MANY
    assert "cancelled" in ended
    # None of them has brought the store back.
    assert [each.id async for each in api.vector_stores.list()] == []


async def test_a_file_whose_document_is_being_written_is_not_called_off(
    sonant: Sonant, api: openai.AsyncOpenAI
) -> None:
    store, file_id = await api.vector_stores.create(), await uploaded(api)
    database = await asyncpg.connect(sonant.urls()["database"], timeout=5)

    async def newest(wanted: str) -> Any:
        jobs = await api.get("/jobs", cast_to=object, options={"params": {"kind": "document", "limit": 1}})
        assert isinstance(jobs, dict)
        [job] = await database.fetch(JOB, jobs["data"][0]["id"])
        return job if wanted in (job["step"], job["state"]) else None

    try:
        async with database.transaction():
            # Whoever takes a document in holds its store.
            await database.execute("SELECT FROM media.collections WHERE id = $1 FOR UPDATE", store.id)
            await api.vector_stores.files.create(store.id, file_id=file_id)
            begun = await eventually(partial(newest, "index"), timeout=30)
            await api.post(f"/jobs/{begun['id']}/cancel", cast_to=object)
            [called_off] = await database.fetch(JOB, begun["id"])
            assert called_off["cancel"]

            async def told() -> bool:
                [now] = await database.fetch(JOB, begun["id"])
                return bool(now["lease_until"] > called_off["lease_until"])

            await eventually(told)
        await eventually(partial(newest, "completed"), timeout=30)
    finally:
        await database.close()
    assert (await api.vector_stores.files.retrieve(file_id, vector_store_id=store.id)).status == "completed"


async def test_each_file_of_a_batch_may_have_attributes_of_its_own(api: openai.AsyncOpenAI) -> None:
    store = await api.vector_stores.create()
    kitchen, office = await uploaded(api), await uploaded(api, "desk.md", b"The desk is made of oak.")
    batch = await api.vector_stores.file_batches.create_and_poll(
        store.id,
        files=[{"file_id": kitchen, "attributes": {"room": "kitchen"}}, {"file_id": office}],
        # As with OpenAI, for `file_ids` alone.
        attributes={"room": "attic"},
        poll_interval_ms=POLL_MS,
    )
    assert (batch.status, batch.file_counts.completed) == ("completed", 2)
    listed = api.vector_stores.file_batches.list_files(batch.id, vector_store_id=store.id, order="asc")
    assert [(each.id, each.attributes) async for each in listed] == [(kitchen, {"room": "kitchen"}), (office, {})]
    # The same files again: what is there changes its attributes.
    again = await api.vector_stores.file_batches.create_and_poll(
        store.id, file_ids=[kitchen, office], attributes={"room": "attic"}, poll_interval_ms=POLL_MS
    )
    assert again.id != batch.id
    assert (await api.vector_stores.files.retrieve(office, vector_store_id=store.id)).attributes == {"room": "attic"}


async def test_a_batch_that_is_ended_leaves_what_was_taken_in(api: openai.AsyncOpenAI) -> None:
    store, batches = await api.vector_stores.create(), api.vector_stores.file_batches
    begun = await batches.create(store.id, file_ids=await many_uploaded(api))
    ended = await batches.cancel(begun.id, vector_store_id=store.id)
    assert ended.id == begun.id
    batch = await batches.poll(begun.id, vector_store_id=store.id, poll_interval_ms=POLL_MS)
    counts = batch.file_counts
    assert (batch.status, counts.completed + counts.cancelled, counts.total) == ("cancelled", MANY, MANY)
    assert counts.cancelled > 0
    taken = {each.id async for each in batches.list_files(batch.id, vector_store_id=store.id, filter="completed")}
    assert taken == {each.id async for each in api.vector_stores.files.list(store.id, filter="completed")}
    assert len([each async for each in api.vector_stores.files.list(store.id)]) == MANY
    assert await batches.cancel(begun.id, vector_store_id=store.id) == batch


async def test_a_batch_is_made_once_for_an_idempotency_key(api: openai.AsyncOpenAI) -> None:
    store, file_id, key = await api.vector_stores.create(), await uploaded(api), {"Idempotency-Key": uuid.uuid4().hex}
    first = await api.vector_stores.file_batches.create(store.id, file_ids=[file_id], extra_headers=key)
    again = await api.vector_stores.file_batches.create(store.id, file_ids=[file_id], extra_headers=key)
    assert again == first
    other = await api.vector_stores.file_batches.create(store.id, file_ids=[file_id])
    assert other.id != first.id


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"file_ids": []},
        {"file_ids": [NO_FILE], "files": [{"file_id": NO_FILE}]},
        {"file_ids": [NO_FILE, NO_FILE]},
        {"files": [{"file_id": NO_FILE}, {"file_id": NO_FILE, "attributes": {"a": 1}}]},
        {"file_ids": TOO_MANY},
        {"files": [{"file_id": file_id} for file_id in TOO_MANY]},
        {"file_ids": ["../x"]},
        {"file_ids": [NO_FILE], "attributes": {str(number): 1 for number in range(17)}},
        {"file_ids": [NO_FILE], "attributes": {"a": "x" * 513}},
        # More than all files together may have.
        {"file_ids": TOO_MANY[:2_000], "attributes": dict.fromkeys("abcdefghi", "x" * 512)},
        {"file_ids": [NO_FILE], "chunking_strategy": {"type": "static", "static": {"max_chunk_size_tokens": 200}}},
    ],
    ids=lambda body: str(body)[:60],
)
async def test_a_batch_beyond_its_bounds_is_refused(api: openai.AsyncOpenAI, body: dict[str, object]) -> None:
    store = await api.vector_stores.create()
    with pytest.raises(openai.BadRequestError):
        await api.post(f"/vector_stores/{store.id}/file_batches", body=body, cast_to=object)


async def test_a_batch_takes_as_many_files_as_openai_does(api: openai.AsyncOpenAI) -> None:
    """Their number is in order: what is wrong is that they are not there, and nothing is begun."""
    store = await api.vector_stores.create()
    ids = [await uploaded(api), *TOO_MANY[:1_999]]
    with pytest.raises(openai.NotFoundError):
        await api.vector_stores.file_batches.create(store.id, file_ids=ids)
    assert (await api.vector_stores.retrieve(store.id)).file_counts.total == 0


async def test_no_route_of_batches_leads_to_another_organisation(
    api: openai.AsyncOpenAI, stranger: openai.AsyncOpenAI
) -> None:
    file_id, store = await uploaded(api), await api.vector_stores.create()
    batch = await api.vector_stores.file_batches.create_and_poll(store.id, file_ids=[file_id], poll_interval_ms=POLL_MS)
    own_file, own = await uploaded(stranger), await stranger.vector_stores.create()
    theirs = stranger.vector_stores.file_batches
    for asked in (
        theirs.create(own.id, file_ids=[own_file, file_id]),
        theirs.create(store.id, file_ids=[own_file]),
        theirs.retrieve(batch.id, vector_store_id=store.id),
        theirs.retrieve(batch.id, vector_store_id=own.id),
        theirs.cancel(batch.id, vector_store_id=own.id),
        theirs.list_files(batch.id, vector_store_id=own.id),
        # Nor is a batch found in another store of its own organisation.
        api.vector_stores.file_batches.retrieve(batch.id, vector_store_id=(await api.vector_stores.create()).id),
        api.vector_stores.file_batches.retrieve("vsfb_1", vector_store_id=store.id),
    ):
        with pytest.raises(openai.NotFoundError):
            await asked
    assert (await stranger.vector_stores.retrieve(own.id)).file_counts.total == 0
    assert (await api.vector_stores.delete(store.id)).deleted
    with pytest.raises(openai.NotFoundError):
        await api.vector_stores.file_batches.retrieve(batch.id, vector_store_id=store.id)
