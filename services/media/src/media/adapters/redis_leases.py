"""The port `Leases` on Redis or Valkey: a key with an owner that ends by itself where its owner dies."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from common.kernel.tasks import end
from common.storage.redis import UNAVAILABLE, Redis

log = structlog.get_logger(__name__)

PREFIX = "sonant:speech:lease:"
# Of a process that died, others take over after this long.
LEASE_MS = 10_000
RENEW_SECONDS = 3.0

# Only the owner may renew or give up: another one may hold it by now.
RENEW = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('PEXPIRE', KEYS[1], ARGV[2]) or 0"
RELEASE = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0"


class RedisLeases:
    """Leases over all processes. While the engine is away everybody gets one: then work may be done twice."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[bool]:
        """Whether it is ours until the end of the block."""
        name, owner = PREFIX + key, secrets.token_hex(16)
        try:
            held = bool(await self._redis.set(name, owner, nx=True, px=LEASE_MS))
        except UNAVAILABLE as error:
            log.warning("no lease to be had, going on without", error=str(error))
            yield True
            return
        if not held:
            yield False
            return
        renewing = asyncio.create_task(self._renew(name, owner), name="renew-lease")
        try:
            yield True
        finally:
            await end(renewing)
            await self._release(name, owner)

    async def _renew(self, name: str, owner: str) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                await self._redis.eval(RENEW, 1, name, owner, str(LEASE_MS))
            except UNAVAILABLE as error:
                log.warning("lease not renewed", error=str(error))

    async def _release(self, name: str, owner: str) -> None:
        try:
            await self._redis.eval(RELEASE, 1, name, owner)
        except UNAVAILABLE:
            # It ends by itself.
            return
