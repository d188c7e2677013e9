"""Bodies that are none: empty, cut, no JSON, too large, too deep, and bombs; each is refused with its reason."""

from itertools import product

import pytest

from tests.support.bad_input import (
    BODIES,
    CHAT,
    MIB,
    NAMES,
    TOGETHER,
    WRITES,
    Stage,
    key_id,
    parsed,
)


@pytest.mark.parametrize("writes", TOGETHER, ids=NAMES)
async def test_a_body_that_is_none_is_refused_with_its_reason(stage: Stage, writes: list[tuple[str, str]]) -> None:
    async with stage.nothing_changes():
        for (method, path), body in product(writes, BODIES):
            answer = stage.send(method, path, body.content, **body.headers)
            if max(body.size, len(body.content) * (not body.headers)) > WRITES[method, path]:
                answer.error(413, "larger than", code="request_too_large")
            else:
                answer.error(body.status, body.told)


@pytest.mark.parametrize("writes", TOGETHER, ids=NAMES)
async def test_a_body_without_a_length_is_refused_where_it_grows_too_large(
    stage: Stage, writes: list[tuple[str, str]]
) -> None:
    chunk = b"%x\r\n" % MIB + b" " * MIB + b"\r\n"
    async with stage.nothing_changes():
        for method, path in writes:
            line = f"{method} {path.replace('OWN', key_id(stage.chat))} HTTP/1.1".encode()
            with stage.connected() as connection:
                connection.sendall(stage.head(line, b"transfer-encoding: chunked"))
                # More than any route takes, and never an end.
                connection.sendall(chunk * 5)
                parsed(connection.recv(65536)).error(413, "larger than", code="request_too_large")


async def test_a_body_whose_numbers_are_written_longer_than_they_came_is_refused(stage: Stage) -> None:
    numbers = b",".join([b"1e15"] * 800_000)
    body = b'{"messages": [{"role": "user", "content": "hi"}], "metadata": [' + numbers + b"]}"
    assert len(body) < WRITES["POST", CHAT]
    async with stage.nothing_changes():
        stage.send("POST", CHAT, body).error(413, "written out as JSON, is larger than", code="request_too_large")
