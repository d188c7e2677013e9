"""A large answer with embeddings on its way from the live store to a client: whole, refused, or visibly cut."""

import os
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from redis.asyncio import Redis

from common.bus.live.kept_bodies import PIECE_BYTES, PREFIX, KeptBodies, open_kept_bodies
from gateway.chat.embeddings import pass_on
from gateway.http import boundary

BODY = os.urandom(2 * PIECE_BYTES + 100)


@pytest.fixture
async def bodies(valkey_url: str) -> AsyncIterator[KeptBodies]:
    async with open_kept_bodies(valkey_url) as opened:
        await opened.put("embd-1", BODY)
        yield opened
        await opened.drop("embd-1")


@pytest.fixture
async def http(bodies: KeptBodies) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    async def answer(request: web.Request) -> web.StreamResponse:
        return await pass_on(request, bodies.pieces("embd-1", len(BODY)), len(BODY), {"x-sonant-provider": "sandbox"})

    app = web.Application()
    boundary.install(app)
    app.router.add_get("/", answer)
    async with TestClient(TestServer(app)) as client:
        yield client


async def test_a_kept_body_is_passed_on_whole(http: TestClient[web.Request, web.Application]) -> None:
    response = await http.get("/")
    assert await response.read() == BODY
    assert response.headers["content-length"] == str(len(BODY))
    assert (response.content_type, response.headers["x-sonant-provider"]) == ("application/json", "sandbox")


async def test_one_that_is_gone_is_refused(http: TestClient[web.Request, web.Application], redis: Redis) -> None:
    await redis.delete(PREFIX + "embd-1")
    response = await http.get("/")
    assert response.status == 503
    assert (await response.json())["error"]["code"] == "unavailable"


async def test_one_that_is_lost_on_the_way_is_visibly_cut(
    http: TestClient[web.Request, web.Application], redis: Redis
) -> None:
    await redis.rpop(PREFIX + "embd-1")
    response = await http.get("/")
    assert response.status == 200
    with pytest.raises(aiohttp.ClientPayloadError):
        await response.read()
