"""Sessions as callers see them: what is kept, what goes on from it, what was really said, and how it is forgotten."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from tests.support.clients import Key, all_events, calls, chat, client, new_key, text_of, upstream_asked
from tests.support.sonant import Sonant
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def key(sonant: Sonant) -> Key:
    return new_key(sonant)


@pytest.fixture
async def http(sonant: Sonant, key: Key) -> AsyncIterator[httpx.AsyncClient]:
    async with client(sonant.url, key.headers) as opened:
        yield opened


@pytest.fixture
async def ai(sonant: Sonant, key: Key) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{sonant.url}/v1", api_key=key.text, max_retries=0) as opened:
        yield opened


@pytest.fixture
def session() -> str:
    return f"session-{uuid.uuid4().hex[:12]}"


def asked_with(sonant: Sonant, marker: str) -> list[dict[str, Any]]:
    """The messages that the upstream saw of the request whose last message holds the marker."""
    call = calls(sonant, marker)[-1]
    messages: list[dict[str, Any]] = call["body"]["messages"]
    return messages


async def says(ai: AsyncOpenAI, session: str, text: str, **fields: Any) -> str:
    """A turn of which only the newest message is sent."""
    asked = {"model": "default", "messages": [{"role": "user", "content": text}], "store": True, **fields}
    headers = {"x-session-id": session}
    completion = await ai.chat.completions.create(**asked, extra_headers=headers)
    return completion.choices[0].message.content or ""


async def shown(http: httpx.AsyncClient, session: str) -> dict[str, Any]:
    answer = await http.get(f"/v1/sessions/{session}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_caller_that_sends_only_its_newest_message_goes_on(
    sonant: Sonant, ai: AsyncOpenAI, http: httpx.AsyncClient, session: str
) -> None:
    assert await says(ai, session, "Say: one") == "one"
    assert await says(ai, session, "Say: two") == "two"
    stream = await ai.chat.completions.create(
        model="default",
        messages=[{"role": "user", "content": f"Say: three {session}"}],
        store=True,
        stream=True,
        extra_headers={"x-session-id": session},
    )
    said = "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
    assert said == f"three {session}"
    told = [
        {"role": "user", "content": "Say: one"},
        {"role": "assistant", "content": "one"},
        {"role": "user", "content": "Say: two"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": f"Say: three {session}"},
    ]
    assert asked_with(sonant, f"three {session}") == told
    found = await shown(http, session)
    assert found["messages"] == [*told, {"role": "assistant", "content": f"three {session}"}]
    assert [turn["spoken"] for turn in found["turns"]] == ["one", "two", f"three {session}"]
    assert all(turn["generated"] == turn["delivered"] == turn["spoken"] for turn in found["turns"])
