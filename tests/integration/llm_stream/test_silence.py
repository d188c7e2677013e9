"""Silence is one by the clock and by several looks: a process that was held up itself blames nobody."""

import asyncio
import time
from typing import cast

from llm_stream.adapters.http1 import Connection
from llm_stream.adapters.openai_http import _Watch
from llm_stream.ports import UpstreamBroken
from tests.support.waiting import eventually


class Line:
    """A connection that notes when it was given up."""

    def __init__(self) -> None:
        self.failed_at = 0.0
        self.error: Exception | None = None

    def fail(self, error: Exception) -> None:
        self.failed_at = time.monotonic()
        self.error = error


def watched(first: float, idle: float) -> tuple[_Watch, Line]:
    line = Line()
    return _Watch(cast("Connection", line), first, idle), line


async def test_silence_is_ended_when_its_time_is_over() -> None:
    started = time.monotonic()
    _, line = watched(first=0.2, idle=10.0)
    await asyncio.sleep(0.15)
    assert not line.failed_at
    assert await eventually(lambda: line.failed_at) - started >= 0.2
    assert isinstance(line.error, UpstreamBroken)
    assert line.error.silent


async def test_a_sign_of_life_begins_the_time_of_the_next() -> None:
    watch, line = watched(first=5.0, idle=0.2)
    watch.alive()
    await asyncio.sleep(0.12)
    alive_at = time.monotonic()
    watch.alive()
    failed_at = await eventually(lambda: line.failed_at)
    assert failed_at - alive_at >= 0.2
    watch.stop()


async def test_silence_may_be_limited_anew() -> None:
    watch, line = watched(first=30.0, idle=30.0)
    watch.alive()
    limited_at = time.monotonic()
    watch.limit(0.2)
    assert await eventually(lambda: line.failed_at) - limited_at >= 0.2
    other, _ = watched(first=0.2, idle=0.2)
    other.limit(30.0)
    assert other.idle == 0.2
    other.stop()


async def test_a_process_that_was_held_up_does_not_blame_the_upstream() -> None:
    watch, line = watched(first=0.2, idle=0.2)
    time.sleep(0.5)
    await asyncio.sleep(0.03)
    assert not line.failed_at
    watch.alive()
    await asyncio.sleep(0.1)
    assert not line.failed_at
    watch.stop()


async def test_an_exchange_that_is_over_is_not_watched() -> None:
    watch, line = watched(first=0.1, idle=0.1)
    watch.stop()
    await asyncio.sleep(0.2)
    assert not line.failed_at
