"""A gateway on a store that is full: unready, and 503 with `retry-after` on every route that needs it."""

import asyncio
from functools import partial
from typing import Any

import httpx
from redis.exceptions import ResponseError

from common.storage.redis import Redis, open_redis
from sonant_cli.engines import valkey
from tests.support.engines import new_database, running
from tests.support.gateway import gateway_process
from tests.support.waiting import eventually

MIB = 1024 * 1024
CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


async def fill(redis: Redis) -> None:
    """Write until the store takes nothing more."""
    size, number = MIB, 0
    while size:
        number += 1
        try:
            await redis.set(f"other:{number}", b"x" * size)
        except ResponseError:
            size //= 2


async def test_a_full_store_is_told_as_503_with_a_time_to_come_back(postgres_url: str) -> None:
    # Each on a store and with a gateway of its own.
    await asyncio.gather(*(full_store_is_told(postgres_url, idempotent) for idempotent in (False, True)))


async def full_store_is_told(postgres_url: str, idempotent: bool) -> None:
    async with (
        running(partial(valkey, memory=16 * MIB)) as engine,
        new_database(postgres_url, "gateway") as database,
        open_redis(engine.url) as redis,
        gateway_process(engine.url, database) as gateway,
        httpx.AsyncClient(base_url=gateway.url, headers={**gateway.headers, "x-user-id": "user"}, timeout=20) as client,
    ):
        await fill(redis)

        async def unready() -> bool:
            return (await client.get("/readyz")).status_code == 503

        await eventually(unready, timeout=20)
        headers = {"Idempotency-Key": "once"} if idempotent else {}
        prompt = {"name": "p", "text": "hello"}
        for answer in (
            await client.post("/v1/chat/completions", json=CHAT, headers=headers),
            await client.post("/v1/chat/completions", json={**CHAT, "stream": True}),
            await client.post("/api/hume/prompts", json=prompt, headers=headers),
            await client.get("/api/hume/prompts"),
            await client.get("/v1/usage"),
        ):
            assert answer.status_code == 503, (answer.request.url, answer.text)
            assert int(answer.headers["retry-after"]) >= 1
        await redis.delete(*await redis.keys("other:*"))

        async def ready() -> bool:
            return (await client.get("/readyz")).status_code == 200

        await eventually(ready, timeout=20)
