"""Work for the processor whose cost a caller chooses, done beside the event loop and ended after a time.

A thread would not do: what compiles a pattern or compares texts holds the interpreter, and cannot be ended. Each
worker is a process of its own that is killed when its time is over; the next call starts another.
"""

import asyncio
import contextlib
import functools
import pickle
import signal
import struct
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar, cast

import structlog

from common.kernel.metrics import WORKER_CALLS, WORKER_SECONDS

log = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

LENGTH = struct.Struct("!I")
# Beyond any start on a busy machine.
START_SECONDS = 60.0
# Between the end of what a process writes and its own.
LEAVING_SECONDS = 5.0
# A worker that nobody needs gives its memory (about 30 MB) back.
IDLE_SECONDS = 60.0
# On a busy machine the processor's time takes longer to come by.
WALL_FACTOR = 5
# Of a call, for its worker: some others may go before it.
WAIT_SECONDS = 10.0
# Far above what honest work takes, and below what a container has beside its service.
MAX_MEMORY_BYTES = 256 * 1024 * 1024
# The loop goes first.
NICENESS = 5

Report = Callable[[Any], None]


class TooDear(Exception):
    """The work took more time or memory than one call may."""


class WorkersBusy(Exception):
    """Other calls held the workers for too long; a later one may find them free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLimits:
    """What one call may take: seconds of the processor, memory, and a wait for its worker (None: any).

    A worker without work for `idle_seconds` is ended.
    """

    seconds: float = 2.0
    memory_bytes: int = MAX_MEMORY_BYTES
    niceness: int = NICENESS
    wait_seconds: float | None = WAIT_SECONDS
    idle_seconds: float = IDLE_SECONDS


class WorkerProcesses:
    """At most `size` processes; each call may take `seconds` of the processor there, or what `limits` say.

    Calls of one `share` (an organisation) go one after the other, so that one caller never holds all workers.
    `modules` are imported before the first call, whose time they would count against.
    """

    def __init__(
        self,
        *,
        modules: Sequence[str] = (),
        size: int = 2,
        seconds: float = 2.0,
        limits: WorkerLimits | None = None,
    ) -> None:
        self._modules = modules
        self._limits = limits or WorkerLimits(seconds=seconds)
        self._seconds = self._limits.seconds
        self._places = asyncio.Semaphore(size)
        self._shares: dict[str, asyncio.Lock] = {}
        self._asking: Counter[str] = Counter()  # calls of a share, the waiting ones among them
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()

    async def run(self, share: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the function returns or raises; it and its arguments travel by pickle.

        Raises TooDear, and WorkersBusy where no worker was free in time.
        """
        return await self.run_told(share, None, functools.partial(function, *args, **kwargs))

    async def run_told(self, share: str, told: Report | None, call: Callable[[], T]) -> T:
        """The same, where `told` gets what the call reports (`worker_main.report`) on its way."""
        async with self._turn(share):
            worker = await self._taken()
            began = time.monotonic()
            outcome = "lost"
            try:
                async with asyncio.timeout(WALL_FACTOR * self._seconds):
                    succeeded, value = await worker.call(call, told)
                outcome = "done"
            except (TimeoutError, asyncio.IncompleteReadError, ConnectionError) as error:
                timed_out = isinstance(error, TimeoutError) or await worker.left() == -signal.SIGPROF
                worker.kill()
                outcome = "too_dear" if timed_out else "lost"
                why = f"it takes more than {self._seconds:g} s" if timed_out else "its worker process was ended"
                raise TooDear(why) from None
            finally:
                WORKER_SECONDS.observe(time.monotonic() - began)
                WORKER_CALLS.labels(outcome).inc()
                self._give_back(worker, whole=outcome == "done")
        if succeeded:
            return value  # type: ignore[no-any-return]
        if isinstance(value, MemoryError):
            raise TooDear("it took more memory than it may")
        try:
            raise value
        finally:
            # It knows this frame by its traceback: the frame must not know it, or both stay with all that was sent.
            del value

    @asynccontextmanager
    async def _turn(self, share: str) -> AsyncIterator[None]:
        own = self._shares.setdefault(share, asyncio.Lock())
        self._asking[share] += 1
        try:
            async with AsyncExitStack() as held:
                try:
                    async with asyncio.timeout(self._limits.wait_seconds):
                        await held.enter_async_context(own)
                        await held.enter_async_context(self._places)
                except TimeoutError:
                    WORKER_CALLS.labels("busy").inc()
                    raise WorkersBusy("other work takes long; try again later") from None
                yield
        finally:
            self._asking[share] -= 1
            if not self._asking[share]:
                del self._asking[share], self._shares[share]

    async def _taken(self) -> "_Worker":
        while self._idle:
            worker = self._idle.pop()
            if worker.take():
                return worker
        self._all = {each for each in self._all if each.runs}
        worker = await _Worker.start(self._modules, self._limits)
        self._all.add(worker)
        return worker

    def _give_back(self, worker: "_Worker", *, whole: bool) -> None:
        if whole:
            worker.rest(self._limits.idle_seconds)
            self._idle.append(worker)
        else:
            worker.kill()

    async def close(self) -> None:
        """Kill all of them; a call in flight raises TooDear."""
        for worker in self._all:
            worker.kill()
            await worker.ended()


@asynccontextmanager
async def open_workers(
    modules: Sequence[str], *, size: int = 2, limits: WorkerLimits | None = None
) -> AsyncIterator[WorkerProcesses]:
    """The worker processes of a service; none runs before the first call."""
    workers = WorkerProcesses(modules=modules, size=size, limits=limits)
    try:
        yield workers
    finally:
        await workers.close()


class _Worker:
    """One process, which answers one call at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._calls = cast("asyncio.StreamWriter", process.stdin)
        self._answers = cast("asyncio.StreamReader", process.stdout)
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    async def start(cls, modules: Sequence[str], limits: WorkerLimits) -> "_Worker":
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "common.kernel.worker_main",
            str(limits.seconds),
            str(limits.memory_bytes),
            str(limits.niceness),
            *modules,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        worker = cls(process)
        try:
            async with asyncio.timeout(START_SECONDS):
                await worker._answer()
        except BaseException:
            worker.kill()
            raise
        log.debug("worker process started", pid=process.pid)
        return worker

    async def call(self, call: Callable[[], Any], told: Report | None) -> Any:
        """Whether it returned, and what it returned or raised."""
        request = pickle.dumps((call, (), {}))
        self._calls.write(LENGTH.pack(len(request)) + request)
        await self._calls.drain()
        while True:
            succeeded, value = await self._answer()
            if succeeded is not None:
                return succeeded, value
            if told is not None:
                told(value)

    async def _answer(self) -> Any:
        (length,) = LENGTH.unpack(await self._answers.readexactly(LENGTH.size))
        # Written by our own module, in a process that nobody else talks to.
        return pickle.loads(await self._answers.readexactly(length))  # noqa: S301

    def rest(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self.kill)

    @property
    def runs(self) -> bool:
        return self._process.returncode is None

    def take(self) -> bool:
        """Whether it still runs; it is not ended for idleness from now on."""
        if self._timer is not None:
            self._timer.cancel()
        return self.runs

    async def left(self) -> int | None:
        """Its exit status, where it ends by itself in a moment.

        Asked for before it is killed: `subprocess` looks first whether a process runs that it is to kill, and so takes
        the status of one that has just ended away from asyncio.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVING_SECONDS):
                return await self.ended()
        return None

    async def ended(self) -> int:
        """Its exit status, once it has one; a negative one is the signal that ended it."""
        return await self._process.wait()

    def kill(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
