"""An interruption stops what is being said in a session: nothing after it, the upstream closed, the next turn clean."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.support.clients import (
    Key,
    Sse,
    all_events,
    calls,
    chat,
    client,
    events,
    new_key,
    text_of,
    upstream_asked,
    upstream_end,
)
from tests.support.sonant import Sonant, suspended
from tests.support.waiting import eventually

PATH = "/v1/chat/completions"
STOP = {"type": "user_interruption", "time": {"timestamp": 1_700_000_000_000}}


@pytest.fixture(scope="module")
def key(sonant: Sonant) -> Key:
    return new_key(sonant)


@pytest.fixture
async def http(sonant: Sonant, key: Key) -> AsyncIterator[httpx.AsyncClient]:
    async with client(sonant.url, key.headers) as opened:
        yield opened


class Listener:
    """A client that listens to one answer in the background."""

    def __init__(self, http: httpx.AsyncClient, session: str, text: str, model: str = "slow", **headers: str) -> None:
        self.received: list[Sse] = []
        self.ended_at = 0.0
        named = {"x-session-id": session} | {name.replace("_", "-"): value for name, value in headers.items()}
        self._task = asyncio.create_task(self._listen(http, chat(text, model, stream=True), named))

    async def _listen(self, http: httpx.AsyncClient, body: dict[str, Any], headers: dict[str, str]) -> None:
        async with http.stream("POST", PATH, json=body, headers=headers) as response:
            assert response.status_code == 200, await response.aread()
            async for event in events(response):
                self.received.append(event)
        self.ended_at = time.time()

    async def hears(self, count: int) -> None:
        await eventually(lambda: len(self.received) >= count or self._task.done())
        assert len(self.received) >= count, self.received

    async def ends_within(self, seconds: float) -> bool:
        await asyncio.wait({self._task}, timeout=seconds)
        return self._task.done()

    async def ended(self) -> list[Sse]:
        await asyncio.wait_for(self._task, 20)
        return self.received

    @property
    def done(self) -> bool:
        return any(event.done for event in self.received)


async def interrupt(http: httpx.AsyncClient, session: str) -> httpx.Response:
    return await http.post(f"/v1/sessions/{session}/interrupt", json=STOP)


async def test_an_interruption_stops_the_answer_and_tells_how(sonant: Sonant, http: httpx.AsyncClient) -> None:
    listener = Listener(http, "stop-1", "Say: stop me please")
    await listener.hears(4)
    asked_at = time.time()
    answer = await interrupt(http, "stop-1")
    heard = await listener.ended()
    assert answer.status_code == 200
    assert answer.json()["object"] == "session.interruption"
    assert answer.json()["time"] == STOP["time"]
    (receipt,) = answer.json()["receipts"]
    assert receipt["id"] == heard[0].json["id"]
    assert receipt["reason"] == "user_interruption"
    assert receipt["generated_tokens"] >= receipt["delivered_tokens"] > 0
    # Times are of one machine here: signal, then the upstream's end; the last byte left before it was known.
    assert asked_at - 1 <= receipt["signal_at"] <= receipt["upstream_closed_at"] <= time.time()
    assert receipt["last_byte_at"] <= receipt["upstream_closed_at"]
    assert await upstream_end(sonant, "stop me please") == "client_closed"


async def test_not_a_byte_follows_an_interruption(http: httpx.AsyncClient) -> None:
    listener = Listener(http, "stop-2", "Say: not one more", "steady")
    await listener.hears(4)
    answer = await interrupt(http, "stop-2")
    heard = await listener.ended()
    # What the client has is exactly what the receipt says has left, and it is not passed off as whole.
    assert sum(bool(event.text) for event in heard) == answer.json()["receipts"][0]["delivered_tokens"]
    assert not listener.done
    assert not any("error" in event.json for event in heard)


async def test_the_next_turn_starts_clean(sonant: Sonant, http: httpx.AsyncClient) -> None:
    listener = Listener(http, "stop-3", "Say: the old turn")
    await listener.hears(3)
    assert (await interrupt(http, "stop-3")).status_code == 200
    await listener.ended()
    following = Listener(http, "stop-3", "Say: the new turn", "default")
    assert text_of(await following.ended()) == "the new turn"
    assert following.done
    assert [call["end"] for call in calls(sonant, "the new turn")] == ["completed"]


@pytest.mark.parametrize("streaming", [True, False])
async def test_an_answer_is_stopped_before_its_first_token(
    sonant: Sonant, http: httpx.AsyncClient, streaming: bool
) -> None:
    marker, session = f"nothing said yet {streaming}", f"silent-{streaming}"
    body = chat(marker, "silent", stream=streaming)
    asking = asyncio.create_task(http.post(PATH, json=body, headers={"x-session-id": session}))
    await upstream_asked(sonant, marker)
    answer = await interrupt(http, session)
    (receipt,) = answer.json()["receipts"]
    assert (receipt["generated_tokens"], receipt["delivered_tokens"]) == (0, 0)
    response = await asking
    if streaming:
        assert (response.status_code, response.content) == (200, b"")
    else:
        assert response.status_code == 409
        assert response.json()["error"]["code"] == "interrupted"
        assert response.headers["x-should-retry"] == "false"
    assert await upstream_end(sonant, marker) == "client_closed"


async def test_an_answer_is_stopped_before_it_was_even_begun(sonant: Sonant, http: httpx.AsyncClient) -> None:
    """The request waits in the log: the interruption overtakes it and is answered all the same."""
    # A machine that sleeps for a second misses the time in which receipts are awaited.
    session, (receipt,) = await eventually(lambda: overtake(sonant, http), timeout=30)
    assert receipt["delivered_tokens"] == 0
    # llm-stream finds both at once; where it sees the request first, what it has begun by then is ended.
    assert receipt["generated_tokens"] == 0 or calls(sonant, session)
    await eventually(lambda: all(call["end"] == "client_closed" for call in calls(sonant, session)))


async def overtake(sonant: Sonant, http: httpx.AsyncClient) -> tuple[str, list[dict[str, Any]]] | None:
    """Interrupt an answer while llm-stream is suspended; returns what was to be said, and the receipts if any came."""
    session = f"overtaken-{uuid.uuid4().hex}"
    stopping = []
    with suspended(sonant.pid("llm-stream")):
        listener = Listener(http, session, f"Say: {session}", "steady")

        async def stopped() -> bool:
            # Whichever reaches the gateway first: an interruption before its request stops nothing.
            stopping.append(asyncio.create_task(interrupt(http, session)))
            return await listener.ends_within(0.3)

        await eventually(stopped)
    answers = [await each for each in stopping]
    assert listener.received == []
    receipts = [receipt for answer in answers if answer.status_code == 200 for receipt in answer.json()["receipts"]]
    return (session, receipts) if receipts else None


async def test_a_session_in_which_nothing_is_said_has_nothing_to_stop(http: httpx.AsyncClient) -> None:
    answer = await interrupt(http, "quiet")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "no_answer_in_progress"


async def test_a_second_interruption_finds_nothing(http: httpx.AsyncClient) -> None:
    listener = Listener(http, "stop-4", "Say: twice stopped")
    await listener.hears(2)
    assert (await interrupt(http, "stop-4")).status_code == 200
    assert (await interrupt(http, "stop-4")).status_code == 404
    await listener.ended()


async def test_all_answers_of_a_session_are_stopped_and_no_others(sonant: Sonant, http: httpx.AsyncClient) -> None:
    stranger = new_key(sonant)
    async with client(sonant.url, stranger.headers) as foreign:
        two = [Listener(http, "stop-5", f"Say: stopped {number}", "steady") for number in (1, 2)]
        others = [Listener(http, "stop-6", "Say: goes on", "steady"), Listener(foreign, "stop-5", "Say: on", "steady")]
        for listener in (*two, *others):
            await listener.hears(2)
        answer = await interrupt(http, "stop-5")
        assert len(answer.json()["receipts"]) == 2
        for listener in (*two, *others):
            await listener.ended()
    assert [listener.done for listener in two] == [False, False]
    assert [listener.done for listener in others] == [True, True]


async def test_a_newer_request_stops_the_older_one_of_its_session_alone(
    sonant: Sonant, http: httpx.AsyncClient
) -> None:
    older = Listener(http, "barge-in", "Say: the older one")
    bystander = Listener(http, "elsewhere", "Say: not concerned", "steady")
    for listener in (older, bystander):
        await listener.hears(2)
    newer = Listener(http, "barge-in", "Say: the newer one", "steady", x_user_interruption="1")
    await older.ended()
    assert not older.done
    assert await upstream_end(sonant, "the older one") == "client_closed"
    for listener in (newer, bystander):
        await listener.ended()
    assert newer.done
    assert bystander.done


async def test_a_newer_request_that_is_refused_or_a_mere_repetition_stops_nothing(sonant: Sonant) -> None:
    headers = {"x-session-id": "undisturbed", "x-user-interruption": "1"}
    repeated = headers | {"Idempotency-Key": "undisturbed"}
    async with client(sonant.url, new_key(sonant, limits={"requests_per_minute": 5}).headers) as http:
        assert (await http.post(PATH, json=chat("hi"), headers=repeated)).status_code == 200
        older = Listener(http, "undisturbed", "Say: not to be stopped", "steady")
        await older.hears(2)
        answers = [
            await http.post(PATH, json=chat("hi"), headers=repeated),
            await http.post(PATH, json=chat("else"), headers=repeated),
            await http.post(PATH, json=chat("hi"), headers=headers | {"Idempotency-Key": ""}),
            await http.post(PATH, json=chat("hi"), headers=headers),
            await http.post(PATH, json=chat("hi", stream=True), headers=headers),
        ]
        assert [answer.status_code for answer in answers] == [200, 422, 400, 429, 429]
        await older.ended()
    assert older.done


async def test_without_the_header_a_newer_request_stops_nothing(http: httpx.AsyncClient) -> None:
    listeners = [Listener(http, "both", f"Say: both {number}", "steady") for number in (1, 2)]
    for listener in listeners:
        await listener.ended()
    assert all(listener.done for listener in listeners)


async def test_a_fast_run_of_interrupting_requests_leaves_the_last(http: httpx.AsyncClient) -> None:
    """Growing transcripts: several requests for one utterance, each replacing the one before."""
    listeners = []
    for number in range(5):
        listeners.append(Listener(http, "growing", f"Say: growing {number}", "steady", x_user_interruption="1"))
        await listeners[-1].hears(1)
    for listener in listeners:
        await listener.ended()
    assert [listener.done for listener in listeners] == [False] * 4 + [True]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"no json", None),
        (b"[]", None),
        (b"{}", "type"),
        (b'{"type": "user_interruption"}', "time"),
        (b'{"type": "other", "time": {"timestamp": 1}}', "type"),
        (b'{"type": "user_interruption", "time": {"timestamp": "now"}}', "time.timestamp"),
        (b'{"type": "user_interruption", "time": {"timestamp": -1}}', "time.timestamp"),
    ],
)
async def test_a_bad_interruption_is_refused_and_stops_nothing(
    http: httpx.AsyncClient, body: bytes, param: str | None
) -> None:
    answer = await http.post("/v1/sessions/any/interrupt", content=body)
    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert answer.json()["error"]["param"] == param


async def test_a_large_interruption_is_refused(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/sessions/any/interrupt", json={**STOP, "more": "x" * 5000})
    assert answer.status_code == 413


async def test_interrupted_turns_are_counted(sonant: Sonant) -> None:
    own = new_key(sonant)
    async with client(sonant.url, own.headers) as http:
        stopped = Listener(http, "counted", "Say: counted as stopped")
        await stopped.hears(3)
        assert (await interrupt(http, "counted")).status_code == 200
        await stopped.ended()
        async with http.stream("POST", PATH, json=chat("Say: left alone", "slow", stream=True)) as response:
            await anext(events(response))
        async with http.stream("POST", PATH, json=chat("Say: whole", stream=True)) as response:
            await all_events(response)

        async def counted() -> list[dict[str, Any]]:
            rows = (await http.get("/v1/usage")).json()["data"]
            return rows if sum(row["turns"] for row in rows) == 3 else []

        rows = await eventually(counted)
    slow, default = sorted(rows, key=lambda row: row["model"], reverse=True)
    assert (slow["interrupted"], slow["completed"], slow["failed"]) == (2, 0, 0)
    assert slow["completion_tokens"] > 0
    assert (default["completed"], default["interrupted"]) == (1, 0)
