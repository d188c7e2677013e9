"""Choosing the log engine: by URL alone, and nowhere else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol
from urllib.parse import urlsplit

from redis.asyncio import Redis

from common.bus.port import Log
from common.bus.valkey import ValkeyLog
from common.storage.redis import open_redis


class LogSettings(Protocol):
    """Which log, and how this instance is a member of its groups; every service's settings have these."""

    @property
    def log_url(self) -> str: ...
    @property
    def redis_url(self) -> str: ...
    @property
    def kafka_replication(self) -> int: ...
    @property
    def drain_seconds(self) -> float: ...


@asynccontextmanager
async def open_log(settings: LogSettings, redis: Redis) -> AsyncIterator[Log]:
    """The log at `settings.log_url`; `redis` is reused where it is the same engine."""
    if settings.log_url == settings.redis_url:
        async with _open_valkey(settings.log_url, redis) as valkey:
            yield valkey
    else:
        replication, drain = settings.kafka_replication, settings.drain_seconds
        async with open_log_at(settings.log_url, replication=replication, drain_seconds=drain) as log:
            yield log


@asynccontextmanager
async def open_log_at(url: str, *, replication: int = 1, drain_seconds: float = 10.0) -> AsyncIterator[Log]:
    """The log at `url`, over connections of its own; what follows the URL counts for members of groups on Kafka."""
    if urlsplit(url).scheme == "kafka":
        # Imported where it is used: the embedded mode does without the Kafka client.
        from common.bus.kafka import open_kafka

        async with open_kafka(url, replication=replication, drain_seconds=drain_seconds) as kafka:
            yield kafka
    else:
        async with open_redis(url) as own, _open_valkey(url, own) as valkey:
            yield valkey


@asynccontextmanager
async def _open_valkey(url: str, redis: Redis) -> AsyncIterator[ValkeyLog]:
    log = ValkeyLog(url, redis)
    try:
        yield log
    finally:
        await log.close()
