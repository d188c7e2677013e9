"""API keys in tests: several processes' worth of them on one database, its operator, and the admin routes over HTTP."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import asyncpg
import pytest
from aiohttp import web
from redis.asyncio import Redis

from common.failures import Refused
from common.storage.postgres import Pool, open_postgres
from gateway.adapters.postgres_keys import PostgresKeys
from gateway.adapters.redis_idempotency import RedisIdempotency
from gateway.deps import DEPS
from gateway.http import boundary
from gateway.http.docs_page import docs_routes
from gateway.http.idempotency import Idempotency
from gateway.http.openapi import document
from gateway.http.routing import add_routes
from gateway.http.server import Runner
from gateway.http.work_bounds import WorkBounds
from gateway.keys.keyring import Keys
from gateway.keys.routes import ROUTES
from gateway.ports import Caller, KeyRecord, Work
from tests.support.sonant import ROOT

MIGRATIONS = ROOT / "services/gateway/migrations"
CHAT = frozenset({"chat"})


class Counting(PostgresKeys):
    """The real store, counting what it is asked; `held` holds answers back once they were read."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.asked = 0
        self.held = asyncio.Event()
        self.held.set()

    async def get(self, key_id: str) -> KeyRecord | None:
        self.asked += 1
        record = await super().get(key_id)
        await self.held.wait()
        return record


class Fleet:
    """Several processes' worth of `Keys` on one database; an announcement reaches them all."""

    def __init__(self, pool: Pool) -> None:
        self.stores = [Counting(pool), Counting(pool)]
        self.members = [Keys(store, self.announce) for store in self.stores]

    async def announce(self, key_id: str) -> None:
        for member in self.members:
            member.evict(key_id)


@asynccontextmanager
async def pool_on(url: str) -> AsyncIterator[Pool]:
    async with open_postgres(url, size=4, migrations=MIGRATIONS, schema="gateway") as pool:
        yield pool


async def refusal(check: Coroutine[Any, Any, Any]) -> Refused:
    with pytest.raises(Refused) as refused:
        await check
    return refused.value


@dataclass(frozen=True)
class Operated:
    """A database under an account of its own, and the operator, who does things to both."""

    url: str
    name: str
    operator: "asyncpg.Connection[Any]"

    async def undergo(self, statements: Sequence[str]) -> None:
        """Have the operator act; whoever is connected has to connect again."""
        for statement in statements:
            await self.operator.execute(statement.format(name=self.name))
        await self.operator.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def unbounded() -> WorkBounds:
    """No bounds, and keys without limits."""
    return WorkBounds(cast("Any", Unlimited()), dict.fromkeys(Work, 0))


class Unlimited:
    """Limits of keys that have none."""

    async def count(self, caller: Caller) -> None:
        del caller


@asynccontextmanager
async def served(fleet: Fleet, redis: Redis) -> AsyncIterator[web.AppRunner]:
    """The admin routes and the documents, on a port of 127.0.0.1."""
    app = web.Application()
    boundary.install(app)
    idempotency = Idempotency(RedisIdempotency(redis))
    app[DEPS] = cast("Any", SimpleNamespace(keys=fleet.members[0], idempotency=idempotency))
    add_routes(app, ROUTES, fleet.members[0].identify, unbounded())
    app.add_routes(docs_routes(document(ROUTES), b"{}"))
    runner = Runner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner
    finally:
        await runner.cleanup()


class Client:
    """Speaks to the admin routes with one key and checks the shape of every error."""

    def __init__(self, session: aiohttp.ClientSession, key: str) -> None:
        self._session = session
        self._headers = {"authorization": f"Bearer {key}"}

    async def __call__(self, method: str, path: str = "", once: str | None = None, **request: Any) -> tuple[int, Any]:
        headers = {**self._headers, **({"idempotency-key": once} if once else {})}
        async with self._session.request(method, f"/v1/admin/keys{path}", headers=headers, **request) as answer:
            body = await answer.json()
        if answer.status >= 400:
            assert set(body["error"]) == {"message", "type", "param", "code"}
            return answer.status, body["error"]
        return answer.status, body


async def client_of(http: aiohttp.ClientSession, fleet: Fleet, org_id: str, *scopes: str) -> Client:
    return Client(http, (await fleet.members[0].create("test", org_id, frozenset(scopes))).key)
