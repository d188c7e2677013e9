"""The gateway's sockets: silent, half-open and unread connections lock nobody out, and end at their deadlines."""

import asyncio
import contextlib
import json
import secrets
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager

import aiohttp
import httpx
import psutil
import pytest
from aiohttp import web

from gateway.http import boundary
from gateway.http.connections import ConnectionBounds, keep_unsent_small, max_open
from gateway.http.server import Runner
from tests.support.engines import new_database
from tests.support.gateway import Gateway, gateway_process
from tests.support.waiting import eventually

HEAD_SECONDS = 3.0
DESCRIPTORS = 1024
SILENT = 1000
HALF = b"GET /healthz HTTP/1.1\r\nhost: gateway\r\nx-half"


@pytest.fixture(scope="module")
async def gateway(valkey_url: str, postgres_url: str) -> AsyncIterator[Gateway]:
    async with (
        new_database(postgres_url, "sockets") as database,
        gateway_process(
            valkey_url, database, descriptors=DESCRIPTORS, env={"SONANT_HEAD_SECONDS": str(HEAD_SECONDS)}
        ) as running,
    ):
        yield running


@contextmanager
def connections(port: int, count: int, first: bytes) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        opened = []
        for _ in range(count):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            if first:
                with contextlib.suppress(ConnectionError):
                    connection.sendall(first)
            opened.append(connection)
        yield opened


def rest(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while chunk := connection.recv(65536):
            received += chunk
    return received


def closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return not connection.recv(65536, socket.MSG_PEEK) or _drained(connection)
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def _drained(connection: socket.socket) -> bool:
    with contextlib.suppress(BlockingIOError, ConnectionError):
        while connection.recv(65536):
            pass
        return True
    return False


@pytest.mark.parametrize("first", [b"", HALF], ids=["silent", "half-open"])
async def test_a_thousand_connections_that_ask_nothing_lock_nobody_out(gateway: Gateway, first: bytes) -> None:
    started = time.monotonic()
    with connections(gateway.port, SILENT, first) as opened:
        async with httpx.AsyncClient(base_url=gateway.url, timeout=5.0) as client:
            for _ in range(20):
                async with httpx.AsyncClient(base_url=gateway.url, timeout=5.0) as fresh:
                    assert (await fresh.get("/healthz")).status_code == 200
                assert (await client.get("/healthz")).status_code == 200

        def all_closed() -> bool:
            return all(closed(connection) for connection in opened)

        await eventually(all_closed, timeout=HEAD_SECONDS + 5)
    assert time.monotonic() - started < HEAD_SECONDS + 8
    process = psutil.Process(gateway.pid)
    await eventually(lambda: process.num_fds() < 100, timeout=5)


async def test_a_kept_connection_with_half_a_head_is_told_why_it_ends(gateway: Gateway) -> None:
    with connections(gateway.port, 1, b"GET /healthz HTTP/1.1\r\nhost: gateway\r\n\r\n") as [connection]:
        assert (await asyncio.to_thread(connection.recv, 65536)).startswith(b"HTTP/1.1 200 ")
        connection.sendall(HALF)
        answer = await asyncio.to_thread(rest, connection)
    head, _, body = answer.rpartition(b"\r\n\r\n")
    assert b"HTTP/1.1 408 " in head
    assert json.loads(body)["error"]["code"] == "request_timeout"


# -- in this process: what a server holds can be looked at ---------------------------------------------------------

BODY_BYTES = 2 * 1024 * 1024


async def large(_: web.Request) -> web.Response:
    return web.Response(body=secrets.token_bytes(BODY_BYTES))


async def kept(request: web.Request) -> web.Response:
    keep_unsent_small(request.transport)
    return await large(request)


async def slow(_: web.Request) -> web.Response:
    await asyncio.sleep(60)
    return web.Response()


async def small(_: web.Request) -> web.Response:
    return web.Response(text="ok")


@asynccontextmanager
async def serving(**bounds: float) -> AsyncIterator[tuple[Runner, int]]:
    app = web.Application()
    boundary.install(app)
    app.add_routes([web.get("/large", large), web.get("/kept", kept), web.get("/slow", slow), web.get("/small", small)])
    made = ConnectionBounds(**bounds)  # type: ignore[arg-type]
    runner = Runner(app, bounds=made, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    try:
        yield runner, runner.addresses[0][1]
    finally:
        await runner.cleanup()


def not_reading(port: int, path: str = "/large") -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", port))
    connection.sendall(b"GET %b HTTP/1.1\r\nhost: gateway\r\n\r\n" % path.encode())
    return connection


async def test_readers_that_do_not_read_are_cut_and_their_memory_comes_back() -> None:
    process = psutil.Process()
    # What fits into the kernel's buffers has left this process: such a connection is only silent.
    async with serving(write_seconds=2.0, idle_seconds=4.0) as (runner, port):
        before = process.memory_info().rss
        with ExitStack() as stack:
            for _ in range(200):
                stack.enter_context(not_reading(port))
                await asyncio.sleep(0)
            await eventually(lambda: process.memory_info().rss - before > 50 * 1024 * 1024, timeout=20)
            await eventually(lambda: len(runner.opened) == 0, timeout=20)
            await eventually(lambda: process.memory_info().rss - before < 50 * 1024 * 1024, timeout=5)


async def test_what_waits_for_all_readers_together_is_bounded() -> None:
    async with serving(max_unsent=20 * BODY_BYTES) as (runner, port):
        with ExitStack() as stack:
            for _ in range(60):
                stack.enter_context(not_reading(port, "/kept"))
                await asyncio.sleep(0)
            await eventually(lambda: 0 < unsent(runner) <= 20 * BODY_BYTES, timeout=10)
            async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/large") as answer:
                assert len(await answer.read()) == BODY_BYTES
            # Those who have read nothing for longest are gone, the others are still served.
            assert 10 <= len(runner.opened) <= 25


def unsent(runner: Runner) -> int:
    """Bytes that wait to be read, of 60 answers that were begun."""
    if runner.opened.begun < 60:
        return 0
    return sum(each.transport.get_write_buffer_size() for each in runner.opened)


async def test_a_slow_reader_that_reads_gets_everything() -> None:
    async with serving(write_seconds=2.0) as (_, port), aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/large") as answer:
            received = 0
            started = time.monotonic()
            while chunk := await answer.content.read(64 * 1024):
                received += len(chunk)
                await asyncio.sleep(0.12)
    assert received == BODY_BYTES
    assert time.monotonic() - started > 3.0


async def test_a_kept_connection_ends_after_its_silence_and_works_until_then() -> None:
    async with serving(head_seconds=1.0, idle_seconds=2.5) as (runner, port):
        with connections(port, 1, b"GET /small HTTP/1.1\r\nhost: gateway\r\n\r\n") as [connection]:
            await asyncio.sleep(1.7)
            connection.sendall(b"GET /small HTTP/1.1\r\nhost: gateway\r\n\r\n")
            await asyncio.sleep(1.5)
            assert len(runner.opened) == 1
            await eventually(lambda: len(runner.opened) == 0, timeout=5)


async def test_at_the_bound_one_that_waits_gives_way_and_one_that_works_does_not() -> None:
    async with serving(max_open=3) as (runner, port), aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        working = [asyncio.create_task(session.get("/slow")) for _ in range(2)]
        await eventually(lambda: len(runner.opened) == 2)
        with connections(port, 1, b"") as [silent]:
            await eventually(lambda: len(runner.opened) == 3)
            answer = await session.get("/small")
            assert answer.status == 200
            await answer.read()
            assert await asyncio.to_thread(rest, silent) == b""
        working.append(asyncio.create_task(session.get("/slow")))
        await asyncio.sleep(0.2)
        with connections(port, 1, b"") as [surplus]:
            refused = await asyncio.to_thread(rest, surplus)
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1\r\n" in refused
        assert json.loads(refused.partition(b"\r\n\r\n")[2])["error"]["code"] == "too_many_connections"
        assert not any(task.done() for task in working)
        for task in working:
            task.cancel()


async def test_one_address_may_hold_so_many() -> None:
    async with serving(max_per_address=2) as (runner, port):
        with connections(port, 2, b""):
            await eventually(lambda: len(runner.opened) == 2)
            with connections(port, 1, b"") as [surplus]:
                refused = await asyncio.to_thread(rest, surplus)
            assert refused.startswith(b"HTTP/1.1 429 ")
        await eventually(lambda: len(runner.opened) == 0)
        with connections(port, 1, b"GET /small HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n") as [free]:
            assert (await asyncio.to_thread(rest, free)).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("setting", "descriptors", "most"), [(0, 1024, 512), (0, 1 << 20, 10_000), (50, 1024, 50), (900, 1024, 512)]
)
def test_the_bound_leaves_half_of_the_descriptors(setting: int, descriptors: int, most: int) -> None:
    assert max_open(setting, descriptors) == most


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        (b"GET /small HTTP/1.1\r\nhost: g\r\nexpect: 100-continue\x80\r\n\r\n", 417, "expectation_failed"),
        (b"GET /nowhere HTTP/1.1\r\nhost: g\r\nexpect: 100-continue\x80\r\n\r\n", 417, "expectation_failed"),
        (b"GET /nowhere HTTP/1.1\r\nhost: g\r\nexpect: \xff\xfe\r\n\r\n", 417, "expectation_failed"),
        (b"PUT /small HTTP/1.1\r\nhost: g\r\nexpect: tea\r\n\r\n", 417, "expectation_failed"),
        (b"GET /\xff\xfe HTTP/1.1\r\nhost: g\r\n\r\n", 400, "bad_http"),
        (b"GET /%ff%fe HTTP/1.1\r\nhost: g\r\n\r\n", 404, "unknown_url"),
        (b"PUT /small HTTP/1.1\r\nhost: g\r\n\r\n", 405, "method_not_allowed"),
        (b"GET http://[::1 HTTP/1.1\r\nhost: g\r\n\r\n", 400, "bad_http"),
        (b"GET //[ HTTP/1.1\r\nhost: g\r\n\r\n", 404, "unknown_url"),
        (b"CONNECT g:80 HTTP/1.1\r\nhost: g\r\n\r\n", 404, "unknown_url"),
        (b"CONNECT g:port HTTP/1.1\r\nhost: g\r\n\r\n", 400, "bad_http"),
        (b"OPTIONS * HTTP/1.1\r\nhost: g\r\n\r\n", 404, "unknown_url"),
        (b"GET /small HTTP/1.1\r\nhost: g\r\nx-request-id: \x80\xff\r\ntraceparent: \x80\r\n\r\n", 200, None),
        (b"GET /small?%ff=1 HTTP/1.1\r\nhost: \xff\r\ncookie: \xff=\xfe\r\n\r\n", 200, None),
        (b"GET /small HTTP/1.1\r\nhost: g\r\nupgrade: h2c\r\nconnection: upgrade, close\r\n\r\n", 200, None),
    ],
)
async def test_what_the_framework_refuses_has_the_one_shape(head: bytes, status: int, code: str | None) -> None:
    async with serving() as (_, port):
        with connections(port, 1, head.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")) as [connection]:
            answer = await asyncio.to_thread(rest, connection)
    fields, _, body = answer.partition(b"\r\n\r\n")
    assert fields.split()[1] == b"%d" % status, answer
    assert b"x-request-id: " in fields.lower()
    if code is not None:
        assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
        assert json.loads(body)["error"]["code"] == code
