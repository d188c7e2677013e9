"""A time limit that a process which stood still does not hold against anybody."""

import asyncio
import contextlib
import gc
import time
import weakref

import pytest

from common.deadlines import within


async def test_what_goes_on_is_ended() -> None:
    with pytest.raises(TimeoutError):
        async with within(0.05):
            await asyncio.Event().wait()


async def test_what_came_while_the_process_stood_still_is_in_time() -> None:
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with within(0.4):
            connecting = asyncio.create_task(asyncio.open_connection("127.0.0.1", port))
            await asyncio.sleep(0)
            time.sleep(1.0)
            _, writer = await connecting
            writer.close()


async def test_what_is_done_in_time_is_not_ended_later() -> None:
    async with within(0.05):
        await asyncio.sleep(0)
    await asyncio.sleep(0.1)


async def test_nothing_of_who_waited_stays_behind_the_limit() -> None:
    """With the collector off: what a task came to, such as a request of megabytes, must go with it."""

    async def waits(seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with within(seconds):
                await asyncio.sleep(0 if seconds > 1 else 10)

    gc.disable()
    try:
        for seconds in (0.02, 10.0):
            task = asyncio.create_task(waits(seconds))
            left = weakref.ref(task)
            await task
            del task
            await asyncio.sleep(0)
            assert left() is None
    finally:
        gc.enable()
