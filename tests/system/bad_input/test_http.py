"""What is no HTTP, or only half of it, is refused; nobody is held up and nothing is left of it."""

from contextlib import ExitStack

import psutil

from tests.support.bad_input import (
    BODIES,
    CHAT,
    GOOD,
    MIB,
    Stage,
    messages,
    parsed,
    read_all,
)
from tests.support.waiting import eventually

# What the gateway may keep in the end, after every bomb has gone off ten more times: room for its allocator to hold on
# to a few bodies of 4 MiB. If only one body a round were leaked, it would be 40 MiB.
KEPT_BYTES = 32 * MIB
MANY_HEADERS = tuple(b"x-%d: v" % number for number in range(1000))
BAD_HTTP = [
    (b"GET /v1/models HTTP/1.1", MANY_HEADERS),
    (b"GET /v1/models HTTP/1.1", (b"x-bomb: " + b"a" * 1_000_000,)),
    (b"GET /v1/models HTTP/1.1", (b"cookie: " + b"a=b; " * 10_000,)),
    (b"GET /" + b"a" * 100_000 + b" HTTP/1.1", ()),
    (b"GET /v1/usage?model=" + b"%41" * 10_000 + b" HTTP/1.1", ()),
    (b"GET /v1/models/\xff\xfe HTTP/1.1", ()),
    (b"GET /v1/models HTTP/1.1", (b"x-nul: a\x00b",)),
    (b"GET /v1/models HTTP/1.1", (b"no colon",)),
    (b"GET /v1/models HTTP/1.1", (b"bad name : v",)),
    (b"GET /v1/models HTTP/1.1", (b"folded: a", b" b")),
    (b"GET /v1/models HTTP/9.9", ()),
    (b"GET v1/models HTTP/1.1", ()),
    (b"G\x00T / HTTP/1.1", ()),
    (b"POST /v1/chat/completions HTTP/1.1", (b"content-length: -1",)),
    (b"POST /v1/chat/completions HTTP/1.1", (b"content-length: 1e3",)),
    (b"POST /v1/chat/completions HTTP/1.1", (b"content-length: " + b"9" * 30,)),
    (b"POST /v1/chat/completions HTTP/1.1", (b"content-length: 2", b"content-length: 3")),
    (b"POST /v1/chat/completions HTTP/1.1", (b"content-length: 2", b"transfer-encoding: chunked")),
    (b"POST /v1/chat/completions HTTP/1.1", (b"transfer-encoding: chunked, rot13",)),
]


async def test_what_is_no_http_gets_the_one_shape_too(stage: Stage) -> None:
    async with stage.nothing_changes():
        for line, fields in BAD_HTTP:
            stage.raw(stage.head(line, *fields)).error(400, "not valid HTTP", code="bad_http")
        for garbage in (
            b"hello\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ):
            stage.raw(garbage).error(400, "not valid HTTP", code="bad_http")


async def test_a_broken_chunk_is_refused(stage: Stage) -> None:
    head = stage.head(b"POST /v1/chat/completions HTTP/1.1", b"transfer-encoding: chunked")
    async with stage.nothing_changes():
        for chunk in (b"zz\r\n{}\r\n0\r\n\r\n", b"-2\r\n{}\r\n0\r\n\r\n", b"2\r\n{}x\r\n0\r\n\r\n"):
            stage.raw(head + chunk).error(400)


async def test_garbage_behind_a_good_request_spoils_only_itself(stage: Stage) -> None:
    head = b"GET /v1/models HTTP/1.1\r\nhost: x\r\nx-api-key: " + stage.chat.encode() + b"\r\n\r\n"
    async with stage.nothing_changes():
        with stage.connected() as connection:
            connection.sendall(head)
            assert parsed(connection.recv(65536)).status == 200
            connection.sendall(head + b"\x00GARBAGE\r\n\r\n" + head)
            # The parser answers for all it was given at once: whatever came first, nothing follows the refusal.
            last = b"HTTP/1." + read_all(connection).rpartition(b"HTTP/1.")[2]
            parsed(last).error(400, "not valid HTTP", code="bad_http")


async def test_an_unmet_expectation_is_refused(stage: Stage) -> None:
    async with stage.nothing_changes():
        stage.post(CHAT, GOOD, expect="bananas").error(417, "100-continue", code="expectation_failed")


async def test_half_requests_hold_nobody_up(stage: Stage) -> None:
    """Three hundred connections that never finish their request: others are served, and nothing is left of them."""
    gateway = psutil.Process(stage.sonant.pid("gateway"))
    halves = (
        b"POST /v1/chat/compl",
        stage.head(b"POST /v1/chat/completions HTTP/1.1", b"content-length: 99") + b'{"mess',
    )
    files = gateway.num_fds()
    async with stage.nothing_changes():
        with ExitStack() as stack:
            for number in range(300):
                connection = stack.enter_context(stage.connected())
                connection.sendall(halves[number % 2])
            await eventually(lambda: gateway.num_fds() >= files + 300)
            assert stage.post(CHAT, {}).status == 400
            assert stage.send("GET", "/v1/models").status == 200
        await eventually(lambda: gateway.num_fds() < files + 20)


async def test_bombs_leave_the_gateway_as_small_as_it_was(stage: Stage) -> None:
    gateway = psutil.Process(stage.sonant.pid("gateway"))
    bombs = [body for body in BODIES if len(body.content) > 10_000]

    def explode() -> None:
        for bomb in bombs:
            assert 400 <= stage.send("POST", CHAT, bomb.content, **bomb.headers).status < 500
        stage.post(CHAT, messages(100_000)).error(400, code="too_many_messages")
        for line, fields in BAD_HTTP:
            stage.raw(stage.head(line, *fields)).error(400)

    # The first round fills the allocator's pools, once and for good.
    explode()
    before = gateway.memory_info().rss
    async with stage.nothing_changes():
        for _ in range(10):
            explode()
    assert gateway.memory_info().rss - before < KEPT_BYTES
    assert stage.sonant.pid("gateway") == gateway.pid
