"""Two gateways on the same engines are one: what begins at the first is taken up, stopped and refused at the second."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.support.clients import (
    Key,
    all_events,
    chat,
    client,
    events,
    new_key,
    second_gateway,
    text_of,
    upstream_end,
)
from tests.support.sonant import Sonant, suspended
from tests.support.waiting import eventually

PATH = "/v1/chat/completions"


@pytest.fixture(scope="module")
async def second(sonant: Sonant, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with second_gateway(sonant, tmp_path_factory.mktemp("gateway")) as url:
        yield url


@pytest.fixture
def key(sonant: Sonant) -> Key:
    return new_key(sonant)


async def test_a_stream_begun_at_one_gateway_continues_at_another(sonant: Sonant, second: str, key: Key) -> None:
    body = chat("Say: from one to the other", "steady", stream=True)
    async with client(sonant.url, key.headers) as first, client(second, key.headers) as other:
        headers = {"x-sonant-resume-grace": "10", "x-session-id": "continued"}
        async with first.stream("POST", PATH, json=body, headers=headers) as response:
            completion = response.headers["x-sonant-completion-id"]
            told = sonant_headers(response)
            incoming = events(response)
            received = [await anext(incoming) for _ in range(6)]
        headers = {"Last-Event-ID": str(received[-1].id)}
        async with other.stream("GET", f"{PATH}/{completion}/stream", headers=headers) as response:
            received += await all_events(response)
        assert (told["x-sonant-session-id"], told["x-sonant-provider"]) == ("continued", "sandbox")
        assert sonant_headers(response) == told
        # Just so where the end is all that is left of it.
        for after in ("0", headers["Last-Event-ID"]):
            again = await other.get(f"{PATH}/{completion}/stream", headers={"Last-Event-ID": after})
            assert sonant_headers(again) == told
    assert [event.id for event in received] == list(range(2, len(received) + 2))
    assert received[-1].done
    assert text_of(received).startswith("from one to the other")


def sonant_headers(response: httpx.Response) -> dict[str, str]:
    """What the headers say of the answer itself."""
    return {name: value for name, value in response.headers.items() if name.startswith("x-sonant-")}


async def test_a_stream_taken_up_elsewhere_is_interrupted_by_its_session(sonant: Sonant, second: str, key: Key) -> None:
    body, grace = chat("Say: taken up and stopped", "slow", stream=True), {"x-sonant-resume-grace": "10"}
    async with client(sonant.url, key.headers) as first, client(second, key.headers) as other:
        async with first.stream("POST", PATH, json=body, headers=grace | {"x-session-id": "moved"}) as response:
            completion = response.headers["x-sonant-completion-id"]
            received = [await anext(events(response))]
        async with other.stream("GET", f"{PATH}/{completion}/stream", headers={"Last-Event-ID": "2"}) as response:
            incoming = events(response)
            received += [await anext(incoming) for _ in range(3)]
            stop = {"type": "user_interruption", "time": {"timestamp": 1}}
            # Not a byte more, although who answers does not know yet.
            with suspended(sonant.pid("llm-stream")):
                stopping = asyncio.create_task(other.post("/v1/sessions/moved/interrupt", json=stop))
                async with asyncio.timeout(20):
                    received += [event async for event in incoming]
            await stopping
    assert not any(event.done or "error" in event.json for event in received)
    assert await upstream_end(sonant, "taken up and stopped") == "client_closed"


async def test_another_gateway_takes_over_while_the_first_still_streams(sonant: Sonant, second: str, key: Key) -> None:
    """A connection that the client gave up and the gateway has not noticed."""
    body = chat("Say: taken over", "steady", stream=True)
    async with client(sonant.url, key.headers) as first, client(second, key.headers) as other:
        async with first.stream("POST", PATH, json=body) as response:
            completion = response.headers["x-sonant-completion-id"]
            incoming = events(response)
            received = [await anext(incoming) for _ in range(4)]
            headers = {"Last-Event-ID": str(received[-1].id)}
            async with other.stream("GET", f"{PATH}/{completion}/stream", headers=headers) as taken:
                received += await all_events(taken)
    assert [event.id for event in received] == list(range(2, len(received) + 2))
    assert received[-1].done
    assert await upstream_end(sonant, "taken over") == "completed"


async def test_an_interruption_at_one_gateway_stops_the_stream_at_another(
    sonant: Sonant, second: str, key: Key
) -> None:
    body = chat("Say: stopped from afar", "slow", stream=True)
    async with client(sonant.url, key.headers) as first, client(second, key.headers) as other:
        async with first.stream("POST", PATH, json=body, headers={"x-session-id": "afar"}) as response:
            incoming = events(response)
            received = [await anext(incoming) for _ in range(3)]
            stop = {"type": "user_interruption", "time": {"timestamp": 1}}
            answer = await other.post("/v1/sessions/afar/interrupt", json=stop)
            received += [event async for event in incoming]
    assert answer.status_code == 200, answer.text
    (receipt,) = answer.json()["receipts"]
    assert receipt["generated_tokens"] >= receipt["delivered_tokens"] > 0
    assert not any(event.done for event in received)
    assert await upstream_end(sonant, "stopped from afar") == "client_closed"


async def test_a_key_revoked_at_one_gateway_is_refused_by_another(sonant: Sonant, second: str, key: Key) -> None:
    def asked(url: str) -> int:
        return httpx.get(f"{url}/v1/models", headers=key.headers).status_code

    assert (asked(sonant.url), asked(second)) == (200, 200)
    httpx.delete(f"{sonant.url}/v1/admin/keys/{key.id}", headers=sonant.headers).raise_for_status()
    assert asked(sonant.url) == 401
    # It travels as a message: soon, and long before what is cached would be looked up again.
    await eventually(lambda: asked(second) == 401, timeout=5)


async def test_limits_are_shared(sonant: Sonant, second: str) -> None:
    limited = new_key(sonant, limits={"requests_per_minute": 2})
    statuses = [
        httpx.post(f"{url}{PATH}", headers=limited.headers, json=chat("hi")).status_code
        for url in (sonant.url, second, sonant.url, second)
    ]
    assert statuses == [200, 200, 429, 429]


async def test_an_idempotent_answer_is_repeated_by_another_gateway(sonant: Sonant, second: str, key: Key) -> None:
    headers = key.headers | {"Idempotency-Key": "once"}
    one, other = (httpx.post(f"{url}{PATH}", headers=headers, json=chat("hi")) for url in (sonant.url, second))
    assert one.json() == other.json()
    assert other.headers["idempotency-replayed"] == "true"
