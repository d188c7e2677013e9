"""A stand-in, a database and an account of each test's own."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from common.storage.postgres import Pool, open_postgres
from resources.app import MIGRATIONS, SCHEMA
from sandbox.app import serve
from tests.contract.catalogue_contract import (
    World,
)
from tests.support.hume_catalogue import Arrange, hume


@pytest.fixture(scope="session")
async def url() -> AsyncIterator[str]:
    async with serve() as address:
        yield address


@pytest.fixture(scope="session")
async def pool(postgres_url: str) -> AsyncIterator[Pool]:
    async with open_postgres(postgres_url, size=6, migrations=MIGRATIONS, schema=SCHEMA, unit_of_work=True) as opened:
        yield opened


@pytest.fixture
def key() -> str:
    return f"key-{uuid.uuid4().hex}"


@pytest.fixture
async def arrange(url: str, key: str) -> AsyncIterator[Arrange]:
    async with aiohttp.ClientSession(url) as session:

        async def put(*faults: dict[str, Any], **more: Any) -> dict[str, Any]:
            async with session.put(f"/sandbox/hume/accounts/{key}", json={"faults": list(faults), **more}) as answer:
                assert answer.status == 200, await answer.text()
                return dict(await answer.json())

        yield put


@pytest.fixture
async def world(pool: Pool, url: str, key: str) -> AsyncIterator[World]:
    async with hume(pool, url, key) as world:
        yield world
