"""Faults of the services: killed again and again, standing still (SIGSTOP) for good or for moments, jobs that wait."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.bench.alert_faults.fault import Fault, Scene, pulses, repeated, stopped
from tests.bench.alert_faults.provider_faults import video
from tests.bench.site import ACTIVE, USER, prepare
from tests.bench.system import Target
from tests.support.clients import Key
from tests.support.ingest import SINGLE, interaction
from tests.support.waiting import eventually

# At work at once; more than are taken over from one dead worker before somebody is told.
AT_WORK = 25
WAITING = 560
KILLS = 4
LEFT = 100
SUBMITTERS = 8
WINDOW_15M = 960.0
SETTINGS = {"SONANT_VIDEO_JOBS": str(AT_WORK), "SONANT_RESOURCE_CACHE_SECONDS": "10"}
RESTARTS = 'changes(process_start_time_seconds{job="media"}[15m])'
BACK_SECONDS = 90.0
QUEUED = "SELECT id FROM media.jobs WHERE state = 'queued' ORDER BY available_at DESC"
RUNNING = "SELECT id FROM media.jobs WHERE state = 'running'"


class VideoQueue:
    """Jobs of one organisation at a provider that takes an hour for each."""

    def __init__(self) -> None:
        self._key: Key | None = None

    async def _cancel(self, scene: Scene, ids: list[str]) -> None:
        assert self._key is not None
        for id in ids:
            await scene.call("POST", f"/v1/jobs/{id}/cancel", self._key)

    async def _ids(self, scene: Scene, statement: str) -> list[str]:
        return [row["id"] for row in await scene.execute(statement)]

    @asynccontextmanager
    async def killed(self, scene: Scene) -> AsyncIterator[None]:
        """Media dies while it has all the jobs at work that it may have."""
        self._key = key = await scene.key("media")

        async def submit(first: int) -> None:
            for number in range(first, WAITING + AT_WORK, SUBMITTERS):
                await scene.call("POST", "/v1/media/video", key, video(f"sandbox:seconds-3600 Job {number}."))

        await asyncio.gather(*(submit(first) for first in range(SUBMITTERS)))
        for kill in range(1, KILLS + 1):
            await eventually(lambda: self._all_at_work(scene), timeout=BACK_SECONDS, interval=0.5)
            scene.system.kill("media")
            await eventually(lambda: self._restarts_seen(scene, kill), timeout=BACK_SECONDS, interval=1.0)  # noqa: B023
        yield

    async def _all_at_work(self, scene: Scene) -> bool:
        return scene.system.ready("media") and len(await self._ids(scene, RUNNING)) >= AT_WORK

    async def _restarts_seen(self, scene: Scene, count: int) -> bool:
        return await scene.value(RESTARTS) >= count

    @asynccontextmanager
    async def waiting(self, scene: Scene) -> AsyncIterator[None]:
        """More jobs than the provider ever takes; then most of them are cancelled."""
        yield
        queued = await self._ids(scene, QUEUED)
        await self._cancel(scene, queued[: len(queued) - LEFT])

    @asynccontextmanager
    async def locked(self, scene: Scene) -> AsyncIterator[None]:
        """Somebody holds the rows of all waiting jobs, and those at work end."""
        async with scene.connection() as connection:
            async with connection.transaction():
                await connection.fetch(f"{QUEUED} FOR UPDATE")
                await self._cancel(scene, await self._ids(scene, RUNNING))
                yield
        await self._cancel(scene, await self._ids(scene, QUEUED) + await self._ids(scene, RUNNING))


def _target(scene: Scene) -> Target:
    return Target(scene.system.url, scene.system.key, "default", dict)


@asynccontextmanager
async def slow_cache(scene: Scene) -> AsyncIterator[None]:
    """A cache that stands still for moments, while sets are switched and read."""
    site = await prepare(_target(scene), scene.system.data_dir)
    key = Key("", site.key, site.organization)
    switches = iter(range(1_000_000))

    async def switch() -> None:
        body = {**site.pins, "promptVersion": next(switches) % 8}
        await scene.call("PUT", ACTIVE, key, body, **{"x-user-id": USER})

    async def read() -> None:
        await scene.call("GET", ACTIVE, key, **{"x-user-id": USER})

    async with repeated(0.25, switch), repeated(0.1, read), pulses(scene.system, "valkey", 0.6, 0.6):
        yield


@asynccontextmanager
async def resources_hangs(scene: Scene) -> AsyncIterator[None]:
    """Nobody fills the cache any more, and it is read."""
    site = await prepare(_target(scene), scene.system.data_dir)
    key = Key("", site.key, site.organization)

    async def read() -> None:
        await scene.call("GET", ACTIVE, key, **{"x-user-id": USER})

    with stopped(scene.system, "resources"):
        async with repeated(0.25, read):
            yield


@asynccontextmanager
async def busy_process(scene: Scene) -> AsyncIterator[None]:
    """A process that gets no CPU for half a second, again and again."""
    async with pulses(scene.system, "llm-stream", 0.5, 0.4):
        yield


@asynccontextmanager
async def slow_telemetry(scene: Scene) -> AsyncIterator[None]:
    """A telemetry that stands still for a quarter of each minute, while interactions come."""
    key, began = await scene.key("ingest"), time.monotonic()

    async def once() -> None:
        await scene.call("POST", SINGLE, key, interaction(int(time.monotonic() - began), mode="prod"))

    async with repeated(0.3, once), pulses(scene.system, "telemetry", 16.0, 44.0):
        yield


def media_lane() -> list[Fault]:
    """What becomes of one queue of videos."""
    queue = VideoQueue()
    return [
        Fault(
            {"ServiceRestarts": {"job": "media"}, "JobsLoseTheirWorker": {"kind": "video"}},
            f"media is killed {KILLS} times with {AT_WORK} jobs at work",
            queue.killed,
            end_seconds=WINDOW_15M,
            windowed=True,
        ),
        Fault(
            {"JobsWait": {"kind": "video"}},
            f"{WAITING} videos wait for a provider that takes an hour for each",
            queue.waiting,
            fire_seconds=780.0,
        ),
        Fault(
            {"JobsNotTaken": {"kind": "video"}},
            "a forgotten transaction holds the rows of all waiting jobs",
            queue.locked,
        ),
    ]


SLOW_CACHE = Fault(
    {"SlowPropagation": {}}, "the cache stands still for 0.6 s at a time", slow_cache, fire_seconds=720.0
)
RESOURCES_HANGS = Fault(
    {"ServiceDown": {"job": "resources"}, "StaleReads": {}}, "resources hangs (SIGSTOP)", resources_hangs,
    fire_seconds=720.0,
)  # fmt: skip
BUSY_PROCESS = Fault(
    {"EventLoopLag": {"job": "llm-stream"}}, "llm-stream gets no CPU for half a second at a time", busy_process
)
SLOW_TELEMETRY = Fault(
    {"InteractionsLate": {}},
    "telemetry stands still for 16 s of each minute",
    slow_telemetry,
    fire_seconds=1_200.0,
    end_seconds=900.0,
)
