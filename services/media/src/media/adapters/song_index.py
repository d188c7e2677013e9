"""The port `SongVectors`: indexes in a process of their own, which begins when it is first asked."""

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from common.failures import Refused
from common.kernel.worker_processes import TooDear, WorkerLimits, WorkerProcesses, WorkersBusy
from common.storage.objects import object_key
from media.metrics import SONG_INDEX_SECONDS, SONG_VECTORS
from media.song_ports import Nearest, SongRows
from media.song_vectors import index_calls

T = TypeVar("T")
PROCESS = "media.song_vectors.index_process"
# A graph of ten thousand vectors is built in some seconds; a million would not fit into the memory.
LIMITS = WorkerLimits(seconds=120.0, memory_bytes=2 * 1024**3, niceness=5, wait_seconds=10.0)
AT_ONCE = 2_000
# How long a question waits for an index that is far behind; it is brought up meanwhile.
PATIENCE_SECONDS = 8.0
NONE = Nearest((), exact=True)


class SongIndex:
    """Indexes below `folder`, brought up from the rows whenever they are behind."""

    def __init__(self, workers: WorkerProcesses, rows: SongRows, folder: Path) -> None:
        self._workers = workers
        self._rows = rows
        self._folder = folder
        self._refreshing: dict[str, asyncio.Task[None]] = {}
        # Those with songs that were asked for: the process of the index is not begun for others.
        self._asked: set[str] = set()

    async def nearest(self, org_id: str, vector: bytes, limit: int, among: Sequence[int] | None = None) -> Nearest:
        """As the port says."""
        if limit < 1:
            return NONE
        ask = functools.partial(self._run, org_id, index_calls.nearest, self._path(org_id), vector, limit, among)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await self._up_to_date(org_id, ask)
        except TimeoutError:
            raise _not_ready() from None

    async def _up_to_date(self, org_id: str, ask: Callable[[], Awaitable[tuple[int, Nearest]]]) -> Nearest:
        """What the index finds once it knows every change before the call."""
        if org_id in self._asked:
            # It mostly knows them: it looks while their clock is read.
            (clock, songs), (known, found) = await asyncio.gather(self._rows.totals(org_id), ask())
        else:
            clock, songs = await self._rows.totals(org_id)
            known, found = await ask() if songs else (clock, NONE)
        if not songs:
            self._asked.discard(org_id)
            return NONE
        self._asked.add(org_id)
        while known < clock:
            await self.refresh(org_id)
            known, found = await ask()
        return found

    async def refresh(self, org_id: str) -> None:
        """As the port says; those who ask at the same time wait for the same work."""
        task = self._refreshing.get(org_id)
        if task is None:
            task = self._refreshing[org_id] = asyncio.create_task(self._brought_up(org_id))
            task.add_done_callback(lambda _: self._refreshing.pop(org_id, None))
        # Whoever goes away leaves the work to the others.
        await asyncio.shield(task)

    async def close(self) -> None:
        """End the work that is under way."""
        for task in list(self._refreshing.values()):
            task.cancel()
        await asyncio.gather(*self._refreshing.values(), return_exceptions=True)

    async def _brought_up(self, org_id: str) -> None:
        since, path = time.perf_counter(), self._path(org_id)
        clock = await self._run(org_id, index_calls.clock_of, path)
        while (changes := await self._rows.changes(org_id, clock, AT_ONCE)).clock > clock:
            clock = await self._run(org_id, index_calls.apply, path, changes.clock, changes.added, changes.removed)
            SONG_VECTORS.labels("added").inc(len(changes.added))
            SONG_VECTORS.labels("removed").inc(len(changes.removed))
        SONG_INDEX_SECONDS.observe(time.perf_counter() - since)

    def _path(self, org_id: str) -> Path:
        return self._folder / f"{object_key('songs', org_id, 'vectors')}.npz"

    async def _run(self, org_id: str, function: Callable[..., T], *args: Any) -> T:
        try:
            return await self._workers.run(org_id, function, *args)
        except (TooDear, WorkersBusy) as error:
            raise _not_ready(str(error)) from None


def _not_ready(why: str = "it is being brought up to date") -> Refused:
    message = f"The index of songs cannot answer now: {why}. Try again in a moment."
    return Refused(503, message, "index_not_ready", type="server_error", headers={"retry-after": "2"})
