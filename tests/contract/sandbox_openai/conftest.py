"""The OpenAI stand-in keeps the provider's contract, as seen by the official client."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from openai import AsyncOpenAI

from sandbox.app import serve
from tests.support.sonant import RECORD_KEY


@pytest.fixture(scope="module")
async def url() -> AsyncIterator[str]:
    async with serve(record_key=RECORD_KEY) as address:
        yield address


@pytest.fixture(scope="module")
async def client(url: str) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="sk-any", max_retries=0, timeout=10) as opened:
        yield opened


@pytest.fixture(scope="module")
async def http(url: str) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"authorization": "Bearer sk-any"}
    async with aiohttp.ClientSession(url, headers=headers) as session:
        yield session
