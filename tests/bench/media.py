"""Jobs on the running system: how fast they are accepted and begun, what 200 at once take, what voice turns feel."""

import asyncio
import statistics
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import orjson
import psutil

from common.kernel.worker_processes import IDLE_SECONDS
from tests.bench.load import percentile
from tests.bench.measure import MEBIBYTE, cpu_between, usage_of
from tests.bench.system import Target, generate
from tests.support.films import film, shot
from tests.support.media_load import ACCOUNT
from tests.support.waiting import eventually

# Of the provider, and rendered here; small, since pixels are not what is measured.
TASK = {"prompt": "a red kite over the sea", "model": "pixverse:1@1", "resolution": "360p"}
RENDERED = {"prompt": "a red kite over the sea", "model": "local", "resolution": "720p", "duration": 30}
# Longer than anything that is measured while tasks are under way.
TASK_SECONDS = 120.0
WAIT_SECONDS = 60.0
STREAMS = 10
# Enough to keep the processes busy for as long as turns are measured.
ANALYSES, SCENE_FRAMES = 12, 150


@dataclass
class MediaReport:
    """All figures of media. Times in ms, memory in MiB, CPU in seconds per 1,000 jobs.

    `voice` is the p99 of first chunks, idle, beside renderings and beside analyses of content.
    """

    accepted: int = 0
    accepted_rate: float = 0.0
    accept_p50: float = 0.0
    first_progress: list[float] = field(default_factory=list)
    cpu: dict[str, float] = field(default_factory=dict)
    at_work: int = 0
    memory: float = 0.0
    voice_idle: float = 0.0
    voice_beside: float = 0.0
    voice_analysing: float = 0.0
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        return sum(self.reasons.values())

    @property
    def voice_ratio(self) -> float:
        """How much longer the slowest first chunks take beside renderings."""
        return self.voice_beside / self.voice_idle if self.voice_idle else 0.0

    @property
    def analysing_ratio(self) -> float:
        """The same beside analyses."""
        return self.voice_analysing / self.voice_idle if self.voice_idle else 0.0

    def refuse(self, reason: str) -> None:
        self.reasons[reason] = self.reasons.get(reason, 0) + 1


@dataclass(frozen=True)
class MediaPlan:
    """How much to measure; `jobs` fit into the queue of one organisation."""

    jobs: int = 900
    connections: int = 32
    watched: int = 30
    at_work: int = 200
    voice_seconds: float = 8.0

    def run(self, log: str, target: Target, provider_url: str) -> MediaReport:
        """Measure one running system, whose media is on the sandbox."""
        report = MediaReport()
        at_rest = _processes(target)
        print(f"{log}: first progress of {self.watched} jobs ...", flush=True)
        asyncio.run(self._first_progress(target, provider_url, report))
        print(f"{log}: voice turns, idle, beside renderings and beside analyses ...", flush=True)
        report.voice_idle = self._voice(target)
        with_renderings = asyncio.run(self._render(target))
        report.voice_beside = self._voice(target)
        asyncio.run(_cancel(target, *with_renderings))
        with_analyses = asyncio.run(self._analyse(target))
        report.voice_analysing = self._voice(target)
        asyncio.run(_cancel(target, *with_analyses))
        print(f"{log}: until the processes of the analyses have ended ...", flush=True)
        asyncio.run(_at_rest(target, at_rest))
        print(f"{log}: {self.jobs} jobs accepted, {self.at_work} of them at work ...", flush=True)
        asyncio.run(self._flood(target, provider_url, report))
        return report

    def _voice(self, target: Target) -> float:
        load = ["tests.bench.load", "--streams", str(STREAMS), "--model", target.model]
        return generate(target, load, self.voice_seconds, 1.0, {}).load.first_p99

    async def _first_progress(self, target: Target, provider_url: str, report: MediaReport) -> None:
        await _arrange(provider_url, 0.1)
        async with _owner(target) as client:
            for _ in range(self.watched):
                began = time.perf_counter()
                job = (await client.post("/v1/media/video", json=TASK)).json()
                await _started(client, job["id"])
                report.first_progress.append((time.perf_counter() - began) * 1000)

    async def _render(self, target: Target) -> tuple[str, list[str]]:
        """Have every worker process render for as long as turns are measured; the key and the jobs, to be ended."""
        async with _owner(target) as client:
            jobs = [(await client.post("/v1/media/video", json=RENDERED)).json()["id"] for _ in range(6)]
            await _until(client, {"state": "running"}, 6)
            return client.headers["authorization"], jobs

    async def _analyse(self, target: Target) -> tuple[str, list[str]]:
        """Have every worker process decode and measure a film; as `_render`."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "film.mp4"
            scenes = [shot(seed, SCENE_FRAMES, 1280, 720) for seed in range(4)]
            data = await asyncio.to_thread(
                lambda: film(path, scenes[0] + scenes[1] + scenes[2] + scenes[3]).read_bytes()
            )
        async with _owner(target) as client:
            asset = (await client.post("/v1/assets", content=data)).json()["id"]
            wanted = {"asset_id": asset, "project": "bench"}
            jobs = [(await client.post("/v1/media/process", json=wanted)).json()["id"] for _ in range(ANALYSES)]
            await _until(client, {"state": "running"}, 4)
            return client.headers["authorization"], jobs

    async def _flood(self, target: Target, provider_url: str, report: MediaReport) -> None:
        await _arrange(provider_url, TASK_SECONDS)
        async with _owner(target) as client:
            before = usage_of(target.pids())
            await self._accepted(target, client.headers["authorization"], report)
            used = cpu_between(before, usage_of(target.pids()))
            report.cpu = {name: 1000 * seconds / self.jobs for name, seconds in used.items()}
            report.at_work = await _until(client, {"state": "running"}, self.at_work)
        report.memory = usage_of({"media": target.pids()["media"]})["media"].resident / MEBIBYTE

    async def _accepted(self, target: Target, authorization: str, report: MediaReport) -> None:
        """Submit all jobs. By aiohttp: the generator shares the cores with what it measures."""
        times: list[float] = []
        waiting = iter(range(self.jobs))
        async with aiohttp.ClientSession(target.url, headers={"authorization": authorization}) as session:

            async def submit() -> None:
                for _ in waiting:
                    at = time.perf_counter()
                    async with session.post("/v1/media/video", json=TASK) as answer:
                        text = await answer.text()
                    times.append(time.perf_counter() - at)
                    if answer.status != 202:
                        report.refuse(f"{answer.status} {text[:100]}")

            began = time.perf_counter()
            await asyncio.gather(*(submit() for _ in range(self.connections)))
            took = time.perf_counter() - began
        report.accepted = len(times) - report.failed
        report.accepted_rate = report.accepted / took
        report.accept_p50 = statistics.median(times) * 1000


def _processes(target: Target) -> int:
    """How many processes media consists of."""
    return 1 + len(psutil.Process(target.pids()["media"]).children(recursive=True))


async def _at_rest(target: Target, processes: int) -> None:
    """Wait until media has no more processes than that: workers without work still hold their models for a while."""
    await eventually(lambda: _processes(target) <= processes, timeout=IDLE_SECONDS + WAIT_SECONDS, interval=0.5)


async def _until(client: httpx.AsyncClient, query: dict[str, Any], count: int) -> int:
    """Wait until there are so many jobs of a sort; how many there are in the end."""
    deadline, found = time.monotonic() + WAIT_SECONDS, 0
    while found < count and time.monotonic() < deadline:
        after: dict[str, Any] = {}
        found, more = 0, True
        while more:
            page = (await client.get("/v1/jobs", params={**query, **after, "limit": 100})).json()
            found += len(page["data"])
            more = page["has_more"] and found < count
            after = {"after": page["data"][-1]["id"]} if page["data"] else {}
        await asyncio.sleep(0.2)
    return found


async def _started(client: httpx.AsyncClient, job_id: str) -> None:
    async with client.stream("GET", f"/v1/jobs/{job_id}/events") as events:
        async for line in events.aiter_lines():
            if line == "event: started":
                return


async def _cancel(target: Target, authorization: str, jobs: list[str]) -> None:
    async with httpx.AsyncClient(base_url=target.url, headers={"authorization": authorization}) as client:
        for job in jobs:
            await client.post(f"/v1/jobs/{job}/cancel")


async def _arrange(provider_url: str, task_seconds: float) -> None:
    async with httpx.AsyncClient() as client:
        order = {"task_seconds": task_seconds}
        await client.put(f"{provider_url}/sandbox/runware/{ACCOUNT}", content=orjson.dumps(order))


@asynccontextmanager
async def _owner(target: Target) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an organisation of its own."""
    body = {"name": "bench", "organization": f"media-{uuid.uuid4().hex[:8]}", "scopes": ["media"]}
    limits = httpx.Limits(max_connections=64)
    async with httpx.AsyncClient(base_url=target.url, timeout=30.0, limits=limits) as client:
        made = await client.post("/v1/admin/keys", json=body, headers={"authorization": f"Bearer {target.key}"})
        client.headers["authorization"] = f"Bearer {made.json()['key']}"
        yield client


def median_and_slowest(times: list[float]) -> tuple[float, float]:
    """Median and 99th percentile."""
    return percentile(times, 0.5), percentile(times, 0.99)
