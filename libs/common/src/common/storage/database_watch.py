"""Whether the database answers, for readiness and a gauge, and whether it still is the one to write to."""

import asyncio

from prometheus_client import Gauge

from common.storage.postgres import UNAVAILABLE, Pool

DATABASE_UP = Gauge("sonant_database_up", "Whether the database answered when last asked.")

CHECK_EVERY_SECONDS = 1.0
ANSWER_SECONDS = 2.0


class DatabaseWatch:
    """Knows whether the database answered the last check."""

    def __init__(self) -> None:
        self._complaint: str | None = "not reached yet"

    def complaint(self) -> str | None:
        """Why the database cannot be used at the moment, or None."""
        return self._complaint

    async def run(self, pool: Pool) -> None:
        """Check every `CHECK_EVERY_SECONDS` until cancelled."""
        while True:
            self._complaint = await _trouble(pool)
            DATABASE_UP.set(self._complaint is None)
            await asyncio.sleep(CHECK_EVERY_SECONDS)


async def _trouble(pool: Pool) -> str | None:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            if await pool.fetchval("SELECT current_setting('transaction_read_only') = 'on'"):
                # After a failover the other connections may lead to what is a replica now, for good.
                await pool.expire_connections()
    except UNAVAILABLE as error:
        return f"the database does not answer: {error or type(error).__name__}"
    return None
