"""OpenAI's vector stores through OpenAI's own client."""

import io
from collections.abc import AsyncIterator

import openai
import pytest

from tests.support.clients import new_key
from tests.support.sonant import Sonant

KETTLE = b"# Kettle\n\nThe kettle holds two litres of water.\n\n# Toaster\n\nThe toaster has three slots.\n"
POLL_MS = 300


def client_of(sonant: Sonant) -> openai.AsyncOpenAI:
    """A client of an organisation of its own."""
    return openai.AsyncOpenAI(base_url=f"{sonant.url}/v1", api_key=new_key(sonant, scopes=["media"]).text)


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
    counts = (await api.vector_stores.retrieve(store.id)).file_counts
    assert (counts.failed, counts.total) == (1, 1)


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
