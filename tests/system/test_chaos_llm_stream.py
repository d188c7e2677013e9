"""Killing llm-stream under load: every request ends in a whole answer or an explicit error, and the books agree."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clients import chat, client, events, new_key, second_gateway
from tests.support.load import End, check_books, kill, load, open_account
from tests.support.sonant import Sonant, sonant_system

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
