"""How far jobs are, for the clients that watch them: one look a few times a second, for all of them together."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from contextlib import contextmanager

from common.failures import StoreUnavailableError
from common.jobs.glance import Glance
from gateway.ports import JobGlances

LOOK_SECONDS = 0.1
# While the live store is away; those who watch ask for the job itself meanwhile.
AWAY_SECONDS = 1.0
# How long it is taken for known whether a queue has room.
FULL_SECONDS = 0.25
# Of which that is remembered, by kind and organisation.
MAX_PLACES = 1000


class Watched:
    """One client that watches one job."""

    def __init__(self) -> None:
        self._newest: Glance | None = None
        self._changed = asyncio.Event()

    def note(self, glance: Glance) -> None:
        """The job is this far now."""
        if glance != self._newest:
            self._newest = glance
            self._changed.set()

    async def next(self, seconds: float) -> Glance | None:
        """The state of the job as soon as it is another one; None where it is not within so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        if not self._changed.is_set():
            return None
        self._changed.clear()
        return self._newest


class JobWatch:
    """All clients of this process that watch jobs, and whether a queue has room."""

    def __init__(self, store: JobGlances) -> None:
        self._store = store
        self._watched: dict[str, set[Watched]] = {}
        self._wanted = asyncio.Event()
        self._full: dict[tuple[str, str], tuple[float, bool]] = {}

    @contextmanager
    def watching(self, job_id: str) -> Iterator[Watched]:
        """Watch a job inside the block."""
        watched = Watched()
        self._watched.setdefault(job_id, set()).add(watched)
        self._wanted.set()
        try:
            yield watched
        finally:
            self._watched[job_id].discard(watched)
            if not self._watched[job_id]:
                del self._watched[job_id]

    async def full(self, kind: str, org_id: str) -> bool:
        """Whether no more jobs are taken; where nobody can tell they are, and the service that does them decides.

        What was found holds for a moment, so that a flood of requests asks a few times a second.
        """
        now, place = time.monotonic(), (kind, org_id)
        until, full = self._full.get(place, (0.0, False))
        if now < until:
            return full
        if len(self._full) >= MAX_PLACES:
            self._full.clear()
        # The others need not wait for the answer.
        self._full[place] = now + FULL_SECONDS, full
        try:
            full = await self._store.full(kind, org_id)
        except StoreUnavailableError:
            full = False
        self._full[place] = now + FULL_SECONDS, full
        return full

    async def run(self) -> None:
        """Look until cancelled, while anybody watches."""
        while True:
            await self._wanted.wait()
            if not self._watched:
                self._wanted.clear()
                continue
            try:
                await self._look()
            except StoreUnavailableError:
                await asyncio.sleep(AWAY_SECONDS)
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        job_ids = list(self._watched)
        for job_id, glance in zip(job_ids, await self._store.glances(job_ids), strict=True):
            if glance is not None:
                for watched in self._watched.get(job_id, ()):
                    watched.note(glance)
