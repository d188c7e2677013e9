"""PostgreSQL: turns written many at a time, and sums read by day."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

import asyncpg

from common.bus.batching import Batcher
from common.events.chat import AnswerEnded
from common.events.telemetry import UsageRequested, UsageRow
from common.failures import Park
from common.storage.postgres import Pool, transient
from telemetry import metrics
from telemetry.adapters.turn_row import encode, without_nul
from telemetry.ports import Outcome

# A few hundred rows gain all that batching can; more only lengthen the wait of the first.
ROWS_PER_WRITE = 500
# A fact takes a few kilobytes; one record of the log may hold 8 MiB, of which 500 are no statement any more.
BYTES_PER_WRITE = 4 * 1024 * 1024

# What PostgreSQL says when a value, and not the server, is at fault: out of range, missing, too long to index.
UNSTORABLE = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
)

INSERT = """
INSERT INTO telemetry.turns (
    request_id, operation, org_id, key_id, session_id, user_id, model, stream, upstream, upstream_model, outcome,
    finish_reason, prompt_tokens, completion_tokens, total_tokens, estimated, cost_usd,
    received_at, started_at, first_token_at, finished_at, attempts, receipt, error
)
SELECT
    request_id, operation, org_id, key_id, session_id, user_id, model, stream, upstream, upstream_model, outcome,
    finish_reason,
    (usage->>'prompt_tokens')::bigint, (usage->>'completion_tokens')::bigint, (usage->>'total_tokens')::bigint,
    (usage->>'estimated')::boolean, cost_usd,
    to_timestamp(received_at), to_timestamp(started_at), to_timestamp(first_token_at), to_timestamp(finished_at),
    attempts, receipt, error
FROM json_to_recordset($1::json) AS turn (
    request_id text, operation text, org_id text, key_id text, session_id text, user_id text, model text,
    stream boolean,
    upstream text, upstream_model text, outcome text, finish_reason text, usage json, cost_usd numeric,
    received_at float8, started_at float8, first_token_at float8, finished_at float8,
    attempts jsonb, receipt jsonb, error jsonb
)
ON CONFLICT (request_id) DO NOTHING
"""

USAGE = """
SELECT
    (finished_at AT TIME ZONE 'UTC')::date AS day, model, key_id,
    count(*) AS turns,
    count(*) FILTER (WHERE outcome = 'completed') AS completed,
    count(*) FILTER (WHERE outcome = 'interrupted') AS interrupted,
    count(*) FILTER (WHERE outcome = 'failed') AS failed,
    sum(prompt_tokens) AS prompt_tokens,
    sum(completion_tokens) AS completion_tokens,
    sum(total_tokens) AS total_tokens,
    sum(cost_usd)::float8 AS cost_usd
FROM telemetry.turns
WHERE org_id = $1
    AND ($2::text IS NULL OR model = $2)
    AND ($3::text IS NULL OR key_id = $3)
    AND finished_at >= $4::date::timestamp AT TIME ZONE 'UTC'
    AND finished_at < ($5::date + 1)::timestamp AT TIME ZONE 'UTC'
GROUP BY day, model, key_id
ORDER BY day, model, key_id
LIMIT $6
"""


@dataclass(slots=True)
class WaitingRow:
    """A turn as JSON on its way into a table, and why the database refused it, if it did."""

    json: bytes
    refusal: str | None = None


class PostgresTurns:
    """The port `Turns`: what arrives while a write is in flight goes with the next one."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._writes: Batcher[WaitingRow] = Batcher(self._write, name="write-turns", limit=ROWS_PER_WRITE)

    async def add(self, end: AnswerEnded, outcome: Outcome) -> None:
        row = WaitingRow(encode(end, outcome))
        await self._writes.put(row)
        if row.refusal is not None:
            metrics.TURNS_REFUSED.inc()
            raise Park(f"the turn does not fit its table: {row.refusal}")

    async def _write(self, rows: Sequence[WaitingRow]) -> None:
        async with transient():
            for part in in_parts(rows):
                await insert_storable(part, self._insert_all)

    async def _insert_all(self, rows: Sequence[WaitingRow]) -> None:
        document = b"[" + b",".join(row.json for row in rows) + b"]"
        with metrics.TURN_WRITE_SECONDS.time():
            status = await self._pool.execute(INSERT, document.decode())
        stored = int(status.rpartition(" ")[2])
        metrics.TURNS_PER_WRITE.observe(len(rows))
        metrics.TURNS_STORED.inc(stored)
        metrics.TURNS_REPEATED.inc(len(rows) - stored)

    async def close(self) -> None:
        """Wait for the writes in flight."""
        await self._writes.close()


async def insert_storable(
    rows: Sequence[WaitingRow], insert: Callable[[Sequence[WaitingRow]], Awaitable[None]]
) -> None:
    """Write all rows but those that cannot be held, which get their refusal: halves find them in few steps."""
    try:
        await insert(rows)
    except UNSTORABLE as error:
        if len(rows) == 1:
            rows[0].refusal = str(error)
            return
        middle = len(rows) // 2
        await insert_storable(rows[:middle], insert)
        await insert_storable(rows[middle:], insert)


def in_parts(rows: Sequence[WaitingRow]) -> Iterator[Sequence[WaitingRow]]:
    """The rows in their order, in parts of at most `BYTES_PER_WRITE`, or of one row."""
    start = size = 0
    for at, row in enumerate(rows):
        if at > start and size + len(row.json) > BYTES_PER_WRITE:
            yield rows[start:at]
            start, size = at, 0
        size += len(row.json)
    yield rows[start:]


class PostgresUsage:
    """The port `Usage`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def by_day(self, query: UsageRequested, limit: int) -> Sequence[UsageRow]:
        texts = without_nul([query.org_id, query.model, query.key_id])
        async with transient():
            rows = await self._pool.fetch(USAGE, *texts, query.since, query.until, limit)
        return [UsageRow(**row) for row in rows]
