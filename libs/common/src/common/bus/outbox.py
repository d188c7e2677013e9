"""Publishing the outbox: facts that were committed with a change go onto the log in order, and then leave the table."""

import asyncio
import contextlib
import time
import zlib

import asyncpg
import structlog
from prometheus_client import Counter, Gauge, Histogram

from common.bus.port import BusUnavailableError, Log
from common.events.envelope import Event
from common.events.record import Record
from common.events.registry import BY_NAME
from common.metrics import SECONDS
from common.storage.postgres import UNAVAILABLE, Pool

log = structlog.get_logger(__name__)

OUTBOX_WAITING = Gauge("sonant_outbox_waiting", "Facts that are committed and not published yet.")
OUTBOX_PUBLISHED = Counter("sonant_outbox_relayed_total", "Facts published from the outbox.")
OUTBOX_FAILURES = Counter("sonant_outbox_failures_total", "Attempts to relay that failed; the facts stay.", ["engine"])
OUTBOX_SECONDS = Histogram(
    "sonant_outbox_seconds", "From the write of a fact to its acknowledgement by the log.", buckets=SECONDS
)

COLUMNS = "id, event_id, name, payload, extract(epoch FROM created_at)::float8 AS at"
# An instance may die between a commit and its publication: the others look for what it left.
POLL_SECONDS = 1.0
# Few enough that one publication stays far below its time limit, many enough to catch up quickly.
FACTS_PER_PUBLICATION = 200
RETRY_SECONDS = 0.5
# A backup is restored under a service that runs: for a moment there is no table.
RESTORED = (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError)


class OutboxPublisher:
    """Publishes the outbox of a schema (see `storage.unit_of_work`) in the order of the facts.

    Instances take turns, so the order of a key holds across them. After a crash a fact may be published twice, with
    the same event id: its consumers recognise the repetition.
    """

    def __init__(self, pool: Pool, log: Log, schema: str) -> None:
        table = f"{schema}.outbox"
        self._pool = pool
        self._log = log
        self._lock = zlib.crc32(table.encode())
        self._waiting = f"SELECT count(*) FROM {table}"  # noqa: S608  (a constant of the service)
        self._oldest = f"SELECT {COLUMNS} FROM {table} WHERE name = ANY($1) ORDER BY id LIMIT $2"  # noqa: S608
        self._remove = f"DELETE FROM {table} WHERE id = ANY($1)"  # noqa: S608
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Publish at once: something new was committed."""
        self._woken.set()

    async def run(self) -> None:
        """Publish until cancelled. While the log or the database is away the facts stay, and it tries again."""
        away = False
        while True:
            try:
                await self._empty()
            except (BusUnavailableError, *RESTORED, *UNAVAILABLE) as error:
                OUTBOX_FAILURES.labels("log" if isinstance(error, BusUnavailableError) else "database").inc()
                if not away:
                    log.warning("facts wait in the outbox", error=str(error) or type(error).__name__)
                away = True
                await asyncio.sleep(RETRY_SECONDS)
            else:
                away = False
                await self._wait_for_more()

    async def _wait_for_more(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await self._woken.wait()
        self._woken.clear()

    async def _empty(self) -> None:
        while waiting := await self._pool.fetchval(self._waiting):
            OUTBOX_WAITING.set(waiting)
            if not await self._publish_some():
                # The rest are facts of a newer version of the service, and it will publish them.
                return
        OUTBOX_WAITING.set(0)

    async def _publish_some(self) -> int:
        """Publish the oldest facts and remove them; returns how many."""
        async with self._pool.acquire() as connection, connection.transaction():
            # Held until the removal is committed: no other instance overtakes a publication in flight.
            await connection.execute("SELECT pg_advisory_xact_lock($1)", self._lock)
            rows = await connection.fetch(self._oldest, list(BY_NAME), FACTS_PER_PUBLICATION)
            if rows:
                await self._log.publish(*map(_record, rows))
                await connection.execute(self._remove, [row["id"] for row in rows])
        for row in rows:
            OUTBOX_SECONDS.observe(max(0.0, time.time() - row["at"]))
        OUTBOX_PUBLISHED.inc(len(rows))
        return len(rows)


def _record(row: asyncpg.Record) -> Record:
    spec = BY_NAME[row["name"]]
    payload = spec.payload.model_validate_json(row["payload"])
    # One command leaves several facts: its id alone would not tell them apart.
    return Event(spec, payload, id=f"{row['event_id']}/{row['id']}", time=row["at"]).record()
