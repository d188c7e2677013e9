"""A mailbox of the live channel for a test that waits for replies as a gateway does."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from common.bus.live.reader import LiveReader
from common.bus.live.signals import SignalHandlers
from common.kernel.tasks import end
from common.storage.resp import open_resp


@asynccontextmanager
async def open_mailbox(
    redis_url: str, instance: str | None = None, signals: SignalHandlers = ()
) -> AsyncIterator[LiveReader]:
    """A mailbox, open and read, of an instance of its own: one that is opened removes the former of its name."""
    instance = instance or f"test-gateway-{uuid.uuid4().hex[:8]}"
    async with open_resp(redis_url) as reading, open_resp(redis_url) as beating:
        reader = LiveReader(reading, beating, instance, signals)
        await reader.open()
        tasks = [asyncio.create_task(reader.read()), asyncio.create_task(reader.beat())]
        try:
            yield reader
        finally:
            await end(*tasks)
            await reader.close()
