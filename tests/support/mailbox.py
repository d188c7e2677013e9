"""A mailbox of the live channel for a test that waits for replies as a gateway does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from common.bus.live import LiveReader
from common.storage.resp import open_resp


@asynccontextmanager
async def open_mailbox(redis_url: str) -> AsyncIterator[LiveReader]:
    """A mailbox, open and read."""
    async with open_resp(redis_url) as reading, open_resp(redis_url) as beating:
        reader = LiveReader(reading, beating, "test-gateway")
        await reader.open()
        tasks = [asyncio.create_task(reader.read()), asyncio.create_task(reader.beat())]
        try:
            yield reader
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await reader.close()
