"""Shows how far jobs are, in the live store: the newest state of each, a few times a second."""

import asyncio
import contextlib

from common.jobs.glance import KEEP_SECONDS, KEY_PREFIX, Glance
from common.storage.redis import UNAVAILABLE, Redis

# Between two writes of all that has changed.
PACE_SECONDS = 0.1
# So often what does not change is written again, before it is forgotten.
REPEAT_SECONDS = KEEP_SECONDS / 3


class ProgressBoard:
    """What is shown of the jobs of this process. While the live store is away nothing piles up: only the newest
    state of a job is kept."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._changed: dict[str, Glance] = {}
        self._shown: dict[str, Glance] = {}
        self._woken = asyncio.Event()

    def show(self, job_id: str, glance: Glance) -> None:
        """Show this, until there is something newer."""
        if self._shown.get(job_id) == glance:
            return
        self._shown[job_id] = self._changed[job_id] = glance
        self._woken.set()

    def drop(self, job_id: str) -> None:
        """The job is not ours any more; its last state stays for a while."""
        self._shown.pop(job_id, None)

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REPEAT_SECONDS):
                    await self._woken.wait()
            if not self._woken.is_set():
                self._changed.update(self._shown)
            self._woken.clear()
            changed, self._changed = self._changed, {}
            if changed:
                await self._write(changed)
            await asyncio.sleep(PACE_SECONDS)

    async def _write(self, changed: dict[str, Glance]) -> None:
        with contextlib.suppress(*UNAVAILABLE):
            async with self._redis.pipeline(transaction=False) as pipeline:
                for job_id, glance in changed.items():
                    pipeline.set(KEY_PREFIX + job_id, glance.to_json(), ex=KEEP_SECONDS)
                await pipeline.execute()
