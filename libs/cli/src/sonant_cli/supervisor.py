"""Starts a table of processes in stages, keeps them alive, and ends them in reverse."""

import asyncio
import os
import re
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

import psutil

from sonant_cli.errors import CliError, SettingsError
from sonant_cli.process import Child, Process
from sonant_cli.state import DataDir

START_TIMEOUT = 60.0
DRAIN_BUDGET = 10.0
# Seconds that the last processes of the row get when the others used up the drain.
MIN_DRAIN = 1.0
PROBE_INTERVAL = 0.03
# Seconds between attempts to write a record that could not be written.
RECORD_RETRY = 1.0
# A process that dies this often before it was ready once will not get there by trying again.
MAX_EARLY_DEATHS = 3
LEFTOVER_PATIENCE = 5.0
REFUSED_SETTING = re.compile(r"[A-Z][A-Z0-9_]+: ")


class StartError(CliError):
    """A process did not become ready; the message names it, says why, and ends with its log's last lines."""


@dataclass(kw_only=True)
class Supervisor:
    """Runs `stages` (each a row of processes started together once the stage before is ready)."""

    data: DataDir
    url: str
    urls: Mapping[str, str]
    stages: Sequence[Sequence[Process]]
    on_ready: Callable[[], None]
    progress: Callable[[str], None] = lambda _: None
    start_timeout: float = START_TIMEOUT
    drain_budget: float = DRAIN_BUDGET
    _children: list[Child] = field(default_factory=list)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _recording: bool = True
    _unwritten: str = ""

    async def run(self) -> None:
        """Serve until SIGINT or SIGTERM; everything started has ended when this returns or raises.

        The caller holds the data directory's lock.

        Once all was ready, nothing ends it but a signal: what dies or cannot be run is tried again for ever.

        Raises:
            StartError: a process did not become ready.
            SettingsError: one refused its settings.
        """
        end_recorded(self.data)
        self._children = [self._child(spec) for stage in self.stages for spec in stage]
        work = asyncio.create_task(self._work())
        self._listen()
        try:
            await self._until_stopped(work)
        finally:
            work.cancel()
            await asyncio.wait([work])
            await self._end()

    def _child(self, spec: Process) -> Child:
        return Child(spec, self.data.logs / f"{spec.name}.log", self._record)

    def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signalled)

    def _signalled(self) -> None:
        """The first signal ends everything in good order, the second at once."""
        if self._stop.is_set():
            for child in self._children:
                child.kill()
        self._stop.set()

    async def _until_stopped(self, work: "asyncio.Task[None]") -> None:
        stop = asyncio.create_task(self._stop.wait())
        await asyncio.wait([work, stop], return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if work.done():
            work.result()

    async def _work(self) -> None:
        """Bring everything up, say so, and keep the records true."""
        deadline = time.monotonic() + self.start_timeout
        remaining = list(self._children)
        for stage in self.stages:
            row, remaining = remaining[: len(stage)], remaining[len(stage) :]
            for child in row:
                child.start()
            await asyncio.gather(*(self._ready(child, deadline) for child in row))
        with suppress(OSError):
            # Where its output goes may be full, too.
            self.on_ready()
        while True:
            await asyncio.sleep(RECORD_RETRY)
            if self._unwritten:
                self._record()

    async def _ready(self, child: Child, deadline: float) -> None:
        began = time.monotonic()
        while why := await child.spec.probe():
            _raise_if_hopeless(child)
            if child.restarts >= MAX_EARLY_DEATHS:
                raise _start_error(child, f"died {child.restarts} times while starting")
            if time.monotonic() > deadline:
                raise _start_error(child, f"is not ready after {self.start_timeout:g} s ({why})")
            await asyncio.sleep(PROBE_INTERVAL)
        self._tell(f"{child.spec.name} is ready ({time.monotonic() - began:.1f} s)")

    def _tell(self, text: str) -> None:
        """Show a line, where there is room for it."""
        with suppress(OSError):
            self.progress(text)

    async def _end(self) -> None:
        """End the processes one by one, last started first: who depends on another ends before it."""
        deadline = time.monotonic() + self.drain_budget
        for child in reversed(self._children):
            if not await child.stop(max(MIN_DRAIN, deadline - time.monotonic())):
                self._tell(f"{child.spec.name} did not end in time and was killed")
        self._recording = False
        with suppress(OSError):
            self.data.run_file.unlink(missing_ok=True)

    def _record(self) -> None:
        """Write what runs and where the engines are; what cannot be written is tried again until it is."""
        if not self._recording:
            return
        try:
            self.data.write_urls(self.urls)
            self.data.write_run(describe(self.url, self._children))
        except OSError as error:
            if not self._unwritten:
                self._tell(f"run.json and urls.json cannot be written now: {error}. All processes are kept running.")
            self._unwritten = str(error)
        else:
            if self._unwritten:
                self._tell("run.json and urls.json are written again")
            self._unwritten = ""


def describe(url: str, children: Sequence[Child]) -> dict[str, Any]:
    """The content of `run.json`: the supervisor, and every process by name."""
    return {
        "url": url,
        "pid": os.getpid(),
        "processes": {child.spec.name: _describe_child(child) for child in children},
    }


def _describe_child(child: Child) -> dict[str, Any]:
    return {
        "pid": child.pid,
        "ops_url": child.spec.ops_url,
        "ready_url": child.spec.ready_url,
        "restarts": child.restarts,
        "log": str(child.log),
        "started_at": child.started_at,
    }


def _raise_if_hopeless(child: Child) -> None:
    """Raise what another attempt would meet again."""
    if child.trouble is not None:
        raise _start_error(child, f"cannot be run: {child.trouble}") from child.trouble
    if child.exit_code == os.EX_CONFIG:
        raise SettingsError(f"{child.spec.name} refuses its settings: {'; '.join(_refused_settings(child))}")


def _refused_settings(child: Child) -> list[str]:
    """The lines `SONANT_NAME: why` with which its last life ended."""
    # The last line is our own, about how it ended.
    before = child.last_lines()[:-1]
    refused = list(takewhile(REFUSED_SETTING.match, reversed(before)))
    return refused[::-1] or [f"see {child.log}"]


def _start_error(child: Child, why: str) -> StartError:
    lines = child.last_lines()
    shown = "\n".join(f"  {line}" for line in lines) if lines else "  (empty)"
    return StartError(f"{child.spec.name} {why}\nlast lines of {child.log}:\n{shown}")


def end_recorded(data: DataDir) -> None:
    """Kill what a supervisor that was killed itself left running, where the kernel did not do so."""
    left = []
    for entry in data.read_run().get("processes", {}).values():
        if not entry.get("pid"):
            continue
        with suppress(psutil.Error):
            process = psutil.Process(entry["pid"])
            if _is_recorded(process, entry):
                process.kill()
                left.append(process)
    psutil.wait_procs(left, timeout=LEFTOVER_PATIENCE)


def _is_recorded(process: psutil.Process, entry: Mapping[str, Any]) -> bool:
    """Whether the process is alive and the one on record: the same pid with another birthday is a stranger."""
    born = abs(process.create_time() - entry["started_at"]) < 1
    return born and process.status() != psutil.STATUS_ZOMBIE
