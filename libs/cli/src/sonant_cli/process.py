"""One supervised process: how it is described, started, probed, restarted and ended."""

import asyncio
import ctypes
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sonant_cli.logfile import TAIL_BYTES, LogFile, OutputPipe, tail

Probe = Callable[[], Awaitable[str]]
"""Answers the empty string when ready, otherwise in a few words why not."""

FIRST_BACKOFF = 0.1
MAX_BACKOFF = 5.0
# A process that lived this long was healthy: its next death starts the backoff anew.
HEALTHY_AFTER = 30.0

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Account:
    """The operating-system account a process runs under, where it must not be root."""

    uid: int
    gid: int


@dataclass(frozen=True, kw_only=True)
class Process:
    """A row of the process table: what to run, how to know it is ready, how to end it."""

    name: str
    command: Sequence[str]
    probe: Probe
    env: Mapping[str, str]
    ops_url: str | None = None
    ready_url: str | None = None
    prepare: Callable[[], Awaitable[None]] | None = None
    account: Account | None = None
    directory: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    # What the kernel sends when the supervisor itself was killed.
    orphan_signal: signal.Signals = signal.SIGKILL


def next_backoff(delay: float, lived: float) -> float:
    """The pause (seconds) before the restart after one that waited `delay` and then lived `lived`."""
    if lived >= HEALTHY_AFTER or not delay:
        return FIRST_BACKOFF
    return min(delay * 2, MAX_BACKOFF)


async def spawn(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    stdin: int = asyncio.subprocess.DEVNULL,
    output: int | None = None,
    account: Account | None = None,
    orphan_signal: signal.Signals = signal.SIGKILL,
    directory: Path | None = None,
) -> asyncio.subprocess.Process:
    """Start `command` in a process group of its own, so that Ctrl-C reaches the supervisor alone.

    It is no session of its own: Linux shares the cores out among sessions first, and the low priority of a worker
    process counts only within one. It begins in `directory`, which is entered before the account changes.
    """
    parent = os.getpid()

    def follow_parent() -> None:
        # The parent may be gone before the request to hear of its death takes effect.
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, int(orphan_signal), 0, 0, 0)
            if os.getppid() != parent:
                os.kill(os.getpid(), signal.SIGKILL)

    return await asyncio.create_subprocess_exec(
        *command,
        env=dict(env),
        cwd=directory,
        stdin=stdin,
        stdout=output,
        stderr=asyncio.subprocess.STDOUT if output is not None else None,
        process_group=0,
        preexec_fn=follow_parent,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )


class Child:
    """A process kept alive until it is stopped.

    `trouble` says why the last attempt to run it came to nothing: its preparation or its start failed.
    """

    def __init__(self, spec: Process, log: Path, on_change: Callable[[], None]) -> None:
        self.spec = spec
        self.log = log
        self.pid: int | None = None
        self.started_at: float | None = None
        self.restarts = 0
        self.exit_code: int | None = None
        self.trouble: Exception | None = None
        self.task: asyncio.Task[None] | None = None
        self._log = LogFile(log)
        self._on_change = on_change
        self._running: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()

    def start(self) -> None:
        """Run the process from now on; `task` ends only after `stop`."""
        self.task = asyncio.create_task(self._keep_alive(), name=self.spec.name)

    def last_lines(self) -> list[str]:
        """The end of its log, without what an earlier run of the supervisor left there."""
        return tail(self.log, max_bytes=min(TAIL_BYTES, self._log.written))

    async def stop(self, budget: float) -> bool:
        """End the process: signal it, wait at most `budget` seconds, then kill; whether the signal was enough."""
        self._stopping.set()
        if self.task is None:
            return True
        self._ask()
        _, pending = await asyncio.wait([self.task], timeout=budget)
        if pending:
            self.kill()
            await asyncio.wait([self.task])
        return not pending

    def kill(self) -> None:
        """End what runs now at once, and all it started: the process leads its group."""
        if self._running:
            with suppress(ProcessLookupError):
                os.killpg(self._running.pid, signal.SIGKILL)

    async def _keep_alive(self) -> None:
        delay = 0.0
        output = OutputPipe(self._log)
        try:
            while not self._stopping.is_set():
                started = time.monotonic()
                await self._try_once(output)
                delay = next_backoff(delay, time.monotonic() - started)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), delay)
        finally:
            output.close()

    async def _try_once(self, output: OutputPipe) -> None:
        """One life of the process, or the reason why there was none."""
        try:
            await self._run_once(output)
        except Exception as error:  # noqa: BLE001 - a full disk or process table may not end what keeps the others alive
            self.trouble = error
            self.restarts += 1
            self._log.note(f"{self.spec.name} cannot be run: {error}")
            self._changed(None)

    async def _run_once(self, output: OutputPipe) -> None:
        if self.spec.prepare:
            await self.spec.prepare()
        self._running = await spawn(
            self.spec.command,
            env=self.spec.env,
            output=output.write_end,
            account=self.spec.account,
            orphan_signal=self.spec.orphan_signal,
            directory=self.spec.directory,
        )
        if self._stopping.is_set():
            self._ask()
        self.trouble = None
        self._changed(self._running.pid)
        self.exit_code = await self._running.wait()
        self._running = None
        output.drain()
        if not self._stopping.is_set():
            self.restarts += 1
            self._log.note(f"{self.spec.name} ended with {describe_exit(self.exit_code)}, starting again")
        self._changed(None)

    def _ask(self) -> None:
        if self._running:
            with suppress(ProcessLookupError):
                self._running.send_signal(self.spec.stop_signal)

    def _changed(self, pid: int | None) -> None:
        self.pid = pid
        self.started_at = time.time() if pid else None
        self._on_change()


def describe_exit(code: int) -> str:
    """An exit status as an operator would say it."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
