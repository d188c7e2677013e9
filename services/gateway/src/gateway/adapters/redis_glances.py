"""What is known of jobs, in Redis or Valkey."""

from collections.abc import Sequence
from typing import Any, cast

from redis.asyncio import Redis

from common.jobs.glance import KEY_PREFIX, Glance, full_keys, read_glance
from common.storage.redis import UNAVAILABLE
from gateway.adapters.availability import needing

STORE = "the store of what is known of jobs"


class RedisGlances:
    """The port `JobGlances`."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def glances(self, job_ids: Sequence[str]) -> Sequence[Glance | None]:
        with needing(STORE, UNAVAILABLE):
            found = await self._values([KEY_PREFIX + job_id for job_id in job_ids])
        return [read_glance(each) for each in found]

    async def full(self, kind: str, org_id: str) -> bool:
        with needing(STORE, UNAVAILABLE):
            return any(await self._values(full_keys(kind, org_id)))

    async def _values(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        # One by one in a pipeline: on a cluster they lie on different nodes.
        async with self._redis.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.get(key)
            return cast("Any", await pipeline.execute())  # type: ignore[no-any-return]
