"""One process from start to end: settings, engines, deps, consumer, ops port, signals, drain."""

import asyncio
import contextlib
import ctypes
import gc
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog
import uvloop
from aiohttp import web

from common.bus import connect
from common.bus.live.reader import LiveReader
from common.bus.live.signals import SignalHandlers
from common.bus.live.writer import LiveWriter, open_writer
from common.bus.log_watch import LogWatch
from common.bus.port import BusUnavailableError, Log
from common.events.registry import topics
from common.kernel import instance_name, logs, presence, tracing
from common.kernel.consumer import Consumer
from common.kernel.fit_engines import unfit
from common.kernel.handlers import Handlers
from common.kernel.health import Health, ops_routes
from common.kernel.loop_pauses import watch_pauses
from common.kernel.metrics import CONSUMER_STALLED
from common.kernel.settings import CommonSettings
from common.kernel.tasks import Tasks, end
from common.storage.redis import NO_EVICTION, UNAVAILABLE, Redis, eviction_policy, open_redis
from common.storage.resp import open_resp

log = structlog.get_logger(__name__)

S = TypeVar("S", bound=CommonSettings)
D = TypeVar("D")

ENGINE_RETRY_SECONDS = 0.2
WATCH_SECONDS = 1.0
STALLED_LOOKS = 5
# Of `mallopt` in glibc; larger blocks are mapped on their own, and go back to the system when they are freed.
M_MMAP_THRESHOLD = -3
LARGE_BLOCK_BYTES = 256 * 1024
# The default first threshold of 700 objects is a few requests; most of ours die by reference counting anyway.
GC_THRESHOLDS = (50_000, 20, 20)


@dataclass(frozen=True, slots=True)
class Kernel:
    """What the kernel lends to a service."""

    settings: CommonSettings
    log: Log
    live: LiveWriter
    redis: Redis
    health: Health
    tasks: Tasks

    @asynccontextmanager
    async def read_live(self, instance: str, signals: SignalHandlers = ()) -> AsyncIterator[LiveReader]:
        """The live reader of this process, running; its mailbox exists when this returns."""
        async with open_resp(self.settings.redis_url) as reading, open_resp(self.settings.redis_url) as beating:
            reader = LiveReader(reading, beating, instance, signals)
            await reader.open()
            tasks = [self.tasks.spawn(reader.read(), "live-read"), self.tasks.spawn(reader.beat(), "live-beat")]
            self.health.watch("live", reader.complaint)
            try:
                yield reader
            finally:
                for task in tasks:
                    task.cancel()
                await reader.close()


OpenDeps = Callable[[S, Kernel], AbstractAsyncContextManager[D]]
Serve = Callable[[S, Kernel, D], AbstractAsyncContextManager[None]]


class Service(Generic[S, D]):
    """A service: what it works with (`deps`), what it handles (`consumes`), what it serves (`serves`).

    A service that nobody waits for fetches what comes within `gather_seconds` in one go, which costs less.
    """

    def __init__(
        self,
        name: str,
        settings: S,
        *,
        deps: OpenDeps[S, D],
        consumes: Handlers[D] | None = None,
        serves: Serve[S, D] | None = None,
        gather_seconds: float = 0.0,
    ) -> None:
        self._name = name
        self._settings = settings
        self._open_deps = deps
        self._consumes = consumes or ()
        self._serves = serves
        self._gather_seconds = gather_seconds
        self._refused = os.EX_OK

    def run(self) -> None:
        """Run until SIGINT or SIGTERM; exits with 1 when a part died, and 69 where an engine can never be used."""
        logs.configure(self._name, self._settings.instance, self._settings.log_level)
        tracing.configure(self._name, self._settings)
        try:
            code = uvloop.run(self._main())
        finally:
            tracing.close()
        sys.exit(code)

    async def _main(self) -> int:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        health, tasks = Health(), Tasks()
        stopped = tasks.spawn(stop.wait(), "await-stop")
        async with AsyncExitStack() as stack:
            stack.push_async_callback(tasks.close)
            await stack.enter_async_context(serve_http([ops_routes(health)], self._settings))
            running = tasks.spawn(self._serve(health, tasks, stop), "serve")
            await asyncio.wait({running, stopped, tasks.failed}, return_when=asyncio.FIRST_COMPLETED)
            stop.set()
            if health.starting:
                # Nothing is in flight yet, and what it waits for may never come.
                running.cancel()
            await asyncio.wait({running})
            return 1 if tasks.failed.done() else self._refused

    async def _serve(self, health: Health, tasks: Tasks, stop: asyncio.Event) -> None:
        settings = self._settings
        async with AsyncExitStack() as stack:
            redis = await stack.enter_async_context(open_redis(settings.redis_url))
            durable = await stack.enter_async_context(connect.open_log(settings, redis))
            live = await stack.enter_async_context(open_writer(settings.redis_url))
            kernel = Kernel(settings, durable, live, redis, health, tasks)
            if not await self._engines_fit(kernel, stop):
                return
            try:
                name = f"{self._name}/{settings.instance}"
                await stack.enter_async_context(instance_name.holding(redis, settings.redis_url, name))
            except instance_name.NameTakenError as error:
                log.error(str(error))
                self._refused = 1
                return
            deps = await stack.enter_async_context(self._open_deps(settings, kernel))
            tasks.spawn(watch_pauses(settings.pause_look_seconds), "watch-pauses")
            if self._serves is not None:
                await stack.enter_async_context(self._serves(settings, kernel, deps))
            health.state("ready")
            _settle_memory()
            log.info("serving")
            await self._consume(kernel, deps, stop)
            health.state("stopping")

    async def _engines_fit(self, kernel: Kernel, stop: asyncio.Event) -> bool:
        """Wait until the engines can be used; False if stopped meanwhile, or where one never can be."""
        if await _engines_up(kernel, stop):
            return True
        if not stop.is_set():
            self._refused = os.EX_UNAVAILABLE
        return False

    async def _consume(self, kernel: Kernel, deps: D, stop: asyncio.Event) -> None:
        if not self._consumes:
            await _only_publish(kernel, stop)
            return
        consumer = Consumer(
            log=kernel.log,
            live=kernel.live,
            group=self._name,
            instance=kernel.settings.instance,
            handlers=self._consumes,
            deps=deps,
            concurrency=kernel.settings.concurrency,
            work_bytes=kernel.settings.work_bytes,
            gather_seconds=self._gather_seconds,
            drain_seconds=kernel.settings.drain_seconds,
            place_seconds=kernel.settings.place_seconds,
        )
        kernel.health.watch("consumer", consumer.complaint)
        kernel.tasks.spawn(_watch_progress(consumer, self._name), "watch-progress")
        name = f"{self._name}/{kernel.settings.instance}"
        telling = kernel.tasks.spawn(
            presence.announce(kernel.redis, name, consumer.topics, consumer.serving, kernel.health.complaints),
            "announce-presence",
        )
        consuming = asyncio.create_task(consumer.run(), name="consume")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        await asyncio.wait({consuming, stopping}, return_when=asyncio.FIRST_COMPLETED)
        kernel.health.state("stopping")
        consumer.stop()
        stopping.cancel()
        await end(telling)
        await presence.take_leave(kernel.redis, name)
        await consuming


async def _only_publish(kernel: Kernel, stop: asyncio.Event) -> None:
    """Wait for the stop; nothing reads here that would notice that the log is away."""
    watch = LogWatch()
    kernel.health.watch("log", watch.complaint)
    watching = kernel.tasks.spawn(watch.run(kernel.log), "watch-log")
    await stop.wait()
    watching.cancel()


@asynccontextmanager
async def serve_http(routes: list[list[web.RouteDef]], settings: CommonSettings) -> AsyncIterator[None]:
    """The ops port, up from the first moment so that a start can be watched."""
    app = web.Application()
    for table in routes:
        app.add_routes(table)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.ops_host, settings.ops_port).start()
        yield
    finally:
        await runner.cleanup()


async def _engines_up(kernel: Kernel, stop: asyncio.Event) -> bool:
    """Wait until log and live channel answer and the topics are as declared.

    False if stopped meanwhile, or where an engine is of a kind that cannot be used.
    """
    waiting = ""
    kernel.health.watch("engines", lambda: waiting)
    while not stop.is_set():
        try:
            if why := await unfit(kernel.settings):
                log.error(why)
                return False
            await kernel.log.ensure(topics())
            await kernel.live.listening("sonant:boot")
            await _look_at_eviction(kernel)
        except (BusUnavailableError, *UNAVAILABLE) as error:
            if not waiting:
                log.warning("waiting for the engines", error=str(error))
            waiting = str(error)
            await asyncio.sleep(ENGINE_RETRY_SECONDS)
        else:
            waiting = ""
            return True
    return False


async def _look_at_eviction(kernel: Kernel) -> None:
    """Warn where limits and turns in progress may be evicted: no accepted work is lost, since that is on the log."""
    if kernel.settings.log_url == kernel.settings.redis_url:
        return
    with contextlib.suppress(*UNAVAILABLE):
        policy = await eviction_policy(kernel.redis)
        if policy != NO_EVICTION:
            log.warning("SONANT_REDIS_URL should have the maxmemory-policy noeviction", policy=policy or "unknown")


def _settle_memory() -> None:
    """Leave what the start allocated out of every later collection, collect less often, and give large blocks back.

    By itself glibc keeps blocks of up to 32 MiB once some were freed: a few large requests would stay for good.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


async def _watch_progress(consumer: Consumer, group: str) -> None:
    """Bring the process down when the consumer is wedged: a restart is the one cure that always works."""
    looks = 0
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        # A process that stood still itself looks before its consumer could move.
        looks = looks + 1 if consumer.stalled else 0
        if looks >= STALLED_LOOKS:
            CONSUMER_STALLED.labels(group).inc()
            raise RuntimeError(f"consumer of {group} stopped moving despite lag")
