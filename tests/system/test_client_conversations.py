"""Conversations by OpenAI's package: begun, talked in, read, and forgotten; they are sessions under another name."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from tests.support.clients import Key, calls, client, new_key
from tests.support.sonant import Sonant


@pytest.fixture(scope="module")
def key(sonant: Sonant) -> Key:
    return new_key(sonant)


@pytest.fixture
async def ai(sonant: Sonant, key: Key) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{sonant.url}/v1", api_key=key.text, max_retries=0) as opened:
        yield opened


@pytest.fixture
async def http(sonant: Sonant, key: Key) -> AsyncIterator[httpx.AsyncClient]:
    async with client(sonant.url, key.headers) as opened:
        yield opened


def told(sonant: Sonant, marker: str) -> list[tuple[str, Any]]:
    messages = calls(sonant, marker)[-1]["body"]["messages"]
    return [(message["role"], message["content"]) for message in messages]


async def texts(ai: AsyncOpenAI, id: str) -> list[tuple[str, str]]:
    """The messages of a conversation in order, by pages of two."""
    found: list[tuple[str, str]] = []
    async for item in ai.conversations.items.list(id, order="asc", limit=2):
        assert item.type == "message"
        found.append((item.role, "".join(getattr(part, "text", "") for part in item.content)))
    return found


async def test_a_conversation_is_begun_gone_on_with_and_read(sonant: Sonant, ai: AsyncOpenAI) -> None:
    begun = await ai.conversations.create(
        metadata={"topic": "tea"}, items=[{"type": "message", "role": "user", "content": "My name is Ada."}]
    )
    assert begun.metadata == {"topic": "tea"}
    found = await ai.conversations.retrieve(begun.id)
    assert (found.id, found.object, found.metadata) == (begun.id, "conversation", {"topic": "tea"})
    first = await ai.responses.create(model="default", input=f"Say: one {begun.id}", conversation=begun.id)
    assert first.conversation is not None
    assert (first.conversation.id, first.output_text) == (begun.id, f"one {begun.id}")
    stream = await ai.responses.create(
        model="default", input=f"Say: two {begun.id}", conversation={"id": begun.id}, stream=True
    )
    last = [event async for event in stream][-1]
    assert last.type == "response.completed"
    assert last.response.conversation is not None
    assert last.response.conversation.id == begun.id
    said = [
        ("user", "My name is Ada."),
        ("user", f"Say: one {begun.id}"),
        ("assistant", f"one {begun.id}"),
        ("user", f"Say: two {begun.id}"),
    ]
    assert told(sonant, f"two {begun.id}") == said
    assert await texts(ai, begun.id) == [*said, ("assistant", f"two {begun.id}")]
    [newest] = (await ai.conversations.items.list(begun.id, limit=1)).data
    assert newest.id is not None
    assert (await ai.conversations.items.retrieve(newest.id, conversation_id=begun.id)).id == newest.id


async def test_items_are_added_without_an_answer_and_metadata_changed(sonant: Sonant, ai: AsyncOpenAI) -> None:
    begun = await ai.conversations.create()
    items: list[Any] = [
        {"type": "function_call", "call_id": "c1", "name": "look_up", "arguments": '{"id": 7}'},
        {"type": "function_call_output", "call_id": "c1", "output": "seven"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "It is seven."}]},
    ]
    added = await ai.conversations.items.create(begun.id, items=items)
    assert [item.type for item in added.data] == ["function_call", "function_call_output", "message"]
    changed = await ai.conversations.update(begun.id, metadata={"topic": "numbers"})
    assert changed.metadata == {"topic": "numbers"}
    assert (await ai.conversations.retrieve(begun.id)).metadata == {"topic": "numbers"}
    await ai.responses.create(model="default", input=f"Say: next {begun.id}", conversation=begun.id)
    assert told(sonant, f"next {begun.id}") == [
        ("assistant", None),
        ("tool", "seven"),
        ("assistant", "It is seven."),
        ("user", f"Say: next {begun.id}"),
    ]
    # Of chat it is a session like any other.
    await ai.chat.completions.create(
        model="default",
        messages=[{"role": "user", "content": f"Say: by chat {begun.id}"}],
        store=True,
        extra_headers={"x-session-id": begun.id},
    )
    assert (await texts_behind(ai, begun.id))[-1] == ("assistant", f"by chat {begun.id}")


async def texts_behind(ai: AsyncOpenAI, id: str) -> list[tuple[str, str]]:
    page = await ai.conversations.items.list(id, order="asc", limit=100)
    return [
        (item.role, "".join(getattr(part, "text", "") for part in item.content))
        for item in page.data
        if item.type == "message"
    ]


async def test_what_is_deleted_is_gone(ai: AsyncOpenAI) -> None:
    begun = await ai.conversations.create(metadata={"topic": "tea"})
    assert (await ai.conversations.delete(begun.id)).deleted
    with pytest.raises(openai.NotFoundError) as gone:
        await ai.conversations.retrieve(begun.id)
    assert gone.value.code == "conversation_not_found"


async def test_nobody_else_sees_it(sonant: Sonant, ai: AsyncOpenAI) -> None:
    begun = await ai.conversations.create(metadata={"topic": "tea"})
    other = new_key(sonant)
    async with AsyncOpenAI(base_url=f"{sonant.url}/v1", api_key=other.text, max_retries=0) as stranger:
        for asked in (
            stranger.conversations.retrieve(begun.id),
            stranger.conversations.items.create(
                begun.id, items=[{"type": "message", "role": "user", "content": "Mine now."}]
            ),
        ):
            with pytest.raises(openai.NotFoundError):
                await asked
        await stranger.conversations.delete(begun.id)
    assert (await ai.conversations.retrieve(begun.id)).metadata == {"topic": "tea"}


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"conversation": "c", "previous_response_id": "resp_1"}, None, "mutually_exclusive_parameters"),
        ({"conversation": {"name": "c"}}, "conversation", None),
        ({"conversation": "c" * 300}, "conversation", None),
    ],
)
async def test_what_cannot_be_asked_for_is_named(
    http: httpx.AsyncClient, body: dict[str, Any], param: str | None, code: str | None
) -> None:
    answer = await http.post("/v1/responses", json={"input": "hello", **body})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param)
    assert code in (None, error["code"])


async def test_a_conversation_is_one_session(http: httpx.AsyncClient) -> None:
    body = {"input": "hello", "conversation": "conv_1"}
    answer = await http.post("/v1/responses", json=body, headers={"x-session-id": "another"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "other_session")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/conversations", {"items": [{"type": "message", "role": "user", "content": "x"}] * 21}, 400),
        ("/v1/conversations", {"items": [{"type": "web_search_call"}]}, 400),
        ("/v1/conversations", {"metadata": {"k": "v" * 513}}, 400),
        ("/v1/conversations", {"items": [{"type": "message", "role": "user", "content": "x" * 300_000}]}, 413),
        ("/v1/conversations/nobody/items", {"items": [{"type": "message", "role": "user", "content": "x"}]}, 404),
        ("/v1/conversations/nobody", {"metadata": {}}, 404),
    ],
)
async def test_what_no_conversation_takes(
    http: httpx.AsyncClient, path: str, body: dict[str, Any], status: int
) -> None:
    assert (await http.post(path, json=body)).status_code == status
