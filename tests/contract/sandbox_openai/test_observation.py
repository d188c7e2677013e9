"""What the stand-in was asked can be read afterwards; its command starts and ends in good order."""

import asyncio
import os
import signal
import sys
from typing import Any

import aiohttp
from openai import AsyncOpenAI

from sandbox.app import serve
from tests.support.openai_sandbox import (
    HELLO,
    call_ended,
    chunks_of,
    read_until,
    records_of,
    text_of,
)


class TestObservation:
    async def test_requests_are_recorded_without_the_key(
        self, client: AsyncOpenAI, http: aiohttp.ClientSession
    ) -> None:
        answer = await client.chat.completions.create(model="sandbox-seen", messages=HELLO, user="u1")
        (record,) = await records_of(http, "sandbox-seen")
        assert record["id"] == answer._request_id
        assert record["body"]["user"] == "u1"
        assert record["end"] == "completed"
        assert record["at"] <= record["ended_at"]
        assert "authorization" not in record["headers"]
        assert "user-agent" in record["headers"]

    async def test_requests_are_shown_only_to_whoever_has_the_key_of_the_record(
        self, http: aiohttp.ClientSession
    ) -> None:
        for headers in ({}, {"authorization": "Bearer another"}, {"authorization": "Bearer \xe9"}):
            async with http.get("/sandbox/requests", headers=headers) as answer:
                assert answer.status == 401

    async def test_nothing_is_recorded_unless_asked_for(self) -> None:
        async with serve() as url, AsyncOpenAI(base_url=f"{url}/v1", api_key="sk-any") as client:
            await text_of(client, "sandbox-quiet")
            async with aiohttp.ClientSession(url) as http:
                assert (await stats(http))["requests"] == 1
                for key in ("", "any"):
                    async with http.get("/sandbox/requests", headers={"authorization": f"Bearer {key}"}) as answer:
                        assert answer.status == 404

    async def test_stats_count_ends_by_model(self, client: AsyncOpenAI, http: aiohttp.ClientSession) -> None:
        await chunks_of(client, "sandbox-counted")
        stream = await client.chat.completions.create(
            model="sandbox-counted+stall-after-1", messages=HELLO, stream=True
        )
        await read_until(stream, 1)
        found = await stats(http)
        assert found["by_model"]["sandbox-counted"]["completed"] == 1
        assert found["by_model"]["sandbox-counted+stall-after-1"]["open_streams"] == 1
        await stream.close()
        await call_ended(http, "sandbox-counted+stall-after-1")
        after = (await stats(http))["by_model"]["sandbox-counted+stall-after-1"]
        assert (after["client_disconnects"], after["open_streams"]) == (1, 0)

    async def test_reset_forgets(self, client: AsyncOpenAI, http: aiohttp.ClientSession) -> None:
        await text_of(client, "sandbox-forgotten")
        async with http.post("/sandbox/reset") as response:
            assert response.status == 200
        assert await records_of(http, "sandbox-forgotten") == []
        assert (await stats(http))["requests"] == 0


async def stats(http: aiohttp.ClientSession) -> dict[str, Any]:
    async with http.get("/sandbox/stats") as response:
        found: dict[str, Any] = await response.json()
        return found


async def test_the_command_announces_itself_and_ends_cleanly_with_a_stalled_stream() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sandbox",
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "SONANT_SANDBOX_PORT": "0"},
    )
    assert process.stdout is not None
    try:
        line = (await asyncio.wait_for(process.stdout.readline(), 10)).decode()
        address = line.removeprefix("sandbox ready on ").strip()
        headers = {"authorization": "Bearer k"}
        async with aiohttp.ClientSession(address, headers=headers) as session:
            body = {"model": "sandbox+stall-after-1", "messages": HELLO, "stream": True}
            async with session.get("/healthz") as health, session.post("/v1/chat/completions", json=body) as stalled:
                assert health.status == 200
                await stalled.content.readany()
                process.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(process.wait(), 10) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
