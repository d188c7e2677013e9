"""Choosing the log engine: by URL alone, and nowhere else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from redis.asyncio import Redis

from common.bus.kafka_url import is_kafka
from common.bus.port import Log
from common.bus.valkey import ValkeyLog
from common.bus.valkey_retention import LOG_BYTES
from common.storage.redis import open_redis


class LogSettings(Protocol):
    """Which log, and how this instance is a member of its groups; every service's settings have these."""

    @property
    def log_url(self) -> str: ...
    @property
    def log_address(self) -> str: ...
    @property
    def redis_url(self) -> str: ...
    @property
    def log_max_bytes(self) -> int: ...
    @property
    def kafka_replication(self) -> int: ...
    @property
    def drain_seconds(self) -> float: ...


@asynccontextmanager
async def open_log(settings: LogSettings, redis: Redis) -> AsyncIterator[Log]:
    """The log at `settings.log_url`; `redis` is reused where it is the same engine."""
    if settings.log_url == settings.redis_url:
        async with _open_valkey(settings.log_url, redis, settings.log_max_bytes) as valkey:
            yield valkey
    else:
        replication, drain, most = settings.kafka_replication, settings.drain_seconds, settings.log_max_bytes
        url = settings.log_address
        async with open_log_at(url, replication=replication, drain_seconds=drain, max_bytes=most) as log:
            yield log


@asynccontextmanager
async def open_log_at(
    url: str, *, replication: int = 1, drain_seconds: float = 10.0, max_bytes: int = LOG_BYTES
) -> AsyncIterator[Log]:
    """The log at `url`, over connections of its own.

    Replication and drain count for members of groups on Kafka, `max_bytes` for publishers to the embedded log.
    """
    if is_kafka(url):
        # Imported where it is used: the embedded mode does without the Kafka client.
        from common.bus.kafka import open_kafka

        async with open_kafka(url, replication=replication, drain_seconds=drain_seconds) as kafka:
            yield kafka
    else:
        async with open_redis(url) as own, _open_valkey(url, own, max_bytes) as valkey:
            yield valkey


@asynccontextmanager
async def _open_valkey(url: str, redis: Redis, max_bytes: int) -> AsyncIterator[ValkeyLog]:
    log = ValkeyLog(url, redis, max_bytes=max_bytes)
    try:
        yield log
    finally:
        await log.close()
