"""Killing llm-stream under load: every request ends in a whole answer or an explicit error, and the books agree."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.clients import chat, client, events, new_key, second_gateway
from tests.support.load import End, check_books, kill, load, open_account
from tests.support.sonant import Sonant, sonant_system
from tests.support.waiting import eventually

KILLS = 3


@pytest.fixture(scope="module")
def system() -> Iterator[Sonant]:
    with sonant_system(env={"SONANT_CHAT_DEADLINE": "20"}) as started:
        yield started


async def test_an_answer_taken_up_elsewhere_ends_when_llm_stream_is_killed(system: Sonant, tmp_path: Path) -> None:
    path, key = "/v1/chat/completions", new_key(system)
    body, grace = chat("Say: killed elsewhere", "slow", stream=True), {"x-sonant-resume-grace": "10"}
    async with second_gateway(system, tmp_path) as second:
        async with client(system.url, key.headers) as http, client(second, key.headers) as other:
            async with http.stream("POST", path, json=body, headers=grace) as response:
                url = f"{path}/{response.headers['x-sonant-completion-id']}/stream"
                await anext(events(response))
            async with other.stream("GET", url, headers={"Last-Event-ID": "2"}) as response:
                incoming = events(response)
                head = [await anext(incoming) for _ in range(3)]
                await kill(system, "llm-stream")
                rest = [event async for event in incoming]
            again = await http.get(url, headers={"Last-Event-ID": str(head[-1].id)})
    assert rest[-1].json["error"]["code"] == "worker_restarted"
    # Whoever comes back is told the same, in band.
    assert again.status_code == 200
    assert "worker_restarted" in again.text


async def test_what_a_key_has_spent_survives_those_who_count_it(system: Sonant) -> None:
    """A lease of a process that died stays counted; what Valkey knew, it knows after its death."""
    key = new_key(system, limits={"budget": {"tokens": 3_000, "period": "day"}})
    said = "Say: " + "One two three four five six seven eight nine ten. " * 20

    async def spent() -> int:
        async with client(system.url, system.headers) as admin:
            answer = await admin.get(f"/v1/admin/keys/{key.id}/budget")
        return int(answer.json()["tokens"]) if answer.status_code == 200 else 0

    async with client(system.url, key.headers) as http:
        whole = await http.post("/v1/chat/completions", json=chat(said))
        used = whole.json()["usage"]["total_tokens"]
        assert await eventually(spent) == used
        async with http.stream("POST", "/v1/chat/completions", json=chat(said, "slow", stream=True)) as response:
            incoming = events(response)
            await anext(incoming)
            leased = await spent()
            assert leased > used
            await kill(system, "llm-stream")
            assert "worker_restarted" in [event async for event in incoming][-1].data
        former = system.kill("valkey")
        await eventually(lambda: system.run()["processes"]["valkey"]["pid"] not in (None, former), timeout=30.0)
        await eventually(lambda: system.ready("gateway", "llm-stream"), timeout=30.0)
        assert await eventually(spent, timeout=30.0) == leased

        async def refused() -> bool:
            answer = await http.post("/v1/chat/completions", json=chat(said))
            return answer.status_code == 429 and answer.json()["error"]["code"] == "insufficient_quota"

        await eventually(refused, timeout=30.0)
    assert leased <= await spent() <= 3_000


async def test_embeddings_arrive_although_llm_stream_is_killed_over_them(system: Sonant) -> None:
    key, text = new_key(system), "killed over these embeddings"
    async with client(system.url, key.headers) as http:
        body = {"model": "embeddings-slow", "input": text}
        asked = asyncio.create_task(http.post("/v1/embeddings", json=body))
        await eventually(lambda: [call for call in _calls(system) if call["body"]["input"] == text])
        await kill(system, "llm-stream")
        response = await asked
        assert response.status_code == 200, response.text
        assert len(response.json()["data"][0]["embedding"]) == 1536
        [row] = await eventually(lambda: _usage(http))
    assert (row["model"], row["turns"], row["completed"]) == ("embeddings-slow", 1, 1)
    assert row["prompt_tokens"] > 0


def _calls(system: Sonant) -> list[dict[str, Any]]:
    return [call for call in system.sandbox("requests", limit=300) if call["path"] == "/v1/embeddings"]


async def _usage(http: httpx.AsyncClient) -> list[dict[str, Any]]:
    return list((await http.get("/v1/usage")).json()["data"])


async def test_every_request_ends_and_the_books_agree_when_llm_stream_is_killed(system: Sonant) -> None:
    account = open_account(system)
    async with load(system, account.key, 20) as brisk, load(system, account.key, 8, "slow") as slow:
        for _ in range(KILLS):
            await slow.all_flow()
            killed_at = time.monotonic()
            ready = await kill(system, "llm-stream")
            answered = await brisk.serves_again(killed_at)
            print(f"llm-stream: ready {ready:.2f} s after the kill, first answer after {answered:.2f} s")
        # What flows now is not cut off any more, and ends whole.
        await slow.all_flow()
    print(f"brisk: {brisk.summary()}\nslow: {slow.summary()}")
    for clients in (brisk, slow):
        clients.check()
        assert clients.of(End.COMPLETE)
    facts = await check_books(system, account, brisk.outcomes + slow.outcomes)
    assert any(fact.kind == "failed" for fact in facts.values()), "nothing was in flight at any kill"
