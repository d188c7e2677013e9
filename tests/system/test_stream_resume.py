"""A client that dropped takes its answer up again without gap or repetition; one that does not come back stops it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
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
from tests.support.sonant import Sonant
from tests.support.waiting import eventually

PATH = "/v1/chat/completions"
# Enough to meet every step of taking a request in; the last ones leave in the middle of their answer.
LEAVERS = 40
LEAVING_STEP_SECONDS = 0.0004
GRACE = {"x-sonant-resume-grace": "10"}


@pytest.fixture(scope="module")
def key(sonant: Sonant) -> Key:
    return new_key(sonant)


@pytest.fixture
async def http(sonant: Sonant, key: Key) -> AsyncIterator[httpx.AsyncClient]:
    async with client(sonant.url, key.headers) as opened:
        yield opened


async def begin(
    http: httpx.AsyncClient, text: str, count: int, headers: dict[str, str], model: str = "steady"
) -> tuple[str, list[Sse]]:
    """Ask, receive `count` events and drop the connection; returns the completion id and the events."""
    async with http.stream("POST", PATH, json=chat(text, model, stream=True), headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        return response.headers["x-sonant-completion-id"], await some(response, count)


async def some(response: httpx.Response, count: int) -> list[Sse]:
    incoming = events(response)
    return [await anext(incoming) for _ in range(count)]


async def resume(http: httpx.AsyncClient, completion: str, after: int | None, count: int | None = None) -> list[Sse]:
    """What follows event `after`: everything, or `count` events and then a dropped connection."""
    headers = GRACE | ({} if after is None else {"Last-Event-ID": str(after)})
    async with http.stream("GET", f"{PATH}/{completion}/stream", headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        return await (all_events(response) if count is None else some(response, count))


def last_id(received: list[Sse]) -> int:
    assert received[-1].id
    return received[-1].id


def check_whole(received: list[Sse]) -> None:
    """Every event once, in order, to the end."""
    ids = [event.id for event in received]
    assert ids == list(range(2, len(ids) + 2))
    assert received[-1].done
    assert sum(event.done for event in received) == 1
    assert received[-2].json["choices"][0]["finish_reason"] == "stop"


async def test_a_dropped_stream_continues_where_it_was(sonant: Sonant, http: httpx.AsyncClient) -> None:
    whole = httpx.post(
        f"{sonant.url}{PATH}", headers=http.headers, json=chat("Say: resumed once", "steady"), timeout=30
    )
    completion, head = await begin(http, "Say: resumed once", 7, GRACE)
    tail = await resume(http, completion, last_id(head))
    check_whole(head + tail)
    assert text_of(head + tail) == whole.json()["choices"][0]["message"]["content"]
    assert {event.json["id"] for event in (head + tail)[:-1]} == {completion}
    ends = {call["stream"]: call["end"] for call in calls(sonant, "resumed once")}
    assert ends == {False: "completed", True: "completed"}


async def test_several_drops_in_a_row(http: httpx.AsyncClient) -> None:
    completion, received = await begin(http, "Say: resumed often", 3, GRACE)
    for count in (1, 9, 2, 14):
        received += await resume(http, completion, last_id(received), count)
    received += await resume(http, completion, last_id(received))
    check_whole(received)


async def test_an_answer_that_is_silent_for_a_while_is_taken_up(sonant: Sonant, http: httpx.AsyncClient) -> None:
    """There is nothing to repeat and nothing new: the resumed stream begins all the same."""
    completion, received = await begin(http, "Say: silent for a while", 1, GRACE, "pausing")
    async with http.stream("GET", f"{PATH}/{completion}/stream", headers={"Last-Event-ID": "2"}) as response:
        assert response.status_code == 200, await response.aread()
        assert [call["end"] for call in calls(sonant, "silent for a while")] == [None]
        received += await all_events(response)
    check_whole(received)


async def test_a_drop_while_resuming_a_silent_answer_closes_the_upstream_after_its_grace(
    sonant: Sonant, http: httpx.AsyncClient
) -> None:
    completion, _ = await begin(http, "Say: silent and left", 1, {"x-sonant-resume-grace": "1"}, "pausing")
    async with http.stream("GET", f"{PATH}/{completion}/stream", headers={"Last-Event-ID": "2"}) as response:
        assert response.status_code == 200, await response.aread()
    assert await upstream_end(sonant, "silent and left") == "client_closed"


async def test_the_grace_asked_for_at_first_holds_for_every_drop(http: httpx.AsyncClient) -> None:
    completion, received = await begin(http, "Say: grace for each", 2, GRACE)
    for _ in range(2):
        after = {"Last-Event-ID": str(last_id(received))}
        async with http.stream("GET", f"{PATH}/{completion}/stream", headers=after) as response:
            received += await some(response, 2)
    received += await resume(http, completion, last_id(received))
    check_whole(received)


async def test_an_ended_answer_can_be_read_again(http: httpx.AsyncClient) -> None:
    async with http.stream("POST", PATH, json=chat("Say: read me again", stream=True)) as response:
        received = await all_events(response)
        completion = response.headers["x-sonant-completion-id"]
    check_whole(received)
    assert await resume(http, completion, received[2].id) == received[3:]
    assert await resume(http, completion, None) == received
    assert await resume(http, completion, last_id(received)) == []


async def test_an_answer_taken_up_from_its_beginning(http: httpx.AsyncClient) -> None:
    completion, head = await begin(http, "Say: from the top", 5, GRACE)
    again = await resume(http, completion, 0)
    check_whole(again)
    assert again[:5] == head


async def test_nobody_else_may_listen(sonant: Sonant, http: httpx.AsyncClient) -> None:
    stranger = new_key(sonant)
    async with http.stream("POST", PATH, json=chat("Say: private talk", "steady", stream=True)) as response:
        completion = response.headers["x-sonant-completion-id"]
        incoming = events(response)
        received = [await anext(incoming)]
        url = f"{sonant.url}{PATH}/{completion}/stream"
        during = httpx.get(url, headers=stranger.headers)
        # The one whose answer it is has noticed nothing.
        received += [event async for event in incoming]
    check_whole(received)
    after = httpx.get(url, headers=stranger.headers)
    for refused in (during, after):
        assert refused.status_code == 404
        assert refused.json()["error"]["code"] == "completion_not_found"


async def test_a_dropped_answer_is_kept_from_strangers(sonant: Sonant, http: httpx.AsyncClient) -> None:
    completion, head = await begin(http, "Say: still private", 3, GRACE)
    refused = httpx.get(f"{sonant.url}{PATH}/{completion}/stream", headers=new_key(sonant).headers)
    assert refused.status_code == 404
    check_whole(head + await resume(http, completion, last_id(head)))


@pytest.mark.parametrize("completion", [f"chatcmpl-{'0' * 32}", "chatcmpl-nonesuch", "x" * 300])
async def test_an_unknown_answer_is_not_found(http: httpx.AsyncClient, completion: str) -> None:
    response = await http.get(f"{PATH}/{completion}/stream")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "completion_not_found"


@pytest.mark.parametrize("given", ["x", "-1", "1.5", "9" * 30, "²"])
async def test_a_bad_last_event_id_is_refused(http: httpx.AsyncClient, given: str) -> None:
    headers = httpx.Headers([(b"Last-Event-ID", given.encode())])
    response = await http.get(f"{PATH}/chatcmpl-{'0' * 32}/stream", headers=headers)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "Last-Event-ID"


async def test_an_event_that_was_never_sent_is_not_found(http: httpx.AsyncClient) -> None:
    completion, head = await begin(http, "Say: beyond the end", 3, GRACE)
    refused = await http.get(f"{PATH}/{completion}/stream", headers={"Last-Event-ID": "9999"})
    assert refused.status_code == 404
    assert refused.json()["error"]["code"] == "completion_not_found"
    check_whole(head + await resume(http, completion, last_id(head)))


@pytest.mark.parametrize("grace", ["x", "-1", "601", "nan", "inf"])
async def test_a_bad_grace_is_refused(http: httpx.AsyncClient, grace: str) -> None:
    response = await http.post(PATH, json=chat("hi"), headers={"x-sonant-resume-grace": grace})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "x-sonant-resume-grace"


# -- nobody comes back --------------------------------------------------------------------------------------------


async def test_a_drop_in_the_middle_closes_the_upstream_at_once(sonant: Sonant, http: httpx.AsyncClient) -> None:
    body = chat("Say: dropped in the middle", "slow", stream=True)
    async with http.stream("POST", PATH, json=body) as response:
        await some(response, 3)
    assert await upstream_end(sonant, "dropped in the middle") == "client_closed"
    (call,) = calls(sonant, "dropped in the middle")
    assert call["chunks_sent"] < 100


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_drop_before_the_first_token_closes_the_upstream(
    sonant: Sonant, http: httpx.AsyncClient, streaming: bool
) -> None:
    marker = f"dropped early {streaming}"
    await drop_when_asked(sonant, http, chat(marker, "silent", stream=streaming), marker)
    assert await upstream_end(sonant, marker) == "client_closed"


async def test_a_drop_while_a_whole_answer_is_made_closes_the_upstream(sonant: Sonant, http: httpx.AsyncClient) -> None:
    marker = "Say: dropped while whole"
    await drop_when_asked(sonant, http, chat(marker, "slow"), marker)
    assert await upstream_end(sonant, marker) == "client_closed"


async def test_after_the_grace_the_upstream_is_closed(sonant: Sonant, http: httpx.AsyncClient) -> None:
    body = chat("Say: nobody came back", "slow", stream=True)
    async with http.stream("POST", PATH, json=body, headers={"x-sonant-resume-grace": "0.3"}) as response:
        completion = response.headers["x-sonant-completion-id"]
        head = await some(response, 3)
    assert await upstream_end(sonant, "nobody came back") == "client_closed"
    # What was said until then can still be read; it is not passed off as whole.
    rest = await resume(http, completion, last_id(head))
    assert not any(event.done for event in rest)


async def drop_when_asked(sonant: Sonant, http: httpx.AsyncClient, body: dict[str, object], marker: str) -> None:
    """Send a request and leave as soon as the upstream has been asked."""
    asking = asyncio.create_task(http.post(PATH, json=body))
    await upstream_asked(sonant, marker)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_wherever_a_client_leaves_nothing_goes_on(sonant: Sonant) -> None:
    """Each leaves a little later, from before its request was read to after its first words."""
    free, limited = new_key(sonant), new_key(sonant, limits={"concurrent_streams": LEAVERS})
    for number in range(LEAVERS):
        for key in (free, limited):
            body = chat(f"Say: leaver {number}.", "slow", stream=number % 2 == 0)
            await leave(sonant, raw_post(key, body), number * LEAVING_STEP_SECONDS)

    def left() -> list[str]:
        ends = [call["end"] for call in calls(sonant, "leaver")]
        return ends if all(ends) else []

    assert set(await eventually(left)) == {"client_closed"}
    # Every slot is free again: all of them can be taken at once.
    async with client(sonant.url, limited.headers) as http:
        await eventually(lambda: all_admitted(http))


async def all_admitted(http: httpx.AsyncClient) -> bool:
    responses = await asyncio.gather(*(http.post(PATH, json=chat("Say: hi", "brisk")) for _ in range(LEAVERS)))
    return all(response.status_code == 200 for response in responses)


def raw_post(key: Key, body: dict[str, Any]) -> bytes:
    content = orjson.dumps(body)
    head = f"POST {PATH} HTTP/1.1\r\nHost: sonant\r\nAuthorization: Bearer {key.text}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


async def leave(sonant: Sonant, request: bytes, seconds: float) -> None:
    """Send a request and reset the connection after so many seconds."""
    host, _, port = sonant.url.removeprefix("http://").partition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    await asyncio.sleep(seconds)
    writer.transport.abort()


async def test_an_answer_that_was_not_streamed_cannot_be_taken_up(sonant: Sonant) -> None:
    async with client(sonant.url, sonant.headers) as http:
        whole = (await http.post("/v1/chat/completions", json=chat("Say: all at once"))).json()
        response = await http.get(f"/v1/chat/completions/{whole['id']}/stream")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "completion_not_found"
