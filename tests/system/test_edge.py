"""The gateway's edge on a whole system: streams that wait, ends of keys, repetitions for others, names with slashes."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests.support.clients import chat, client, events, new_key
from tests.support.sonant import MODELS, Sonant, sonant_system

OPEN_AFTER = 0.5
WAITING = {
    "acme/voices/fast": "sandbox",
    "late": "sandbox+first-2000",
    # Past the first-byte timeout of these aliases.
    "never": "sandbox+silence",
}


@pytest.fixture(scope="module")
def system() -> Iterator[Sonant]:
    env = {"SONANT_STREAM_OPEN_AFTER": str(OPEN_AFTER), "SONANT_CORS_ORIGINS": "https://app.example.com"}
    with sonant_system(models={**MODELS, **WAITING}, env=env) as running:
        yield running


@pytest.fixture
async def http(system: Sonant) -> AsyncIterator[httpx.AsyncClient]:
    async with client(system.url, new_key(system).headers) as opened:
        yield opened


async def test_a_model_is_found_by_a_name_with_slashes(http: httpx.AsyncClient) -> None:
    for path in ("/v1/models/acme/voices/fast", "/v1/models/acme%2Fvoices%2Ffast"):
        answer = await http.get(path)
        assert (answer.status_code, answer.json()["id"]) == (200, "acme/voices/fast")
    assert (await http.get("/v1/models/acme/voices/slow")).json()["error"]["code"] == "model_not_found"
    assert (await http.get("/v1/models/")).status_code == 404


async def test_a_stream_that_waits_opens_early_and_is_whole(http: httpx.AsyncClient) -> None:
    started = time.monotonic()
    async with http.stream("POST", "/v1/chat/completions", json=chat("Say: here", "late", stream=True)) as answer:
        assert answer.status_code == 200
        assert time.monotonic() - started < 1.5
        received = [line async for line in answer.aiter_lines()]
    assert received[0].startswith(":")
    assert received[-2:] == ["data: [DONE]", ""] or "data: [DONE]" in received[-3:]
    assert sum(line.startswith(":") for line in received) < 4


async def test_an_error_behind_an_early_opening_is_said_in_the_stream(http: httpx.AsyncClient) -> None:
    async with http.stream("POST", "/v1/chat/completions", json=chat("Say: here", "never", stream=True)) as answer:
        assert answer.status_code == 200
        received = [event async for event in events(answer)]
    errors = [event.json["error"] for event in received if not event.done and "error" in event.json]
    assert len(errors) == 1
    assert errors[0]["message"]


async def test_an_error_before_the_opening_is_an_http_error(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/chat/completions", json=chat("Say: here", "spent", stream=True))
    assert answer.status_code >= 400
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("streaming", [True, False])
async def test_the_answer_of_a_revoked_key_ends_with_its_reason(system: Sonant, streaming: bool) -> None:
    key = new_key(system)
    async with client(system.url, key.headers) as mine, client(system.url, system.headers) as admin:

        async def ask() -> tuple[int, str]:
            body = chat("Say: a long story", "slow", stream=streaming)
            async with mine.stream("POST", "/v1/chat/completions", json=body) as answer:
                return answer.status_code, (await answer.aread()).decode()

        asking = asyncio.create_task(ask())
        await asyncio.sleep(1.0)
        started = time.monotonic()
        assert (await admin.delete(f"/v1/admin/keys/{key.id}")).status_code == 200
        status, text = await asking
        took = time.monotonic() - started
    assert took < 1.0
    if streaming:
        assert status == 200
        last = text.rstrip().rpartition("\n")[2].removeprefix("data: ")
        assert json.loads(last)["error"]["code"] == "invalid_api_key"
        assert "[DONE]" not in text
    else:
        assert (status, json.loads(text)["error"]["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"x-user-id": "anna"}, {"x-user-id": "ben"}),
        ({"x-user-id": "anna"}, {}),
        ({"x-session-id": "one"}, {"x-session-id": "two"}),
        ({}, {"x-session-id": "two"}),
        ({"x-user-id": "anna", "x-project-id": "a"}, {"x-user-id": "anna", "x-project-id": "b"}),
    ],
)
async def test_a_repetition_for_somebody_else_is_refused(
    http: httpx.AsyncClient, first: dict[str, str], second: dict[str, str]
) -> None:
    once = {"idempotency-key": f"edge-{first}-{second}"}
    body = chat("Say: once")
    answer = await http.post("/v1/chat/completions", json=body, headers={**once, **first})
    assert answer.status_code == 200
    again = await http.post("/v1/chat/completions", json=body, headers={**once, **first})
    assert again.headers["idempotency-replayed"] == "true"
    other = await http.post("/v1/chat/completions", json=body, headers={**once, **second})
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")


async def test_a_page_may_stream(http: httpx.AsyncClient) -> None:
    headers = {"origin": "https://app.example.com"}
    answer = await http.post("/v1/chat/completions", json=chat("Say: here", stream=True), headers=headers)
    assert answer.headers["access-control-allow-origin"] == "https://app.example.com"
    asked = await http.options("/v1/chat/completions", headers={**headers, "access-control-request-method": "POST"})
    assert asked.status_code == 204
