"""The client for addresses that callers name always ends: sizes, times and answers that are none."""

import asyncio
import gzip
import io
import ssl
import time
import tracemalloc
import zlib

import pytest
import trustme
from aiohttp import web

from common.failures import ProviderDown
from common.providers import guarded_http
from common.providers.guarded_http import GuardedHttp, open_guarded_http
from tests.support.peers import (
    ENOUGH,
    OUTSIDE,
    RULES,
    Names,
    Peer,
    Talk,
    raw,
    refused,
    says,
    talking,
)

# -- sizes -------------------------------------------------------------------------------------------------------------


async def test_a_body_that_is_announced_too_large_is_not_read(http: GuardedHttp, peer: Peer) -> None:
    peer.routes["/"] = says("x" * 11)
    await refused(http.fetch(peer.url(), max_bytes=10), "response_too_large", 413)
    await refused(http.download(peer.url(), io.BytesIO(), max_bytes=10), "response_too_large", 413)


async def test_a_body_without_end_stops_at_the_cap(http: GuardedHttp, peer: Peer) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while sent < 1_000_000_000:
            await response.write(b"x" * 65536)
            sent += 65536
        return response

    peer.routes["/"] = endless
    file = io.BytesIO()
    await refused(http.download(peer.url(), file, max_bytes=ENOUGH, seconds=20), "response_too_large", 413)
    assert len(file.getvalue()) <= ENOUGH
    assert sent < 50_000_000


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_bomb_ends_at_the_cap(http: GuardedHttp, peer: Peer, encoding: str) -> None:
    zeros = bytes(200_000_000)
    bomb = gzip.compress(zeros, 9) if encoding == "gzip" else zlib.compress(zeros, 9)
    del zeros
    assert len(bomb) < ENOUGH

    async def send(_: web.Request) -> web.StreamResponse:
        return web.Response(body=bomb, headers={"Content-Encoding": encoding})

    peer.routes["/"] = send
    tracemalloc.start()
    try:
        await refused(http.fetch(peer.url(), max_bytes=ENOUGH, seconds=20), "response_too_large", 413)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * ENOUGH


async def test_what_was_packed_is_unpacked_and_counted_so(http: GuardedHttp, peer: Peer) -> None:
    async def send(_: web.Request) -> web.StreamResponse:
        return web.Response(body=gzip.compress(b"x" * 1000), headers={"Content-Encoding": "gzip"})

    peer.routes["/"] = send
    assert (await http.fetch(peer.url(), max_bytes=1000)).body == b"x" * 1000
    await refused(http.fetch(peer.url(), max_bytes=999), "response_too_large", 413)
    assert peer.requests[0].headers["Accept-Encoding"] == "identity"


async def test_of_a_reply_to_a_post_the_beginning_is_kept(http: GuardedHttp, peer: Peer) -> None:
    peer.routes["/"] = says("x" * 100_000)
    got = await http.post(peer.url(), b"", headers={}, max_bytes=10)
    assert (got.status, got.body) == (200, b"x" * 10)


# -- raw peers -------------------------------------------------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "talk",
    [
        raw(),  # closed without a word
        raw(b"SSH-2.0-OpenSSH_9.6\r\n"),
        raw(b"HTTP/1.1 abc OK\r\n\r\n"),
        raw(HEAD + b"Content-Length: 10\r\n\r\nshort"),
        raw(HEAD + b"Content-Length: -1\r\n\r\n"),
        raw(HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
        raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
        raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel"),
        raw(HEAD + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello"),
        raw(HEAD + b"X: " + b"x" * 20_000 + b"\r\n\r\n"),
        raw(HEAD + b"".join(b"X%d: x\r\n" % number for number in range(1000)) + b"\r\n"),
        raw(HEAD, repeat=b"X-More: " + b"x" * 1000 + b"\r\n"),
        raw(HEAD, repeat=b"x" * 10_000),
        raw(b"HTTP/1.1 200 " + b"x" * 20_000 + b"\r\n\r\n"),
    ],
    ids=range(14),
)
async def test_what_is_no_answer_ends_as_such(http: GuardedHttp, talk: Talk) -> None:
    async with talking(talk) as url:
        began = time.monotonic()
        with pytest.raises(ProviderDown) as down:
            await http.fetch(url, max_bytes=ENOUGH, seconds=10)
        assert "within" not in down.value.message
        assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "talk",
    [
        raw(HEAD, pause=60),  # a head without end
        raw(HEAD + b"Content-Length: 1000\r\n\r\n", pause=60),  # a body that never begins
        raw(HEAD + b"\r\n", repeat=b"x", pause=0.02),  # a body that drips
        raw(*(b"HTTP/1.1 200 OK\r\nX-Drip: abcdefghij"[i : i + 1] for i in range(30)), pause=0.02, repeat=b"x"),
        raw(repeat=b"HTTP/1.1 103 Early Hints\r\n\r\n", pause=0.01),  # hints without end
    ],
    ids=["head", "body", "drip", "dripping-head", "hints"],
)
async def test_whatever_is_slow_ends_with_the_time(http: GuardedHttp, talk: Talk) -> None:
    async with talking(talk) as url:
        for call in (
            lambda: http.fetch(url, max_bytes=ENOUGH, seconds=0.3),
            lambda: http.download(url, io.BytesIO(), max_bytes=ENOUGH, seconds=0.3),
            lambda: http.post(url, b"", headers={}, seconds=0.3),
        ):
            began = time.monotonic()
            with pytest.raises(ProviderDown) as down:
                await call()
            assert "within 0.3 s" in down.value.message
            assert time.monotonic() - began < 2


async def test_silence_between_two_pieces_is_not_waited_out(monkeypatch: pytest.MonkeyPatch, names: Names) -> None:
    monkeypatch.setattr(guarded_http, "IDLE_SECONDS", 0.1)
    async with open_guarded_http(RULES, resolver=names) as http, talking(raw(HEAD + b"\r\nx", pause=60)) as url:
        began = time.monotonic()
        with pytest.raises(ProviderDown):
            await http.fetch(url, max_bytes=ENOUGH, seconds=10)
        assert time.monotonic() - began < 2


async def test_what_was_sent_beside_an_answer_is_not_the_answer_to_another(http: GuardedHttp) -> None:
    smuggled = HEAD + b"Content-Length: 4\r\n\r\nevil"
    async with talking(raw(HEAD + b"Content-Length: 4\r\n\r\ngood" + smuggled)) as url:
        for _ in range(3):
            assert (await http.fetch(url, max_bytes=ENOUGH)).body == b"good"


async def test_a_certificate_of_another_name_is_not_taken(names: Names) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("other.test").configure_cert(context)
    server = await asyncio.start_server(lambda _, writer: writer.close(), OUTSIDE, 0, ssl=context)
    names.answers["example.test"] = [[OUTSIDE]]
    async with open_guarded_http(RULES, resolver=names) as http:
        with pytest.raises(ProviderDown) as down:
            await http.fetch(f"https://example.test:{server.sockets[0].getsockname()[1]}/", max_bytes=ENOUGH)
    assert "Certificate" in down.value.message
    server.close()


async def test_an_error_of_the_reader_stays_its_own(http: GuardedHttp, peer: Peer) -> None:
    peer.routes["/"] = says("x")

    async def read() -> None:
        async with http.stream(peer.url()):
            raise TimeoutError("the reader's own")

    with pytest.raises(TimeoutError, match="own"):
        await read()


async def test_a_caller_who_leaves_leaves_nothing_open(http: GuardedHttp, peer: Peer) -> None:
    left = asyncio.Event()

    async def wait(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x")
                await asyncio.sleep(0.01)
        finally:
            left.set()

    peer.routes["/"] = wait
    fetching = asyncio.create_task(http.fetch(peer.url(), max_bytes=ENOUGH))
    await asyncio.sleep(0.1)
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    await asyncio.wait_for(left.wait(), 5)
