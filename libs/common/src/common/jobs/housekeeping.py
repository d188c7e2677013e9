"""What has to be done about jobs from time to time: their queues told, late ones ended, old ones deleted."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog

from common.failures import Unavailable
from common.jobs import job_metrics as metrics
from common.jobs.glance import FULL_SECONDS, full_keys
from common.jobs.job_store import Bounds, Depth, JobStore
from common.storage.redis import UNAVAILABLE, Redis

log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0
# Jobs deleted in one go, each with its assets.
DELETED_AT_ONCE = 100
# Between two looks for old jobs, where the last one found none.
DELETE_SECONDS = 30.0

# Deletes the assets of a job: organisation and id.
Discard = Callable[[str, str], Awaitable[None]]


class Housekeeping:
    """Looks after the jobs of a service. Every instance does it; what one has done is not there for the next."""

    def __init__(self, store: JobStore, redis: Redis, bounds: Mapping[str, Bounds], discard: Discard) -> None:
        self._store = store
        self._redis = redis
        self._bounds = bounds
        self._discard = discard

    async def look(self) -> None:
        """Tell how long the queues are, and end what is late, until cancelled."""
        while True:
            with contextlib.suppress(Unavailable):
                depths = await self._store.depths()
                await self._tell(depths)
                if depths:
                    await self._store.end_late(list(self._bounds))
            await asyncio.sleep(LOOK_SECONDS)

    async def _tell(self, depths: Sequence[Depth]) -> None:
        totals: Counter[str] = Counter()
        full: set[str] = set()
        for depth in depths:
            totals[depth.kind] += depth.jobs
            bounds = self._bounds.get(depth.kind)
            if bounds is not None and depth.jobs >= bounds.share:
                full.add(full_keys(depth.kind, depth.org_id)[1])
        for kind, bounds in self._bounds.items():
            metrics.JOBS_WAITING.labels(kind).set(totals[kind])
            if totals[kind] >= bounds.queue:
                full.add(full_keys(kind, "")[0])
        if full:
            with contextlib.suppress(*UNAVAILABLE):
                async with self._redis.pipeline(transaction=False) as pipeline:
                    for key in full:
                        pipeline.set(key, b"1", ex=FULL_SECONDS)
                    await pipeline.execute()

    async def delete(self) -> None:
        """Delete jobs whose time is over, with their assets, until cancelled."""
        while True:
            deleted = 0
            try:
                deleted = await self._delete_some()
            except Unavailable as error:
                log.info("old jobs stay for now", error=str(error))
            if deleted < DELETED_AT_ONCE:
                await asyncio.sleep(DELETE_SECONDS)

    async def _delete_some(self) -> int:
        old = await self._store.expired(DELETED_AT_ONCE)
        for org_id, job_id in old:
            # The assets first: whoever dies in between finds the job again.
            await self._discard(org_id, job_id)
        if old:
            await self._store.delete([job_id for _, job_id in old])
            metrics.JOBS_DELETED.inc(len(old))
        return len(old)
