"""Whatever the server does, nothing is lost, nobody is held up, and what happened is told."""

import socket
import threading
import time
from typing import Any

import pytest

from huggingplace import (
    AuthenticationError,
    HuggingPlaceError,
    NetworkError,
    NetworkTimeoutError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
)
from tests.integration.huggingplace.conftest import MakeClient
from tests.support.ingest_server import (
    Answer,
    IngestServer,
    Mood,
    always,
    closing,
    hanging,
    ingest_server,
    refusal,
    times,
)
from tests.support.waiting import eventually

ANOTHER_SERVICE: Answer = (200, {}, b"<html>Welcome!</html>")

FAILURES: list[tuple[str, Mood, type[HuggingPlaceError]]] = [
    ("500", always(refusal(500, "Broken.")), ServerError),
    ("503 and Retry-After", always(refusal(503, "Later.", Retry_After="0")), ServerError),
    ("429 and Retry-After", always(refusal(429, "Slowly.", Retry_After="0")), RateLimitError),
    ("a connection that breaks", closing, NetworkError),
    ("200 of somebody else", always(ANOTHER_SERVICE), ServerError),
    ("404", always(refusal(404, "Not here.")), ServerError),
    ("a redirect", always((307, {"Location": "http://127.0.0.1:9/"}, b"")), ServerError),
    (
        "an answer without a length that ends too soon",
        always((200, {"Content-Length": "999", "Connection": "close"}, b"{}")),
        NetworkError,
    ),
]


@pytest.mark.parametrize(("mood", "error"), [case[1:] for case in FAILURES], ids=[case[0] for case in FAILURES])
def test_what_fails_is_told_and_sent_again(
    server: IngestServer,
    make_client: MakeClient,
    told: list[HuggingPlaceError],
    mood: Mood,
    error: type[HuggingPlaceError],
) -> None:
    server.mood = times(2, mood)
    client = make_client(timeout=0.5)
    ids = [client.log(user_prompt=str(number)) for number in range(10)]
    assert client.flush(15)
    assert set(server.items) == set(ids)
    assert told
    assert {type(each) for each in told} == {error}
    assert client.counters()["failures"] == 2


def test_a_server_that_hangs_is_given_up_after_the_timeout(
    server: IngestServer, make_client: MakeClient, told: list[HuggingPlaceError]
) -> None:
    server.mood = times(1, hanging(1.0))
    client = make_client(timeout=0.2)
    logged = client.log(user_prompt="hello")
    assert client.flush(15)
    # It had heard us, and took it; the same id again is one interaction.
    assert set(server.items) == {logged}
    assert [type(each) for each in told] == [NetworkTimeoutError]


def test_a_server_that_dribbles_is_given_up_after_the_timeout(
    make_client: MakeClient, told: list[HuggingPlaceError]
) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def dribble() -> None:
        connection, _ = listening.accept()
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while not ended.wait(0.05):
            try:
                connection.sendall(b"X: y\r\n")
            except OSError:
                break
        connection.close()

    thread = threading.Thread(target=dribble)
    thread.start()
    try:
        client = make_client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=0.5)
        client.log(user_prompt="hello")
        began = time.monotonic()
        client.flush(1.0)
        assert isinstance(told[0], NetworkTimeoutError)
        assert time.monotonic() - began < 5
    finally:
        ended.set()
        listening.close()
        thread.join()


def test_retry_after_is_honoured_whoever_is_in_a_hurry(server: IngestServer, make_client: MakeClient) -> None:
    moments: list[float] = []

    refuse = times(1, always(refusal(429, "Slowly.", Retry_After="1")))

    def note(here: IngestServer, items: list[dict[str, Any]]) -> Answer | None:
        moments.append(time.monotonic())
        return refuse(here, items)

    server.mood = note
    client = make_client()
    client.log(user_prompt="hello")
    assert not client.flush(0.3)
    assert client.flush(10)
    first, second = moments
    assert second - first >= 1.0


@pytest.mark.parametrize(("status", "error"), [(401, AuthenticationError), (403, PermissionDeniedError)])
async def test_a_refused_key_stops_sending_and_loses_nothing(
    server: IngestServer,
    make_client: MakeClient,
    told: list[HuggingPlaceError],
    status: int,
    error: type[HuggingPlaceError],
) -> None:
    server.mood = always(refusal(status, "No."))
    client = make_client()
    ids = {client.log(user_prompt="one")}
    assert not client.flush(5)
    ids |= {client.log(user_prompt=str(number)) for number in range(300)}
    began = time.monotonic()
    assert not client.flush(5)
    assert not client.close(5)
    assert time.monotonic() - began < 4, "it waited, though nothing can be sent"
    assert len(server.requests) == 1, "it went on with a refused key"
    assert [type(each) for each in told] == [error]
    server.mood = None
    make_client()
    await eventually(lambda: ids <= set(server.items))


async def test_the_network_is_gone_for_a_while(make_client: MakeClient, told: list[HuggingPlaceError]) -> None:
    with ingest_server() as server:
        port = server.port
        client = make_client(base_url=server.url)
        ids = {client.log(user_prompt="before")}
        assert client.flush(5)
    ids |= {client.log(user_prompt=str(number)) for number in range(2000)}
    assert not client.flush(0.5)
    assert client.counters()["memory_bytes"] == 0
    assert {type(each) for each in told} <= {NetworkError}
    with ingest_server(port) as server:
        await eventually(lambda: client.flush(0.5), timeout=20)
        assert len(server.items) == len(ids) - 1
        assert set(server.items) <= ids
    assert client.counters()["dropped"] == 0


@pytest.mark.parametrize(
    "mood", [hanging(10.0), closing, always(refusal(429, "No.", Retry_After="60"))], ids=["hangs", "closes", "429"]
)
async def test_flush_and_close_return_in_time_whatever_the_server_does(
    server: IngestServer, make_client: MakeClient, mood: Mood
) -> None:
    server.mood = mood
    client = make_client()
    logged = client.log(user_prompt="hello")
    for act in (client.flush, client.close):
        began = time.monotonic()
        assert not act(0.3)
        assert time.monotonic() - began < 5.0
    server.mood = None
    make_client()
    await eventually(lambda: logged in server.items)


def test_a_batch_that_is_too_large_is_halved(server: IngestServer, make_client: MakeClient) -> None:
    server.mood = lambda _server, items: refusal(413, "Too large.") if len(items) > 3 else None
    client = make_client(batch_items=20)
    ids = {client.log(user_prompt=str(number)) for number in range(20)}
    assert client.flush(5)
    assert set(server.items) == ids


def test_log_never_waits_for_the_server(server: IngestServer, make_client: MakeClient) -> None:
    server.mood = hanging(10.0)
    client = make_client(batch_items=10)
    began = time.monotonic()
    for number in range(1000):
        client.log(user_prompt=str(number))
    assert time.monotonic() - began < 5.0
    assert client.counters()["waiting"] == 1000
