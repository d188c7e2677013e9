"""Large bodies in a gateway process: many at once take no more memory than a few."""

import asyncio
import gzip
import json
from pathlib import Path

import aiohttp

from tests.support.engines import new_database
from tests.support.gateway import gateway_process

MIB = 1024 * 1024
CLIENTS = 100
# Six at a time and one for a newcomer, each as it came, parsed and written out.
MOST = 300 * MIB


def peak(pid: int) -> int:
    """The most that a process has had resident, in bytes."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


async def test_many_packed_bodies_are_unpacked_a_few_at_a_time(valkey_url: str, postgres_url: str) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": "a" * (4 * MIB - 200)}]}).encode()
    packed = gzip.compress(body)
    assert len(packed) < 8192
    # All together they are more than an organisation may have in a minute.
    unlimited = {"SONANT_LOG_BYTES_PER_MINUTE": "0"}
    async with (
        new_database(postgres_url, "bodies") as database,
        gateway_process(valkey_url, database, env=unlimited) as gateway,
    ):
        before = peak(gateway.pid)
        headers = {**gateway.headers, "content-encoding": "gzip", "content-type": "application/json"}
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(gateway.url, connector=connector, headers=headers) as session:

            async def send() -> int:
                async with session.post("/v1/chat/completions", data=packed) as response:
                    return response.status

            # Nothing answers chats here, so each ends where it would have been published.
            statuses = await asyncio.gather(*(send() for _ in range(CLIENTS)))
        grown = peak(gateway.pid) - before
    assert set(statuses) == {503}
    print(f"{CLIENTS} bodies of 4 MiB: {grown / MIB:.0f} MiB more")
    assert grown < MOST
