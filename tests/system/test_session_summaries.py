"""The rolling summary of a session, from the config to the next turn: made beside the answers, kept, and forgotten."""

import json
import re
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from redis import Redis

from tests.support.clients import Key, calls, chat, client, new_key
from tests.support.load import kill
from tests.support.sonant import ROOT, Sonant, sonant_system
from tests.support.waiting import eventually

PAGE = ROOT / "docs" / "context.md"
WINDOW = "context_tokens = 330\nanswer_reserve = 20\ntokenizer = 'estimate'"
UPSTREAM = "[[aliases.{0}.upstreams]]\nname = '{0}'\nbase_url = 'SANDBOX/v1'\nmodel = '{1}'\nprovider = 'sandbox'"
MODELS = {"default": "sandbox", "cheap": "sandbox", "dawdling": "sandbox+headers-1500", "failing": "sandbox+status-500"}
IN_FRONT = "(What was said earlier in this conversation, in short: "


@pytest.fixture(scope="module")
def system() -> Iterator[Sonant]:
    text = "\n".join(
        f"[aliases.{alias}]\ntries = 1\n{WINDOW if alias == 'default' else ''}\n{UPSTREAM.format(alias, model)}"
        for alias, model in MODELS.items()
    )
    with sonant_system(models_text=f"{text}\n") as started:
        yield started


@asynccontextmanager
async def summing(system: Sonant, alias: str) -> AsyncIterator[tuple[httpx.AsyncClient, Key, str]]:
    """A client whose organisation has its sessions summed up by this alias, its key, and the name of a session."""
    key = new_key(system, scopes=["chat", "resources", "admin"])
    session = f"session-{uuid.uuid4().hex[:12]}"
    async with client(system.url, {**key.headers, "x-user-id": "u", "x-session-id": session}) as http:
        config = json.loads(re.findall(r"```json\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)[0])
        assert config["session"]["store"]
        config["session"]["summary"] |= {"alias": alias, "tokens": 60}
        made = await http.post("/api/hume/configs", json=config)
        assert made.status_code == 201, made.text
        prompt = await http.post("/api/hume/prompts", json={"name": "p", "text": "Be brief."})
        pins = {"configId": made.json()["config"]["id"], "promptId": prompt.json()["prompt"]["id"]}
        switched = await http.put("/v1/active", params={"layer": "organization"}, json=pins)
        assert switched.status_code == 200, switched.text
        yield http, key, session


async def says(http: httpx.AsyncClient, number: int, session: str) -> httpx.Response:
    """A turn of some sixty tokens with its answer, of which only the newest message is sent."""
    answer = await http.post("/v1/chat/completions", json=chat(f"Say: item {number} {'of many ' * 12} {session}"))
    assert answer.status_code == 200, answer.text
    return answer


async def summary(http: httpx.AsyncClient, session: str) -> dict[str, Any] | None:
    found = await http.get(f"/v1/sessions/{session}")
    told: dict[str, Any] | None = found.json().get("summary") if found.status_code == 200 else None
    return told


async def summed_up(http: httpx.AsyncClient, session: str) -> dict[str, Any]:
    """The summary, once it is there."""

    async def made() -> bool:
        return await summary(http, session) is not None

    await eventually(made, timeout=40.0)
    found = await summary(http, session)
    assert found is not None
    return found


def asked(system: Sonant, marker: str) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = calls(system, marker)[-1]["body"]["messages"]
    return messages


async def test_what_no_longer_fits_is_told_in_short(system: Sonant) -> None:
    async with summing(system, "cheap") as (http, key, session):
        for number in range(4):
            await says(http, number, session)
        told = await summed_up(http, session)
        assert (told["model"], told["messages"]) == ("cheap", 4)
        assert "item 0" in told["text"]
        for number in range(4, 6):
            answer = await says(http, number, session)
        system_message, first, *_ = asked(system, f"item 5 {'of many ' * 12} {session}")
        assert system_message == {"role": "system", "content": "Be brief."}
        assert first["role"] == "user"
        assert first["content"].startswith(IN_FRONT + told["text"])
        assert "summed_up=" in answer.headers["x-sonant-context"]
        # What the config's own prompt says is not for whoever sums up.
        [call] = [
            call for call in calls(system, f"item 1 {'of many ' * 12} {session}") if len(call["body"]["messages"]) == 2
        ]
        assert "You keep the notes" in call["body"]["messages"][0]["content"]
        assert call["body"]["max_tokens"] == 60
        await check_usage(http)
        await check_kept(system, http, session, told)
        gone = await http.delete(f"/v1/sessions/{session}")
        assert gone.status_code == 200
        await says(http, 9, session)
        assert await summary(http, session) is None
        assert IN_FRONT not in str(asked(system, f"item 9 {'of many ' * 12} {session}"))
        assert key.organization


async def check_usage(http: httpx.AsyncClient) -> None:
    """A summary is counted as what it is: a turn of its alias."""

    async def counted() -> bool:
        rows = (await http.get("/v1/usage")).json()["data"]
        return any(row["model"] == "cheap" and row["total_tokens"] > 0 for row in rows)

    await eventually(counted, timeout=30.0)


async def check_kept(system: Sonant, http: httpx.AsyncClient, session: str, told: dict[str, Any]) -> None:
    """It is in the database too: the live store may lose it."""
    latest = await summary(http, session)
    with Redis.from_url(system.urls()["redis"]) as redis:
        for name in redis.scan_iter(f"sonant:session:*{session}"):
            redis.delete(name)

    async def there() -> bool:
        return await summary(http, session) == latest

    await eventually(there, timeout=30.0)
    assert latest is not None
    assert latest["messages"] >= told["messages"]


async def test_a_summary_outlives_the_process_that_makes_it(system: Sonant) -> None:
    async with summing(system, "dawdling") as (http, _, session):
        for number in range(4):
            await says(http, number, session)

        async def under_way() -> bool:
            return any(
                "notes of a conversation" in str(call["body"])
                for call in calls(system, f"item 0 {'of many ' * 12} {session}")
            )

        await eventually(under_way, timeout=30.0)
        await kill(system, "llm-stream")
        told = await summed_up(http, session)
        assert "item 0" in told["text"]


async def test_without_a_summary_turns_are_as_they_would_be(system: Sonant) -> None:
    async with summing(system, "failing") as (http, _, session):
        for number in range(6):
            answer = await says(http, number, session)
        assert answer.json()["choices"][0]["message"]["content"].startswith("item 5")
        assert await summary(http, session) is None
        assert "summed_up" not in answer.headers["x-sonant-context"]
        assert IN_FRONT not in str(asked(system, f"item 5 {'of many ' * 12} {session}"))
