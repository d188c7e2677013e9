"""Choosing the log engine: by URL alone, and nowhere else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from redis.asyncio import Redis

from common.bus.port import Log
from common.bus.valkey import ValkeyLog
from common.kernel.settings import CommonSettings
from common.storage.redis import open_redis


@asynccontextmanager
async def open_log(settings: CommonSettings, redis: Redis) -> AsyncIterator[Log]:
    """The log named by `settings.log_url`; `redis` is reused where it is the same engine."""
    if urlsplit(settings.log_url).scheme == "kafka":
        # Imported where it is used: the embedded mode need not pay for the Kafka client.
        from common.bus.kafka import open_kafka

        async with open_kafka(settings) as kafka:
            yield kafka
        return
    if settings.log_url == settings.redis_url:
        async with _open_valkey(settings.log_url, redis) as log:
            yield log
        return
    async with open_redis(settings.log_url) as own, _open_valkey(settings.log_url, own) as log:
        yield log


@asynccontextmanager
async def _open_valkey(url: str, redis: Redis) -> AsyncIterator[ValkeyLog]:
    log = ValkeyLog(url, redis)
    try:
        yield log
    finally:
        await log.close()
