"""Clients that read in their own way: too slowly for what is said, or with HTTP/1.0."""

import asyncio
import socket
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import orjson
import pytest

from tests.support.clients import chat, client, new_key, second_gateway
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


async def test_a_client_that_stops_reading_is_cut_off_at_the_deadline_and_charged(
    sonant: Sonant, tmp_path: Path
) -> None:
    """Short words cost more than is reserved and than the bucket holds: once they are paid the key is in debt."""
    key = new_key(sonant, limits={"tokens_per_minute": 10_000})
    body = orjson.dumps(chat(f"Say: {' '.join(['a'] * 18_000)}", stream=True))
    async with second_gateway(sonant, tmp_path, SONANT_CHAT_DEADLINE="3") as url:
        with socket.socket() as stuck:
            stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stuck.connect(("127.0.0.1", urlsplit(url).port))
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key.text}\r\n"
            stuck.sendall(
                f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
            )
            async with client(sonant.url, key.headers) as http:

                async def in_debt() -> bool:
                    answer = await http.post("/v1/chat/completions", json=chat("hi", max_tokens=1))
                    return answer.status_code == 429

                # Asking costs tokens as well: too seldom to use up what is left.
                await eventually(in_debt, interval=0.25)


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
