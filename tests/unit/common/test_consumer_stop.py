"""A consumer that stops does not wait until something comes."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from common.bus.live.writer import LiveWriter
from common.bus.port import Log
from common.events.record import Partition, Received
from common.kernel.consumer import Consumer
from tests.support.waiting import eventually


class QuietLog:
    """A log that answers, and on which nothing ever comes: only the first poll ends."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    @asynccontextmanager
    async def subscribe(self, *_: Any) -> AsyncIterator["QuietLog"]:
        yield self

    async def poll(self, max_records: int, timeout: float) -> Sequence[Received]:
        del max_records
        self.asked.append(timeout)
        if len(self.asked) > 1:
            await asyncio.Event().wait()
        return []

    async def commit(self, offsets: Mapping[Partition, str]) -> None:
        del offsets

    async def lag(self) -> int:
        return 0


@pytest.fixture
def quiet() -> QuietLog:
    return QuietLog()


async def test_it_is_ready_by_a_first_look_and_stops_in_the_middle_of_a_poll(quiet: QuietLog) -> None:
    consumer = Consumer(
        log=cast("Log", quiet), live=cast("LiveWriter", None), group="quiet", instance="quiet-0", handlers=(), deps=None
    )
    running = asyncio.create_task(consumer.run())
    await eventually(lambda: len(quiet.asked) == 2)
    assert quiet.asked[0] == 0.0
    assert consumer.complaint() is None
    consumer.stop()
    consumer.stop()
    async with asyncio.timeout(10):
        await running
