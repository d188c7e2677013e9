"""The catalogue at Hume on the stand-in, with faults that a test arranges."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from common.providers.breaker import Breaker
from common.providers.policy import CallLimits
from common.storage.postgres import Pool
from resources.adapters.hume.api import Account, hume_api, open_transport
from resources.adapters.hume.call_policy import hume_policy
from resources.adapters.hume.catalogue import HumeCatalogue
from resources.adapters.postgres.provider_copy import PostgresCopy
from resources.adapters.postgres.store import PostgresStore
from tests.contract.catalogue_contract import (
    World,
    units_of,
)

Arrange = Callable[..., Awaitable[dict[str, Any]]]


@asynccontextmanager
async def hume(
    pool: Pool, url: str, key: str, *, breaker: Breaker | None = None, configured: bool = True, **limits: Any
) -> AsyncIterator[World]:
    """A world whose provider never gets its breaker, unless a test brings one."""
    never = Breaker(failures=10**9)
    policy = hume_policy(configured=configured, limits=CallLimits(**limits), breaker=breaker or never)
    async with open_transport() as transport:
        api = hume_api(transport, Account(url, key), policy)
        copy = PostgresCopy(pool, HumeCatalogue.name)
        yield World(HumeCatalogue(PostgresStore(pool), copy, api), units_of(pool))
