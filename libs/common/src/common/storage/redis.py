"""Connections to Redis or Valkey, with bounded waits and one retry on a stale connection."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Any

import redis as blocking
from redis.asyncio import BlockingConnectionPool
from redis.asyncio import Redis as Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

# What "the engine does not answer" looks like through the client; OSError covers refused and reset sockets.
UNAVAILABLE = (RedisError, OSError, TimeoutError)

# What `maxmemory-policy` has to be where something must not be lost.
NO_EVICTION = "noeviction"
# Seconds.
CONNECT_TIMEOUT = 1.0
# Seconds. Longer than any BLOCK of ours: a silent server is noticed, and a quiet one is not taken for it.
SOCKET_TIMEOUT = 5.0


@asynccontextmanager
async def open_redis(url: str, *, connections: int = 16) -> AsyncIterator[Redis]:
    """A client with its own pool of up to `connections`; the first command connects.


    Replies are bytes. A command on a dead connection is repeated once, at once: after an engine restart every pooled
    connection is stale. Its commands raise those of `UNAVAILABLE` while the engine is away.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=CONNECT_TIMEOUT,
        socket_connect_timeout=CONNECT_TIMEOUT,
        socket_timeout=SOCKET_TIMEOUT,
        retry=Retry(NoBackoff(), 1),
    )
    client = Redis(connection_pool=pool)
    try:
        yield client
    finally:
        await client.aclose()
        await pool.disconnect()


def eval_now(url: str, script: str, keys: int, *arguments: str, timeout: float) -> Any:
    """Run a script, and hold up this process until it is done or `timeout` seconds have passed twice.

    For the rare moment in which nothing else may run before the answer is known. Raises those of `UNAVAILABLE`.
    """
    with closing(blocking.Redis.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout)) as client:
        return client.eval(script, keys, *arguments)


async def cluster_kind(redis: Redis) -> str:
    """What the server is beside a single one: `cluster`, `sentinel`, or empty. Raises `UNAVAILABLE`.

    An account that may not ask is taken to be on a single one.
    """
    try:
        told = await redis.info("server")
    except ResponseError:
        return ""
    # As Redis names it, and Valkey.
    mode = str(told.get("redis_mode") or told.get("server_mode"))
    return mode if mode in ("cluster", "sentinel") else ""


async def eviction_policy(redis: Redis) -> str | None:
    """The server's `maxmemory-policy`; None where it does not say, as many managed ones. Raises `UNAVAILABLE`."""
    try:
        policy = await redis.config_get("maxmemory-policy")
    except ResponseError:
        return None
    return policy.get("maxmemory-policy")
