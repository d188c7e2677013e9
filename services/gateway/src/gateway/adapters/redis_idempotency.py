"""Idempotency keys in Redis or Valkey."""

from typing import cast

from redis.asyncio import Redis

from common.storage.redis import UNAVAILABLE
from gateway.adapters.availability import needing

STORE = "the store of idempotency keys"
PREFIX = "sonant:idempotency:"
# Both act only for the owner: after a lapsed lease the key may be another's.
_STORE = """
local held = redis.call('GET', KEYS[1])
if held == false or held == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3]) end
"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"


class RedisIdempotency:
    """The `IdempotencyStore` on a client."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def take(self, name: str, mark: bytes, lease: float) -> bytes | None:
        milliseconds = max(1, round(lease * 1000))
        with needing(STORE, UNAVAILABLE):
            # SET with NX and GET answers with what is there, or nothing where the key is now ours.
            found = await self._redis.set(PREFIX + name, mark, nx=True, get=True, px=milliseconds)
        return cast("bytes | None", found)

    async def keep(self, name: str, mark: bytes, record: bytes, seconds: int) -> None:
        with needing(STORE, UNAVAILABLE):
            await self._redis.eval(_STORE, 1, PREFIX + name, mark, record, seconds)

    async def release(self, name: str, mark: bytes) -> None:
        with needing(STORE, UNAVAILABLE):
            await self._redis.eval(_RELEASE, 1, PREFIX + name, mark)
