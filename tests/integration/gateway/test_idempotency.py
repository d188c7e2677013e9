"""Idempotency-Key over HTTP, on a real engine: one effect per key, whoever repeats."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from common.storage.redis import open_redis
from gateway.adapters.redis_idempotency import RedisIdempotency
from gateway.http import boundary
from gateway.http.errors import rate_limited
from gateway.http.idempotency import Idempotency
from gateway.http.server import Runner
from gateway.ports import Caller
from sonant_cli.engines import valkey
from tests.support.engines import running
from tests.support.waiting import eventually


class Acting:
    """A server whose one action counts how often it was done; `proceed` holds it back."""

    def __init__(self, idempotency: Idempotency, lease: float) -> None:
        self._idempotency = idempotency
        self._lease = lease
        self.done = 0
        self.waiting = 0
        self.outcome = 201
        self.proceed = asyncio.Event()
        self.proceed.set()

    async def act(self, request: web.Request) -> web.StreamResponse:
        caller = Caller(request.headers.get("org", "acme"), "key", frozenset())
        async with self._idempotency.guard(request, caller, await request.read(), lease=self._lease) as slot:
            if slot.replay is not None:
                return slot.replay
            self.done += 1
            self.waiting += 1
            try:
                await self.proceed.wait()
            finally:
                self.waiting -= 1
            if self.outcome == 429:
                raise rate_limited("Slow down.", retry=1)
            headers = {"x-sonant-provider": "sandbox", "etag": '"3"', "x-ratelimit-remaining-requests": "1"}
            response = web.json_response({"number": self.done}, status=self.outcome, headers=headers)
            await slot.store(response)
            return response


@asynccontextmanager
async def serving(url: str, lease: float = 30.0) -> AsyncIterator[tuple[Acting, aiohttp.ClientSession]]:
    async with open_redis(url) as redis:
        acting = Acting(Idempotency(RedisIdempotency(redis)), lease)
        app = web.Application()
        boundary.install(app)
        app.router.add_post("/{where}", acting.act)
        runner = Runner(app, access_log=None, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as session:
                yield acting, session
        finally:
            await runner.cleanup()


@pytest.fixture
async def served(valkey_url: str) -> AsyncIterator[tuple[Acting, aiohttp.ClientSession]]:
    async with serving(valkey_url) as both:
        yield both


Served = tuple[Acting, aiohttp.ClientSession]


def key() -> dict[str, str]:
    return {"Idempotency-Key": secrets.token_hex(8)}


async def test_a_repetition_gets_the_first_answer(served: Served) -> None:
    acting, session = served
    headers = key()
    first = await session.post("/a", data=b"same", headers=headers)
    again = await session.post("/a", data=b"same", headers=headers)
    assert (first.status, again.status, acting.done) == (201, 201, 1)
    assert await first.read() == await again.read()
    assert again.content_type == "application/json"
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert (again.headers["x-sonant-provider"], again.headers["etag"]) == ("sandbox", '"3"')
    assert "x-ratelimit-remaining-requests" not in again.headers
    assert first.headers["x-request-id"] != again.headers["x-request-id"]


async def test_another_body_is_refused(served: Served) -> None:
    acting, session = served
    headers = key()
    await session.post("/a", data=b"one", headers=headers)
    other = await session.post("/a", data=b"two", headers=headers)
    assert (other.status, acting.done) == (422, 1)
    assert (await other.json())["error"]["code"] == "idempotency_key_reused"


async def test_a_duplicate_of_a_running_request_is_told_to_come_back(served: Served) -> None:
    acting, session = served
    headers = key()
    acting.proceed.clear()
    first = asyncio.create_task(session.post("/a", headers=headers))
    await eventually(lambda: acting.done)
    twin = await session.post("/a", headers=headers)
    assert (twin.status, twin.headers["retry-after"]) == (409, "1")
    assert (await twin.json())["error"]["code"] == "idempotency_key_in_use"
    acting.proceed.set()
    assert (await first).status == 201
    assert (await session.post("/a", headers=headers)).headers["idempotency-replayed"] == "true"
    assert acting.done == 1


async def test_of_many_at_once_one_acts(served: Served) -> None:
    acting, session = served
    headers = key()
    answers = await asyncio.gather(*(session.post("/a", headers=headers) for _ in range(20)))
    assert {answer.status for answer in answers} <= {201, 409}
    assert acting.done == 1


@pytest.mark.parametrize("outcome", [429, 503])
async def test_what_may_work_later_is_not_kept(served: Served, outcome: int) -> None:
    acting, session = served
    headers = key()
    acting.outcome = outcome
    assert (await session.post("/a", headers=headers)).status == outcome
    acting.outcome = 201
    assert (await session.post("/a", headers=headers)).status == 201
    assert acting.done == 2


async def test_keys_of_other_organisations_and_paths_are_others(served: Served) -> None:
    acting, session = served
    headers = key()
    await session.post("/a", headers=headers)
    await session.post("/b", headers=headers)
    await session.post("/a", headers={**headers, "org": "other"})
    await session.post("/a")
    assert acting.done == 4


@pytest.mark.parametrize("bad", ["x" * 256, "é", ""])
async def test_a_bad_key_is_refused(served: Served, bad: str) -> None:
    acting, session = served
    answer = await session.post("/a", headers={"Idempotency-Key": bad})
    assert (answer.status, acting.done) == (400, 0)
    assert (await answer.json())["error"]["param"] == "Idempotency-Key"


async def test_a_caller_that_left_frees_its_key(served: Served) -> None:
    acting, session = served
    headers = key()
    acting.proceed.clear()
    first = asyncio.create_task(session.post("/a", headers=headers))
    await eventually(lambda: acting.done)
    first.cancel()
    await eventually(lambda: not acting.waiting)
    acting.proceed.set()

    async def free() -> bool:
        return (await session.post("/a", headers=headers)).status == 201

    await eventually(free)
    assert acting.done == 2


async def test_the_key_of_a_gateway_that_died_comes_free_and_its_late_end_changes_nothing(valkey_url: str) -> None:
    async with serving(valkey_url, lease=0.05) as (dying, first), serving(valkey_url) as (acting, second):
        headers = key()
        dying.proceed.clear()
        late = asyncio.create_task(first.post("/a", headers=headers))
        await eventually(lambda: dying.done)

        async def free() -> bool:
            return (await second.post("/a", headers=headers)).status == 201

        await eventually(free)
        dying.outcome = 200
        dying.proceed.set()
        assert (await late).status == 200
        assert (await second.post("/a", headers=headers)).status == 201
        assert acting.done == 1


async def test_without_the_store_a_key_is_refused_and_other_requests_work() -> None:
    async with running(valkey) as engine, serving(engine.url) as (acting, session):
        await engine.stop()
        refused = await session.post("/a", headers=key())
        assert (refused.status, refused.headers["retry-after"], acting.done) == (503, "1", 0)
        assert (await session.post("/a")).status == 201
