"""What surrounds every handler: ids, one error shape, bounded JSON bodies; over loopback where HTTP matters."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from common.bus.port import BusUnavailableError, RecordTooLargeError
from common.failures import Refused
from gateway.http import body as bodies
from gateway.http import boundary, errors, json_bounds
from gateway.http.body import read_body, read_json
from gateway.http.context import REQUEST_ID
from gateway.http.server import Runner, expect
from gateway.http.validation import validate

MAX_BYTES = 1_000_000


async def echo(request: web.Request) -> web.Response:
    return web.json_response({"id": request[REQUEST_ID], "body": await read_json(request, max_bytes=MAX_BYTES)})


async def fail(request: web.Request) -> web.Response:
    raise {
        "api": errors.rate_limited("Slow down.", retry=1.5),
        "bus": BusUnavailableError("away"),
        "record": RecordTooLargeError("a record for chat-requests has 9000000 bytes"),
        "bug": ZeroDivisionError("sk-sonant-secret"),
        "http": web.HTTPUnsupportedMediaType(),
        "redirect": web.HTTPFound("/elsewhere"),
    }[request.match_info["how"]]


async def stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"first")
    if "break" in request.query:
        raise errors.internal()
    await response.write(b" second")
    await response.write_eof()
    return response


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[aiohttp.ClientSession, int]]:
    app = web.Application()
    boundary.install(app)
    app.router.add_post("/echo", echo, expect_handler=expect)
    app.router.add_get("/fail/{how}", fail)
    app.router.add_get("/stream", stream)
    runner = Runner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            yield session, port
    finally:
        await runner.cleanup()


async def error_of(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    assert answer.content_type == "application/json"
    assert answer.headers["x-request-id"]
    body = await answer.json()
    assert list(body) == ["error"]
    assert set(body["error"]) == {"message", "type", "param", "code"}
    error: dict[str, Any] = body["error"]
    return error


async def test_a_sane_request_id_is_kept_and_any_other_replaced() -> None:
    async with serving() as (session, _):
        kept = await session.post("/echo", json={}, headers={"x-request-id": "abc-123.X:y_z"})
        assert kept.headers["x-request-id"] == (await kept.json())["id"] == "abc-123.X:y_z"
        for odd in ("a b", "x" * 129, "é", ""):
            replaced = await session.post("/echo", json={}, headers={"x-request-id": odd})
            assert replaced.headers["x-request-id"].startswith("req_")
            assert "server" not in replaced.headers


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/fail/api", 429, "rate_limit_exceeded"),
        ("GET", "/fail/bus", 503, "unavailable"),
        ("GET", "/fail/record", 413, "request_too_large"),
        ("GET", "/fail/bug", 500, "internal_error"),
        ("GET", "/fail/http", 415, None),
        ("GET", "/nowhere", 404, "unknown_url"),
        ("PUT", "/echo", 405, "method_not_allowed"),
        ("OPTIONS", "/echo", 405, "method_not_allowed"),
    ],
)
async def test_every_failure_has_the_one_shape(method: str, path: str, status: int, code: str | None) -> None:
    async with serving() as (session, _), session.request(method, path) as answer:
        assert answer.status == status
        error = await error_of(answer)
        assert error["code"] == code
        assert "secret" not in error["message"]
        if status in (429, 503):
            assert int(answer.headers["retry-after"]) >= 1
        if status == 405:
            assert answer.headers["allow"] == "POST"
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nhost: x\r\nbomb: " + b"a" * 100_000 + b"\r\n\r\n",
        b"NOT HTTP AT ALL\r\n\r\n",
    ],
)
async def test_malformed_http_gets_the_one_shape_too(head: bytes) -> None:
    async with serving() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head)
        answer = await reader.read()
        writer.close()
        assert answer.split(b" ")[1] == b"400"
        assert b"x-request-id: req_" in answer.lower()
        assert b"aiohttp" not in answer
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "bad_http"


async def test_a_redirection_is_no_error() -> None:
    async with serving() as (session, _), session.get("/fail/redirect", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["location"]) == (302, "/elsewhere")


async def test_a_stream_passes_untouched_and_a_broken_one_never_ends_cleanly() -> None:
    async with serving() as (session, _):
        async with session.get("/stream") as answer:
            assert await answer.read() == b"first second"
            assert answer.headers["x-request-id"]
        with pytest.raises(aiohttp.ClientPayloadError):
            async with session.get("/stream", params={"break": "1"}) as answer:
                await answer.read()


@pytest.mark.parametrize(
    ("body", "headers", "status", "told"),
    [
        (b"", {}, 400, "empty"),
        (b"not json", {}, 400, "not valid JSON (line 1, column 1)"),
        (b'{"a": "\xff"}', {}, 400, "not valid UTF-8"),
        (b"[1]", {}, 400, "must be a JSON object"),
        (b"[" * 10_000 + b"]" * 10_000, {}, 400, "nested more than 64"),
        (b"[" * 10_000, {}, 400, "not valid JSON"),
        (b'{"a":' + b"[" * 64 + b"]" * 64 + b"}", {}, 400, "nested more than 64"),
        (b'{"a":[' + b",".join([b"[]"] * 260_000) + b"]}", {}, 400, "more than 250000 lists and objects"),
        (b" " * 1_000_000 + b"{}", {}, 413, "larger than 1000000 bytes"),
        (gzip.compress(b" " * 20_000_000), {"content-encoding": "gzip"}, 413, "larger than 1000000 bytes"),
        (b"no gzip", {"content-encoding": "gzip"}, 400, "could not be read"),
        (gzip.compress(b'{"a": 1}', mtime=0)[:-11], {"content-encoding": "gzip"}, 400, "not valid JSON"),
        (b"{}", {"content-encoding": "rot13"}, 415, "use gzip"),
    ],
)
async def test_a_bad_body_is_refused_with_its_reason(
    body: bytes, headers: dict[str, str], status: int, told: str
) -> None:
    async with serving() as (session, _), session.post("/echo", data=body, headers=headers) as answer:
        assert answer.status == status
        assert told in (await error_of(answer))["message"]


async def test_a_body_without_length_is_refused_while_it_arrives() -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b" " * 1_000_000

    async with serving() as (session, _), session.post("/echo", data=endless()) as answer:
        assert answer.status == 413


async def test_good_bodies_arrive_packed_or_not() -> None:
    deepest: Any = json.loads("[" * 63 + "]" * 63)
    document = {"a": [{"b": '[{"\\' * 100}] * 100, "ü": 1.5, "deep": deepest, "long": "[" * 300_000}
    raw = json.dumps(document).encode()
    async with serving() as (session, _):
        plain = await session.post("/echo", data=raw, expect100=True)
        packed = await session.post("/echo", data=gzip.compress(raw), headers={"content-encoding": "gzip"})
        assert (await plain.json())["body"] == (await packed.json())["body"] == document
        odd = await session.post("/echo", data=raw, headers={"expect": "the-unexpected"})
        assert odd.status == 417
        await error_of(odd)


def depth_of(value: Any) -> int:
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(depth_of, value.values() if isinstance(value, dict) else value), default=0)


@given(
    st.recursive(
        st.text() | st.integers() | st.none(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=40,
    ),
    st.integers(1, 6),
)
def test_depth_is_that_of_the_document_whatever_its_strings_hold(value: Any, bound: int) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
        assert json_bounds._nests_deeper(text.encode(errors="surrogatepass"), bound) == (depth_of(value) > bound)


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    count: int = Field(default=1, ge=1)


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    inner: Inner = Inner()


@pytest.mark.parametrize(
    ("data", "param", "code"),
    [
        ({}, "name", "missing_required_parameter"),
        ({"name": "x", "more": 1}, "more", "unknown_parameter"),
        ({"name": "x", "inner": {"count": 0}}, "inner.count", "invalid_value"),
        ({"name": 5}, "name", "invalid_value"),
    ],
)
def test_a_refused_parameter_is_named(data: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises(Refused) as refused:
        validate(Outer, data)
    assert (refused.value.status, refused.value.param, refused.value.code) == (400, param, code)
    assert param in refused.value.message


async def test_a_body_that_trickles_in_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.05)

    async def read(request: web.Request) -> web.Response:
        return web.Response(body=await read_body(request, 1000))

    app = web.Application()
    boundary.install(app)
    app.router.add_post("/", read)
    async with TestServer(app) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nab")
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        writer.close()
        await writer.wait_closed()
    assert b" 408 " in answer.splitlines()[0]
    assert b"close" in answer.lower()
