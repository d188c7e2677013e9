"""The relay: facts committed with a change go onto the log, in order, and leave the outbox once it has them."""

import asyncio

from common.bus.port import Log
from common.storage.postgres import Pool


class Relay:
    """Publishes what the outbox holds; `wake` after a commit saves the wait for the next look."""

    def __init__(self, pool: Pool, log: Log, *, keep_answers_seconds: int) -> None:
        self._pool = pool
        self._log = log
        self._keep_answers_seconds = keep_answers_seconds
        self._woken = asyncio.Event()

    def wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        """Relay for good."""
        while True:
            await self._woken.wait()
            self._woken.clear()
