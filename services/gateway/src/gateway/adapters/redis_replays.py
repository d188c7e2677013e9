"""Deliveries of webhooks in Redis or Valkey."""

import hashlib

from redis.asyncio import Redis

from common.storage.redis import UNAVAILABLE
from gateway.adapters.availability import needing
from gateway.ports import DeliveryState

STORE = "the store of webhook deliveries"
PREFIX = "sonant:webhook:hume:"
_UNDER_WAY, _DONE = b"under way", b"done"


class RedisReplays:
    """The `ReplayStore` on a client."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def take(self, key: str, lease: int) -> DeliveryState:
        with needing(STORE, UNAVAILABLE):
            held = await self._redis.set(_name(key), _UNDER_WAY, nx=True, get=True, ex=lease)
        if held is None:
            return DeliveryState.NEW
        return DeliveryState.UNDER_WAY if held == _UNDER_WAY else DeliveryState.DONE

    async def keep(self, key: str, seconds: int) -> None:
        with needing(STORE, UNAVAILABLE):
            await self._redis.set(_name(key), _DONE, ex=seconds)

    async def release(self, key: str) -> None:
        with needing(STORE, UNAVAILABLE):
            await self._redis.delete(_name(key))


def _name(key: str) -> str:
    """Hashed: a key holds what the provider sent."""
    return PREFIX + hashlib.sha256(key.encode()).hexdigest()
