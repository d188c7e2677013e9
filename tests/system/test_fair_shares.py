"""A quiet organisation beside one that takes all there is: places, drafts, and tokens that are spent at once."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from tests.support.clients import Key, chat, client, new_key
from tests.support.sonant import Sonant, sonant_system
from tests.support.waiting import eventually

PATH = "/v1/chat/completions"
PLACES = 40
STREAMS = 200
DRAFTS = 60
QUIET_REQUESTS = 20
MODELS = {
    "default": "sandbox",
    "long": "sandbox+first-10+delay-400+chunks-200",
    "wordy": "sandbox+chunks-2000",
}
# Far below the 80 s of a long answer and the 20 s of a draft, far above what a busy machine adds.
SOON = 12.0


@pytest.fixture(scope="module")
def crowded() -> Iterator[Sonant]:
    """Few places, and no bound at the gateway: what keeps the peace here are the places."""
    env = {
        "SONANT_CONCURRENCY": str(PLACES),
        "SONANT_PLACE_SECONDS": "2",
        "SONANT_ORGANIZATION_DRAFTS": "0",
        "SONANT_DRAFT_MODEL": "sandbox+first-19000",
        # At the end nobody waits any more for what is still being answered.
        "SONANT_DRAIN_SECONDS": "1",
    }
    with sonant_system(models=MODELS, env=env) as system:
        yield system


def organization(sonant: Sonant) -> Key:
    return new_key(sonant, scopes=["chat", "resources"])


async def timed(ask: Callable[[], Awaitable[httpx.Response]]) -> float:
    began = time.monotonic()
    response = await ask()
    assert response.status_code in (200, 201), response.text
    return time.monotonic() - began


async def quiet(sonant: Sonant, key: Key, what: str) -> None:
    """The quiet one chats, writes and reads; nothing fails, and nothing waits for the noisy one."""
    async with client(sonant.url, {**key.headers, "x-user-id": "anna"}) as http:

        async def write() -> httpx.Response:
            body = {"name": f"greeting {time.monotonic_ns()}", "text": "Greet."}
            return await http.post("/api/hume/prompts", json=body)

        asks: dict[str, Callable[[], Awaitable[httpx.Response]]] = {
            "chat": lambda: http.post(PATH, json=chat("hi")),
            "write": write,
            "read": lambda: http.get("/api/hume/prompts"),
            "usage": lambda: http.get("/v1/usage"),
        }
        for name, ask in asks.items():
            took = sorted([await timed(ask) for _ in range(QUIET_REQUESTS)])
            print(f"{what}: {name} p50 {took[len(took) // 2] * 1000:.0f} ms, longest {took[-1] * 1000:.0f} ms")
            assert took[-1] < SOON


@asynccontextmanager
async def noise(ask: Callable[[int], Coroutine[Any, Any, None]], count: int) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(ask(number)) for number in range(count)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_quiet_organisation_beside_200_slow_streams(crowded: Sonant) -> None:
    noisy, calm = organization(crowded), organization(crowded)
    await quiet(crowded, calm, "alone")
    seen: Counter[int] = Counter()
    headers: list[httpx.Headers] = []
    limits = httpx.Limits(max_connections=STREAMS)
    async with httpx.AsyncClient(base_url=crowded.url, headers=noisy.headers, timeout=90, limits=limits) as http:

        async def listen(number: int) -> None:
            async with http.stream("POST", PATH, json=chat(f"go on {number}", "long", stream=True)) as response:
                seen[response.status_code] += 1
                if response.status_code != 200:
                    headers.append(response.headers)
                    return
                async for _ in response.aiter_lines():
                    pass

        async with noise(listen, STREAMS):
            await eventually(lambda: seen[200] >= PLACES, timeout=30)
            await quiet(crowded, calm, "beside 200 slow streams")
            # Nobody is left in silence: whoever gets no place is told when to come back.
            await eventually(lambda: seen.total() == STREAMS, timeout=30)
    print(f"noisy: {dict(seen)}")
    assert seen == {200: PLACES, 503: STREAMS - PLACES}
    assert all(int(each["retry-after"]) >= 1 for each in headers)


async def test_a_quiet_organisation_beside_drafts_at_a_slow_model(crowded: Sonant) -> None:
    noisy, calm = organization(crowded), organization(crowded)
    seen: Counter[int] = Counter()
    body = {"description": "Tool to fetch weather data", "inputs": ["location"], "outputs": ["temperature"]}
    async with client(crowded.url, {**noisy.headers, "x-user-id": "ben"}) as http:

        async def draft(number: int) -> None:
            response = await http.post("/api/hume/tools/dynamic", json={**body, "description": f"Weather {number}"})
            seen[response.status_code] += 1

        async with noise(draft, DRAFTS):
            # Those without a place are told so after two seconds: by then the others have all places.
            await eventually(lambda: seen[503] >= DRAFTS - PLACES, timeout=15)
            await quiet(crowded, calm, f"beside {DRAFTS} drafts")
            assert seen[503] == DRAFTS - PLACES


async def test_tokens_per_minute_hold_for_parallel_requests_of_open_length(crowded: Sonant) -> None:
    """Each answer would have 2,000 tokens, twice: with 64 of them at once, 128 times what the key may use."""
    limit = 2_000
    key = new_key(crowded, limits={"tokens_per_minute": limit})
    async with client(crowded.url, key.headers) as http:
        asking = [http.post(PATH, json=chat("Go on.", "wordy", n=2)) for _ in range(64)]
        responses = await asyncio.gather(*asking)
    assert {response.status_code for response in responses} == {200, 429}
    used = sum(answer.json()["usage"]["total_tokens"] for answer in responses if answer.status_code == 200)
    print(f"tokens used of {limit} a minute: {used}, {used / limit:.2f} times")
    # What comes back while they run is a few tokens more.
    assert used <= 1.2 * limit
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in responses if answer.status_code == 429)


@pytest.mark.parametrize("named", ["max_tokens", "max_completion_tokens"])
async def test_a_length_that_is_named_is_reserved_for_every_choice(crowded: Sonant, named: str) -> None:
    key = new_key(crowded, limits={"tokens_per_minute": 1_000})
    async with client(crowded.url, key.headers) as http:
        fits = await http.post(PATH, json={**chat("hi", n=2), named: 400})
        assert int(fits.headers["x-ratelimit-remaining-tokens"]) <= 220
        never = await http.post(PATH, json={**chat("hi", n=3), named: 400})
    assert (never.status_code, never.json()["error"]["code"]) == (400, "tokens_exceed_limit")
