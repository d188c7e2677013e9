"""The last known copy of what a provider holds, written beside what is read through."""

from collections.abc import Sequence
from contextlib import suppress

import asyncpg

from common.storage.postgres import Pool, transient
from resources.adapters.postgres.catalogue_tables import keep
from resources.adapters.postgres.rows import Rows
from resources.ports import Item


class PostgresCopy:
    """The port `ProviderCopy`; `catalogue` is the name of what it is a copy of."""

    def __init__(self, pool: Pool, catalogue: str) -> None:
        self._pool = pool
        self._catalogue = catalogue

    async def clock(self, org_id: str) -> int:
        rows = Rows(self._pool, org_id)
        now: int | None = await rows.value("SELECT clock FROM resources.organizations WHERE org_id = $1")
        if now is None:
            # The row is what `remember` locks. Whoever inserts it at the same time has moved on from 0.
            await rows.execute(
                "INSERT INTO resources.organizations (org_id, clock) VALUES ($1, 0) ON CONFLICT DO NOTHING"
            )
        return now or 0

    async def remember(self, org_id: str, items: Sequence[Item], seen: int) -> None:
        """What was read may be older than a change since, and would bring back what that deleted.

        A writer at work now (its row is locked) is one as well. Readers share the row: what several of them saw is
        all kept.
        """
        # Another reader keeps one of the same name right now: the next to read this keeps it.
        with suppress(asyncpg.UniqueViolationError):
            async with transient(), self._pool.acquire() as connection, connection.transaction():
                rows = Rows(connection, org_id)
                now = await rows.value(
                    "SELECT clock FROM resources.organizations WHERE org_id = $1 FOR SHARE SKIP LOCKED"
                )
                if now == seen:
                    await keep(rows, self._catalogue, items)
