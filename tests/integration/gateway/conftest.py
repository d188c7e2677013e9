"""The database and the store that tests of the gateway share."""

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest
from redis.asyncio import Redis

from common.storage.postgres import Pool
from common.storage.redis import open_redis
from tests.support.engines import new_database
from tests.support.keys import Fleet, Operated, pool_on


@pytest.fixture
async def pool(postgres_url: str) -> AsyncIterator[Pool]:
    async with pool_on(postgres_url) as opened:
        yield opened


@pytest.fixture
def fleet(pool: Pool) -> Fleet:
    return Fleet(pool)


@pytest.fixture
async def operated(postgres_url: str) -> AsyncIterator[Operated]:
    async with new_database(postgres_url, "gateway") as url:
        address = urlsplit(url)
        name = address.path[1:]
        operator = await asyncpg.connect(url)
        await operator.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'right'")
        await operator.execute(f"ALTER DATABASE {name} OWNER TO {name}")
        own = address._replace(netloc=f"{name}:right@{address.hostname}:{address.port}")
        try:
            yield Operated(own.geturl(), name, operator)
        finally:
            await operator.execute(f"REASSIGN OWNED BY {name} TO CURRENT_USER")
            await operator.execute(f"DROP ROLE {name}")
            await operator.close()


@pytest.fixture
async def redis(valkey_url: str) -> AsyncIterator[Redis]:
    async with open_redis(valkey_url) as opened:
        yield opened
