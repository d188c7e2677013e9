"""Worker processes: what takes too long is ended, the next call finds a worker, and one caller never holds all."""

import asyncio
import contextlib
import gc
import os
import re
import signal
import weakref
from collections.abc import AsyncIterator

import pytest

from common.kernel.worker_main import report
from common.kernel.worker_processes import TooDear, WorkerLimits, WorkerProcesses

SECONDS = 0.5


def pid() -> int:
    return os.getpid()


def work_for_ever() -> None:
    while True:
        pass


def match_for_ever() -> None:
    """Holds the interpreter, as no thread could be kept from doing."""
    re.search("(a+)+$", "a" * 40 + "!")


def die() -> None:
    os._exit(3)


def eat_memory() -> int:
    return len(bytearray(1024 * 1024 * 1024))


def refuse() -> None:
    raise ValueError("no")


def print_something() -> str:
    print("not an answer")
    return "the answer"


def count() -> str:
    for number in range(3):
        report(number)
    return "counted"


class Large:
    """What is sent along."""


def refuse_it(_: Large) -> None:
    raise ValueError("no")


@pytest.fixture
async def workers() -> AsyncIterator[WorkerProcesses]:
    workers = WorkerProcesses(modules=[__name__], seconds=SECONDS)
    yield workers
    await workers.close()


async def test_work_is_done_in_a_process_that_stays(workers: WorkerProcesses) -> None:
    first, second = await workers.run("a", pid), await workers.run("b", pid)
    assert first == second != os.getpid()
    assert await workers.run("a", print_something) == "the answer"


async def test_what_the_work_raises_is_raised(workers: WorkerProcesses) -> None:
    with pytest.raises(ValueError, match=r"^no$"):
        await workers.run("a", refuse)


async def test_what_the_work_raises_keeps_nothing_of_what_was_sent(workers: WorkerProcesses) -> None:
    sent = Large()
    left = weakref.ref(sent)
    gc.disable()
    try:
        with contextlib.suppress(ValueError):
            await workers.run("a", refuse_it, sent)
        del sent
        assert left() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("work", [work_for_ever, match_for_ever, die, eat_memory])
async def test_work_without_end_is_ended_and_the_next_is_done(workers: WorkerProcesses, work: object) -> None:
    before = await workers.run("a", pid)
    with pytest.raises(TooDear):
        await workers.run("a", work)  # type: ignore[arg-type]
    after = await workers.run("a", pid)
    assert (after == before) == (work is eat_memory)


async def test_a_worker_that_was_killed_is_replaced(workers: WorkerProcesses) -> None:
    killed = await workers.run("a", pid)
    os.kill(killed, signal.SIGKILL)
    with contextlib.suppress(TooDear):
        # Whether the end is noticed before this call or in it.
        assert await workers.run("a", pid) != killed
    assert await workers.run("a", pid) != killed


async def test_one_caller_holds_one_worker(workers: WorkerProcesses) -> None:
    await asyncio.gather(workers.run("a", pid), workers.run("b", pid))
    dear = [asyncio.create_task(workers.run("a", work_for_ever)) for _ in range(3)]
    served = 0
    while not all(task.done() for task in dear):
        await workers.run("b", pid)
        served += 1
    await asyncio.gather(*dear, return_exceptions=True)
    # Three times the limit went by; the other caller was served all along.
    assert served


async def test_a_caller_that_leaves_ends_its_work(workers: WorkerProcesses) -> None:
    worker = await workers.run("a", pid)
    task = asyncio.create_task(workers.run("a", work_for_ever))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await workers.run("a", pid) != worker


async def test_a_call_reports_how_far_it_is(workers: WorkerProcesses) -> None:
    told: list[int] = []
    assert await workers.run_told("a", told.append, count) == "counted"
    assert told == [0, 1, 2]
    # Where nobody listens it goes nowhere.
    assert await workers.run("a", count) == "counted"


async def test_limits_are_those_of_the_workers() -> None:
    limits = WorkerLimits(seconds=5.0, memory_bytes=2 * 1024 * 1024 * 1024, niceness=7, wait_seconds=None)
    workers = WorkerProcesses(modules=[__name__], limits=limits)
    try:
        assert await workers.run("a", os.nice, 0) == min(19, os.nice(0) + 7)
        assert await workers.run("a", eat_memory) == 1024 * 1024 * 1024
    finally:
        await workers.close()
