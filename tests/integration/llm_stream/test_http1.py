"""HTTP/1.1 of the hot path against real sockets: every framing of a body, keeping connections, and every bad end."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from llm_stream.adapters import http1
from llm_stream.adapters.http1 import Connection, Connections, Lost, Target, target_of
from llm_stream.adapters.inbox import LARGE_READS, READ_BYTES, SMALL_READ_BYTES
from llm_stream.adapters.openai_http import OpenAIHttp
from llm_stream.aliases import Upstream
from llm_stream.ports import Endpoint, Patience, UpstreamBroken
from tests.support.waiting import eventually

OK = b"HTTP/1.1 200 OK\r\n"
REQUEST = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n"
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Runs one script a request, on as many connections as come."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.connections = 0
        self.closed = 0
        self.target = target_of("http://127.0.0.1:1/")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(2)
                await self._script(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            self.closed += 1
            writer.close()


@asynccontextmanager
async def serving(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(script)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    port = listening.sockets[0].getsockname()[1]
    server.target = target_of(f"http{'s' if tls else ''}://localhost:{port}/v1?a=b")
    async with listening:
        yield server


def says(*packets: bytes, close: bool = False) -> Script:
    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for packet in packets:
            writer.write(packet)
            await writer.drain()
            await asyncio.sleep(0)
        if close:
            writer.close()

    return script


@pytest.fixture
async def pool() -> AsyncIterator[Connections]:
    connections = Connections()
    yield connections
    connections.close()


async def ask(pool: Connections, target: Target, timeout: float = 5.0) -> tuple[int, dict[str, str], bytes]:
    """One whole exchange."""
    parts: list[bytes] = []
    connection = await pool.take(target, timeout)
    try:
        connection.send(REQUEST, b"{}")
        async with asyncio.timeout(timeout):
            await connection.head()
            status, headers = connection.status, dict(connection.headers)
            await connection.body(parts.append)
    finally:
        connection.leave()
    return status, headers, b"".join(parts)


CHUNKED = OK + b"Transfer-Encoding: chunked\r\nX-A: b\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
COUNTED = OK + b"content-length: 11\r\nx-a: b\r\n\r\nhello world"
UNTIL_CLOSE = OK + b"x-a: b\r\n\r\nhello world"
EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + COUNTED


@pytest.mark.parametrize("answer", [CHUNKED, COUNTED, EARLY_HINTS], ids=["chunked", "counted", "after hints"])
@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_a_body_is_the_same_however_it_is_framed_and_cut(pool: Connections, answer: bytes, size: int) -> None:
    packets = [answer[at : at + size] for at in range(0, len(answer), size)]
    async with serving(says(*packets)) as server:
        for _ in range(3):
            status, headers, body = await ask(pool, server.target)
            assert (status, headers["x-a"], body) == (200, "b", b"hello world")
        assert server.connections == 1


async def test_a_body_may_end_with_its_connection(pool: Connections) -> None:
    async with serving(says(UNTIL_CLOSE, close=True)) as server:
        for _ in range(2):
            assert (await ask(pool, server.target))[2] == b"hello world"
        assert server.connections == 2


async def test_an_empty_body_is_one(pool: Connections) -> None:
    async with serving(says(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")) as server:
        assert (await ask(pool, server.target))[::2] == (503, b"")


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"content-length: 12\r\n\r\nhello",
        OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\nzz\r\nhello\r\n",
        OK[:9],
        b"",
        b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nhello",
        OK + b"x: " + b"y" * 100_000,
    ],
    ids=["short", "no last chunk", "bad chunk", "half a head", "nothing", "not http", "upgrade", "header bomb"],
)
async def test_what_is_no_whole_answer_is_lost(pool: Connections, answer: bytes) -> None:
    async with serving(says(answer, close=True)) as server:
        with pytest.raises(Lost):
            await ask(pool, server.target)
        await eventually(lambda: server.closed == 1)


CHUNKS = OK + b"transfer-encoding: chunked\r\n\r\n"
ENDLESS = {
    "trailers": (CHUNKS + b"5\r\nhello\r\n0\r\n", b"x-%d: " + b"y" * 200 + b"\r\n"),
    "one trailer": (CHUNKS + b"5\r\nhello\r\n0\r\nx: ", b"y" * 1000),
    "chunk extension": (CHUNKS + b"5;x=", b"y" * 1000),
    "chunk size": (CHUNKS, b"0" * 1000),
    "hints": (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"),
    "headers": (OK, b"x-%d: y\r\n"),
    "one header": (OK + b"x: ", b"y" * 1000),
}


@pytest.mark.parametrize(("beginning", "more"), ENDLESS.values(), ids=ENDLESS.keys())
async def test_what_never_ends_beside_the_body_is_cut(pool: Connections, beginning: bytes, more: bytes) -> None:
    sent = 0

    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(beginning)
        while True:
            piece = b"".join(more % (sent + n) if b"%d" in more else more for n in range(50))
            writer.write(piece)
            sent += len(piece)
            await writer.drain()

    async with serving(script) as server:
        with pytest.raises(Lost):
            await ask(pool, server.target)
        await eventually(lambda: server.closed == 1)
    # What the sockets between us hold is among it.
    assert sent < 32 * 1024 * 1024


async def test_more_headers_than_anybody_sends_are_cut(pool: Connections) -> None:
    headers = b"".join(b"x-%d: y\r\n" % number for number in range(1000))
    async with serving(says(OK + headers + b"content-length: 0\r\n\r\n")) as server:
        with pytest.raises(Lost):
            await ask(pool, server.target)


async def test_many_small_signed_chunks_are_an_answer(pool: Connections) -> None:
    chunk = b"2;signature=" + b"s" * 20 + b"\r\nab\r\n"
    async with serving(says(CHUNKS, *[chunk * 100] * 100, b"0\r\nx-checksum: 1\r\n\r\n")) as server:
        assert len((await ask(pool, server.target))[2]) == 20_000


async def test_a_body_that_nobody_takes_is_not_read_either(pool: Connections) -> None:
    sent, size = 0, 64 * 1024 * 1024

    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(OK + b"content-length: %d\r\n\r\n" % size)
        while sent < size:
            writer.write(bytes(65536))
            sent += 65536
            await writer.drain()

    async with serving(script) as server:
        connection = await pool.take(server.target, 5)
        connection.send(REQUEST, b"{}")
        await connection.head()
        await eventually(lambda: connection._paused)
        assert connection._body_bytes < 4 * http1.MAX_WAITING_BYTES
        received = 0

        def take(data: bytes) -> None:
            nonlocal received
            received += len(data)

        await connection.body(take)
        connection.leave()
        assert received == size


async def test_one_read_brings_so_much_and_no_more(pool: Connections) -> None:
    size, sent = 1024 * 1024, asyncio.Event()

    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"content-length: %d\r\n\r\n" % size)
        await sent.wait()
        writer.write(bytes(size))

    async with serving(script) as server:
        connection = await pool.take(server.target, 5)
        connection.send(REQUEST, b"{}")
        await connection.head()
        pieces: list[int] = []

        def take(data: bytes) -> None:
            pieces.append(len(data))
            connection.pause()
            asyncio.get_running_loop().call_later(0.001, connection.resume)

        sent.set()
        await connection.body(take)
        connection.leave()
    assert sum(pieces) == size
    assert max(pieces) <= READ_BYTES


async def test_many_that_say_much_at_once_take_turns(pool: Connections) -> None:
    size, count = 512 * 1024, 50
    begin = asyncio.Event()

    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"content-length: %d\r\n\r\n" % size)
        await begin.wait()
        writer.write(bytes(size))

    async with serving(script) as server:
        connections = [await pool.take(server.target, 5, fresh=True) for _ in range(count)]
        for connection in connections:
            connection.send(REQUEST, b"{}")
            await connection.head()
        received, rounds = [0] * count, [0]

        def sink(at: int) -> Callable[[bytes], None]:
            def take(data: bytes) -> None:
                received[at] += len(data)
                rounds[-1] += len(data)

            return take

        async def count_rounds() -> None:
            while True:
                await asyncio.sleep(0)
                rounds.append(0)

        counting = asyncio.create_task(count_rounds())
        begin.set()
        await asyncio.gather(*(each.body(sink(at)) for at, each in enumerate(connections)))
        counting.cancel()
        for connection in connections:
            connection.leave()
    assert received == [size] * count
    # What one round of this loop counts may fall into two of theirs.
    assert max(rounds) <= 2 * (LARGE_READS * READ_BYTES + count * SMALL_READ_BYTES)


async def test_a_connection_is_not_kept_when_the_server_says_so(pool: Connections) -> None:
    async with serving(says(COUNTED.replace(b"x-a: b", b"connection: close\r\nx-a: b"))) as server:
        await ask(pool, server.target)
        await ask(pool, server.target)
        assert server.connections == 2


async def test_a_kept_connection_that_says_goodbye_is_not_used(pool: Connections) -> None:
    goodbye = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await says(COUNTED)(reader, writer)
        await goodbye.wait()
        await says(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n", close=True)(reader, writer)

    async with serving(script) as server:
        await ask(pool, server.target)
        goodbye.set()
        await eventually(lambda: not pool._all)
        assert (await ask(pool, server.target))[0] == 200


async def test_an_exchange_finished_early_keeps_the_connection_if_the_end_comes_soon(pool: Connections) -> None:
    rest = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await says(CHUNKED[:-5])(reader, writer)
        await rest.wait()
        await says(CHUNKED[-5:])(reader, writer)

    async with serving(script) as server:
        await take_first(await pool.take(server.target, 5))
        rest.set()
        await eventually(lambda: pool._idle.get(server.target.origin))
        await ask(pool, server.target)
        assert server.connections == 1


async def test_an_exchange_finished_early_is_closed_if_no_end_comes(
    pool: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http1, "DRAIN_SECONDS", 0.05)
    async with serving(says(CHUNKED[:-5])) as server:
        await take_first(await pool.take(server.target, 5))
        await eventually(lambda: server.closed == 1)


async def take_first(connection: Connection) -> None:
    """Begin an exchange and want no more than the first piece of its body."""
    connection.send(REQUEST, b"{}")
    await connection.head()
    await connection.body(lambda _: connection.finish())
    connection.leave()


async def test_what_the_sink_raises_ends_the_exchange_and_the_connection(pool: Connections) -> None:
    def refuse(_: bytes) -> None:
        raise ValueError("no")

    async with serving(says(COUNTED[:-3])) as server:
        connection = await pool.take(server.target, 5)
        connection.send(REQUEST, b"{}")
        with pytest.raises(ValueError, match="no"):
            await connection.body(refuse)
        await eventually(lambda: server.closed == 1)


async def test_one_who_leaves_closes_the_connection(pool: Connections) -> None:
    async with serving(says(CHUNKED[:-8])) as server:
        asking = asyncio.create_task(ask(pool, server.target))
        await eventually(lambda: server.connections == 1)
        await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.wait([asking])
        await eventually(lambda: server.closed == 1)


async def test_idle_connections_run_out_of_time(pool: Connections, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "KEEPALIVE_SECONDS", 0.05)
    async with serving(says(COUNTED)) as server:
        await asyncio.gather(*(ask(pool, server.target) for _ in range(5)))
        await eventually(lambda: server.closed == server.connections == 5)


async def test_nobody_there_is_lost(pool: Connections) -> None:
    with pytest.raises(Lost, match="ConnectionRefusedError"):
        await pool.take(target_of("http://127.0.0.1:9/"), 1)
    with pytest.raises(Lost, match="gaierror"):
        await pool.take(target_of("http://no-such-host.invalid/"), 5)


async def test_a_handshake_that_hangs_is_lost_in_time(pool: Connections) -> None:
    async with serving(says()) as server:
        with pytest.raises(Lost, match="TimeoutError"):
            await pool.take(server.target._replace(tls=True), 0.1)


@pytest.mark.parametrize("framed", [CHUNKED, COUNTED])
async def test_an_answer_larger_than_allowed_is_broken(pool: Connections, framed: bytes) -> None:
    async with serving(says(framed)) as server:
        port = server.target.port
        upstream = Upstream(name="a", base_url=f"http://127.0.0.1:{port}", model="m")
        chat_model = OpenAIHttp(pool, {Endpoint.CHAT: 10})
        with pytest.raises(UpstreamBroken, match="larger"):
            async with chat_model.ask(upstream, {}, Patience(connect=5, first_byte=5, idle=5)) as answer:
                await answer.whole(lambda size: None)


# -- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[trustme.CA]:
    """An authority that this process trusts for the length of a test."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    http1._tls_context.cache_clear()
    yield authority
    http1._tls_context.cache_clear()


def certified(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


async def test_tls_is_spoken_with_a_server_of_the_right_name(pool: Connections, authority: trustme.CA) -> None:
    async with serving(says(CHUNKED), certified(authority, "localhost")) as server:
        for _ in range(2):
            assert (await ask(pool, server.target))[2] == b"hello world"
        assert server.connections == 1


async def test_tls_is_refused_with_a_stranger(pool: Connections, authority: trustme.CA) -> None:
    for context in (certified(authority, "elsewhere"), certified(trustme.CA(), "localhost")):
        async with serving(says(CHUNKED), context) as server:
            with pytest.raises(Lost, match="CertVerif"):
                await ask(pool, server.target)


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("http://h", ("h", 80, False, "/", "h")),
        ("https://h/v1/chat?x=1", ("h", 443, True, "/v1/chat?x=1", "h")),
        ("http://u:p@h:81/a", ("h", 81, False, "/a", "h:81")),
        ("http://[::1]:81/a", ("::1", 81, False, "/a", "[::1]:81")),
    ],
)
def test_a_url_is_taken_apart(url: str, parts: Sequence[Any]) -> None:
    assert tuple(target_of(url)) == parts


@pytest.mark.parametrize("url", ["ftp://h/", "http:///x", "http://h:x/", "http://h/a b", "http://h/ü"])
def test_what_leads_nowhere_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        target_of(url)
