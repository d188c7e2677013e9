"""Sessions outlive the end of any process: killed between two turns, whoever it is, the next turn knows them all."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import psutil
import pytest
from redis import Redis

from tests.support.clients import Key, calls, chat, client, new_key, upstream_asked
from tests.support.load import kill
from tests.support.sonant import Sonant, sonant_system
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def system() -> Iterator[Sonant]:
    with sonant_system(env={"SONANT_CHAT_DEADLINE": "20"}) as started:
        yield started


@pytest.fixture(scope="module")
def key(system: Sonant) -> Key:
    return new_key(system, scopes=["chat", "admin"])


@pytest.fixture
async def http(system: Sonant, key: Key) -> AsyncIterator[httpx.AsyncClient]:
    async with client(system.url, key.headers) as opened:
        yield opened


@pytest.fixture
def session() -> str:
    return f"session-{uuid.uuid4().hex[:12]}"


async def says(http: httpx.AsyncClient, session: str, text: str) -> httpx.Response:
    return await http.post("/v1/chat/completions", json=chat(text, store=True), headers={"x-session-id": session})


async def answered(http: httpx.AsyncClient, session: str, text: str) -> None:
    """A turn, sent again while somebody is away."""

    async def done() -> bool:
        try:
            return (await says(http, session, text)).status_code == 200
        except httpx.TransportError:
            return False

    await eventually(done, timeout=40.0)


def told(system: Sonant, marker: str) -> list[str]:
    messages: list[dict[str, Any]] = calls(system, marker)[-1]["body"]["messages"]
    return [message["content"] for message in messages]


@pytest.mark.parametrize("victim", ["llm-stream", "telemetry", "gateway", "valkey", "postgres"])
async def test_no_turn_is_lost_when_a_process_is_killed_between_two(
    system: Sonant, http: httpx.AsyncClient, session: str, victim: str
) -> None:
    await answered(http, session, f"Say: one {session}")
    if victim in ("llm-stream", "telemetry", "gateway"):
        await kill(system, victim)
    else:
        system.kill(victim)
    await answered(http, session, f"Say: two {session}")
    spoken = [f"Say: one {session}", f"one {session}", f"Say: two {session}"]
    assert told(system, f"two {session}") == spoken

    async def kept() -> bool:
        found = await http.get(f"/v1/sessions/{session}")
        return found.status_code == 200 and len(found.json()["turns"]) == 2

    await eventually(kept, timeout=40.0)


async def test_what_the_live_store_has_lost_is_read_from_telemetry_once(
    system: Sonant, http: httpx.AsyncClient, session: str
) -> None:
    await answered(http, session, f"Say: one {session}")
    await answered(http, session, f"Say: two {session}")

    async def stored() -> bool:
        rows = (await http.get("/v1/sessions")).json()["data"]
        return [row["turns"] for row in rows if row["id"] == session] == [2]

    await eventually(stored, timeout=20.0)
    with Redis.from_url(system.urls()["redis"]) as redis:
        for name in redis.scan_iter(f"sonant:session:*{session}"):
            redis.delete(name)
    before = _reads(system)
    # Many at once: one of them asks.
    texts = [f"Say: {number} of {session}" for number in range(5)]
    await asyncio.gather(*(says(http, session, text) for text in texts))
    spoken = [f"Say: one {session}", f"one {session}", f"Say: two {session}", f"two {session}"]
    for number in range(5):
        assert told(system, f"{number} of {session}")[:4] == spoken
    assert _reads(system) > before


def _reads(system: Sonant) -> float:
    lines = system.ops("llm-stream", "/metrics").text.splitlines()
    [found] = [line for line in lines if line.startswith('sonant_chat_session_reads_total{outcome="archive"}')]
    return float(found.rpartition(" ")[2])


async def test_without_telemetry_and_a_copy_nobody_is_answered_without_the_history(
    system: Sonant, http: httpx.AsyncClient, session: str
) -> None:
    """A caller who relies on the server's memory is told that it is away; one who has the history is answered."""
    await answered(http, session, f"Say: one {session}")
    with Redis.from_url(system.urls()["redis"]) as redis:
        for name in redis.scan_iter(f"sonant:session:*{session}"):
            redis.delete(name)
    telemetry = system.pid("telemetry")
    psutil.Process(telemetry).suspend()
    try:
        refused = await says(http, session, f"Say: two {session}")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "history_unavailable")
        assert "retry-after" in refused.headers
        sent = {**chat(f"Say: sent {session}", store=True), "sonant_history": "sent"}
        headers = {"x-session-id": session}
        assert (await http.post("/v1/chat/completions", json=sent, headers=headers)).status_code == 200
        # Without a store nothing is asked.
        assert (await http.post("/v1/chat/completions", json=chat("Say: x"), headers=headers)).status_code == 200
    finally:
        psutil.Process(telemetry).resume()
    await answered(http, session, f"Say: two {session}")
    assert told(system, f"two {session}")[:2] == [f"Say: one {session}", f"one {session}"]


async def test_an_answer_that_dies_with_its_instance_is_no_part_of_the_history(
    system: Sonant, http: httpx.AsyncClient, session: str
) -> None:
    await answered(http, session, f"Say: one {session}")
    body = chat(f"Say: this is never said to its end {session}", "slow", store=True, stream=True)
    headers = {"x-session-id": session}
    async with http.stream("POST", "/v1/chat/completions", json=body, headers=headers) as response:
        await upstream_asked(system, f"to its end {session}")
        incoming = response.aiter_bytes()
        await anext(incoming)
        await kill(system, "llm-stream")
        async for _ in incoming:
            pass
    await answered(http, session, f"Say: two {session}")
    assert told(system, f"two {session}")[:2] == [f"Say: one {session}", f"one {session}"]
    assert len(told(system, f"two {session}")) == 3


async def test_an_organisation_says_for_how_long_its_sessions_are_kept(http: httpx.AsyncClient) -> None:
    path = "/v1/admin/session-policy"
    assert (await http.get(path)).json() == {"days": 30, "own": False}
    assert (await http.put(path, json={"days": 7})).json() == {"days": 7, "own": True}
    assert (await http.get(path)).json() == {"days": 7, "own": True}
    for wrong in ({}, {"days": 0}, {"days": 99_999}, {"days": "7"}, {"days": 7, "hours": 1}):
        assert (await http.put(path, json=wrong)).status_code == 400
    assert (await http.put(path, json={"days": None})).json() == {"days": 30, "own": False}
