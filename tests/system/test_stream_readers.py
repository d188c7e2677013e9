"""Clients that read in their own way: too slowly for what is said, or with HTTP/1.0."""

import asyncio
import socket
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import orjson
import pytest

from tests.support.clients import chat, new_key, second_gateway
from tests.support.load import open_account, usage
from tests.support.sonant import Sonant
from tests.support.waiting import eventually

# With what surrounds each word on the wire this is some megabytes: more than the sockets between us hold.
WORDS = " ".join(f"word{number}" for number in range(12_000))
NAP_SECONDS = 1.0


def heard(body: bytes) -> tuple[str, list[int]]:
    """The text of a streamed answer and the ids of its events."""
    *events, last = [dict(line.split(b": ", 1) for line in event.split(b"\n")) for event in body.split(b"\n\n")[:-1]]
    assert last[b"data"] == b"[DONE]"
    deltas = [choice["delta"] for event in events for choice in orjson.loads(event[b"data"])["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas), [int(event[b"id"]) for event in [*events, last]]


@pytest.mark.parametrize("nap", [0.0, NAP_SECONDS])
async def test_a_client_that_reads_late_or_slowly_misses_nothing(sonant: Sonant, nap: float) -> None:
    body, headers = chat(f"Say: {WORDS}", stream=True), new_key(sonant).headers
    async with aiohttp.ClientSession(read_bufsize=1024, headers=headers) as session:
        async with session.post(f"{sonant.url}/v1/chat/completions", json=body) as response:
            received = b""
            for _ in range(3):
                await asyncio.sleep(nap)
                received += await response.content.read(1000)
            text, ids = heard(received + await response.read())
    assert text == WORDS
    assert ids == sorted(set(ids))


@pytest.mark.parametrize(
    ("settings", "outcome"),
    [({"SONANT_CHAT_DEADLINE": "3"}, "failed"), ({"SONANT_WRITE_SECONDS": "1"}, "interrupted")],
    ids=["deadline", "unread"],
)
async def test_a_client_that_stops_reading_is_cut_off_and_its_turn_ends(
    sonant: Sonant, tmp_path: Path, settings: dict[str, str], outcome: str
) -> None:
    account = open_account(sonant)
    body = orjson.dumps(chat(f"Say: {' '.join(['a'] * 18_000)}", stream=True))
    async with second_gateway(sonant, tmp_path, **settings) as url:
        with socket.socket() as stuck:
            stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stuck.connect(("127.0.0.1", urlsplit(url).port))
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {account.key}\r\n"
            stuck.sendall(
                f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
            )
            await eventually(lambda: usage(sonant, account)[outcome] == 1, timeout=30, interval=0.25)


async def test_http_1_0_is_streamed_until_the_connection_ends(sonant: Sonant) -> None:
    body = orjson.dumps(chat("Say: Just a few words.", stream=True))
    key = new_key(sonant).headers["Authorization"]
    head = f"POST /v1/chat/completions HTTP/1.0\r\nAuthorization: {key}\r\nContent-Type: application/json\r\n"
    address = urlsplit(sonant.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer_head, _, answer = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
        await writer.wait_closed()
    assert answer_head.startswith(b"HTTP/1.0 200")
    text, ids = heard(answer)
    assert text == "Just a few words."
    assert ids == sorted(set(ids))
