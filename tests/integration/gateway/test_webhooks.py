"""Webhooks on real engines: published once, whatever is repeated, late, away or in two hands at once."""

import asyncio
import gzip
import json
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web
from redis.asyncio import Redis

from common.bus.connect import open_log
from common.bus.port import Log
from common.events.webhooks import WEBHOOK_EVENTS
from common.storage.redis import open_redis
from gateway.adapters.redis_replays import PREFIX, RedisReplays
from gateway.deps import DEPS
from gateway.http import boundary
from gateway.http.server import Runner
from gateway.settings import GatewaySettings
from gateway.webhooks.replays import Replays
from gateway.webhooks.signature import SIGNATURE_HEADER, TIMESTAMP_HEADER, sign
from gateway.webhooks.views import MAX_BODY_BYTES, receive_hume
from sonant_cli.engines import valkey
from tests.support.engines import running

KEY, FORMER = "new-key", "former-key"
PATH = "/webhooks/hume"


@asynccontextmanager
async def serving(log: Log, redis: Redis, keys: str = f"{KEY}, {FORMER}") -> AsyncIterator[aiohttp.ClientSession]:
    """The one view, on a log and a store that may be two engines."""
    settings = GatewaySettings(instance="gateway-0", hume_webhook_keys=cast("Any", keys))
    app = web.Application()
    boundary.install(app)
    replays = Replays(RedisReplays(redis))
    app[DEPS] = cast("Any", SimpleNamespace(settings=settings, log=log, replays=replays))
    app.router.add_post(PATH, receive_hume)
    runner = Runner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as session:
            yield session
    finally:
        await runner.cleanup()


class Desk:
    """Sends webhooks, and reads what was published of them."""

    def __init__(self, session: aiohttp.ClientSession, log: Log) -> None:
        self._session = session
        self._log = log
        self.chat = secrets.token_hex(8)

    async def send(self, body: bytes, *, key: str = KEY, **headers: str) -> tuple[int, dict[str, Any]]:
        stamp = str(int(time.time()))
        signed = {SIGNATURE_HEADER: sign(key, body, stamp), TIMESTAMP_HEADER: stamp}
        async with self._session.post(PATH, data=body, headers={**signed, **headers}) as answer:
            assert answer.status != 503 or answer.headers["retry-after"]
            return answer.status, await answer.json()

    def event(self, name: str = "chat_started", **fields: Any) -> bytes:
        return json.dumps({"event_name": name, "chat_id": self.chat, **fields}).encode()

    async def published(self) -> list[dict[str, Any]]:
        found = [json.loads(record.value) for record in await self._log.read(WEBHOOK_EVENTS, limit=10_000)]
        return [webhook for webhook in found if self.chat in webhook["delivery_key"] + str(webhook["body"])]


@asynccontextmanager
async def logging_to(url: str) -> AsyncIterator[Log]:
    settings = GatewaySettings(instance="gateway-0", log_url=url, redis_url=url)
    async with open_redis(url) as redis, open_log(settings, redis) as log:
        await log.ensure([WEBHOOK_EVENTS])
        yield log


@pytest.fixture
async def log(valkey_url: str) -> AsyncIterator[Log]:
    async with logging_to(valkey_url) as opened:
        yield opened


@pytest.fixture
async def desk(log: Log, redis: Redis) -> AsyncIterator[Desk]:
    async with serving(log, redis) as session:
        yield Desk(session, log)


async def test_a_genuine_webhook_is_published_before_it_is_acknowledged(desk: Desk) -> None:
    assert await desk.send(desk.event(start_time=1)) == (200, {"received": True, "duplicate": False})
    (webhook,) = await desk.published()
    assert (webhook["provider"], webhook["event_name"], webhook["known"]) == ("hume", "chat_started", True)
    assert webhook["delivery_key"] == f"chat_started:{desk.chat}"
    assert webhook["body"] == {"event_name": "chat_started", "chat_id": desk.chat, "start_time": 1}


async def test_a_key_that_is_being_replaced_still_signs(desk: Desk) -> None:
    assert (await desk.send(desk.event(), key=FORMER))[0] == 200
    status, body = await desk.send(desk.event("chat_ended"), key="any other")
    assert (status, body["error"]["code"]) == (401, "invalid_signature")
    assert len(await desk.published()) == 1


async def test_a_repetition_is_acknowledged_and_not_published(desk: Desk) -> None:
    await desk.send(desk.event())
    # The same event in other bytes, signed anew, as a provider sends it again.
    assert await desk.send(desk.event(again=True)) == (200, {"received": True, "duplicate": True})
    await desk.send(desk.event("chat_ended"))
    assert [webhook["event_name"] for webhook in await desk.published()] == ["chat_started", "chat_ended"]


async def test_tool_calls_of_one_chat_are_events_of_their_own(desk: Desk) -> None:
    for call in ("a", "b", "a"):
        await desk.send(desk.event("tool_call", tool_call_message={"tool_call_id": desk.chat + call}))
    keys = [webhook["delivery_key"] for webhook in await desk.published()]
    assert keys == [f"tool_call:{desk.chat}a", f"tool_call:{desk.chat}b"]


async def test_an_unknown_event_is_kept(desk: Desk) -> None:
    assert (await desk.send(desk.event("chat_moved")))[0] == 200
    (webhook,) = await desk.published()
    assert webhook["known"] is False


async def test_unknown_events_of_one_chat_are_events_of_their_own(desk: Desk) -> None:
    for room in ("a", "b", "a"):
        assert (await desk.send(desk.event("chat_moved", room=room)))[0] == 200
    assert [webhook["body"]["room"] for webhook in await desk.published()] == ["a", "b"]


async def test_of_deliveries_at_once_one_is_published(desk: Desk) -> None:
    answers = await asyncio.gather(*(desk.send(desk.event()) for _ in range(30)))
    assert {status for status, _ in answers} <= {200, 503}
    assert sum(status == 200 and not body["duplicate"] for status, body in answers) == 1
    assert len(await desk.published()) == 1


async def test_what_is_not_genuine_leaves_no_trace(desk: Desk, redis: Redis) -> None:
    before = len(await redis.keys(f"{PREFIX}*"))
    stamp = str(int(time.time()) - 200)
    late = {SIGNATURE_HEADER: sign(KEY, desk.event(), stamp), TIMESTAMP_HEADER: stamp}
    assert (await desk.send(desk.event(), **late))[1]["error"]["code"] == "stale_signature"
    assert (await desk.send(desk.event(), **{SIGNATURE_HEADER: "x"}))[0] == 401
    assert (await desk.send(b"[1]"))[0] == 400
    assert (await desk.send(b" " * (MAX_BODY_BYTES + 1)))[0] == 413
    assert (await desk.send(gzip.compress(desk.event()), **{"content-encoding": "gzip"}))[0] == 415
    assert await desk.published() == []
    assert len(await redis.keys(f"{PREFIX}*")) == before
    # The genuine one is none the worse for it.
    assert (await desk.send(desk.event()))[1]["duplicate"] is False


async def test_the_mark_outlives_the_window(desk: Desk, redis: Redis) -> None:
    await desk.send(desk.event())
    ages = [await redis.ttl(name) for name in await redis.keys(f"{PREFIX}*")]
    assert min(ages) > 2 * 180


async def test_without_a_key_there_is_no_such_route(log: Log, redis: Redis) -> None:
    async with serving(log, redis, keys=" , ") as session:
        status, body = await Desk(session, log).send(b'{"event_name": "chat_started"}', key="")
    assert (status, body["error"]["code"]) == (404, "unconfigured")


async def test_while_the_log_is_away_nothing_is_acknowledged_and_nothing_lost(redis: Redis) -> None:
    async with running(valkey) as engine, logging_to(engine.url) as log:
        async with serving(log, redis) as session:
            desk = Desk(session, log)
            await engine.stop()
            assert (await desk.send(desk.event()))[0] == 503
            await engine.start()
            assert await desk.send(desk.event()) == (200, {"received": True, "duplicate": False})
            assert len(await desk.published()) == 1


async def test_while_the_store_is_away_nothing_is_acknowledged(log: Log) -> None:
    async with running(valkey) as engine, open_redis(engine.url) as marking:
        async with serving(log, marking) as session:
            desk = Desk(session, log)
            await engine.stop()
            assert (await desk.send(desk.event()))[0] == 503
            assert await desk.published() == []
            await engine.start()
            assert (await desk.send(desk.event()))[1]["duplicate"] is False
