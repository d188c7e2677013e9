"""A stand-in for S3, as a process of its own, and a look behind it."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import aiohttp

from tests.support.sonant import free_port
from tests.support.waiting import eventually

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
# It imports much before it answers.
START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class S3:
    """A server with one bucket."""

    url: str
    bucket: str
    http: aiohttp.ClientSession

    @property
    def environment(self) -> dict[str, str]:
        """What its clients find in their environment."""
        return {**CREDENTIALS, "AWS_ENDPOINT_URL": self.url}

    async def empty(self) -> None:
        """As it was at first."""
        async with self.http.post(f"{self.url}/moto-api/reset"):
            pass
        async with self.http.put(f"{self.url}/{self.bucket}") as made:
            assert made.status == 200

    async def unfinished_uploads(self) -> list[str]:
        """The keys of uploads in parts that were neither completed nor given up."""
        async with self.http.get(f"{self.url}/{self.bucket}?uploads") as answer:
            return re.findall(r"<Key>(.*?)</Key>", await answer.text())

    async def answers(self) -> bool:
        """Whether it does, by now."""
        with suppress(aiohttp.ClientConnectionError):
            await self.empty()
            return True
        return False


@asynccontextmanager
async def s3_server() -> AsyncIterator[S3]:
    """A server that runs until the block ends."""
    port = free_port()
    server = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "moto.server",
        "-H",
        "127.0.0.1",
        "-p",
        str(port),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with aiohttp.ClientSession() as http:
            s3 = S3(f"http://127.0.0.1:{port}", "sonant", http)
            await eventually(s3.answers, timeout=START_SECONDS, interval=0.1)
            yield s3
    finally:
        server.kill()
        await server.wait()
