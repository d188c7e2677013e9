"""PostgreSQL: what was used by day, model and key, counted with the turns it is of."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal

from common.events.telemetry import UsageRequested, UsageRow
from common.storage.postgres import Connection, Pool, transient
from telemetry.row_shapes import TurnUse
from telemetry.storable import without_nul

COUNT = """
INSERT INTO telemetry.usage_days AS known (
    org_id, day, model, key_id, turns, completed, interrupted, failed,
    prompt_tokens, completion_tokens, total_tokens, cost_usd
)
SELECT * FROM unnest(
    $1::text[], $2::date[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[],
    $9::numeric[], $10::numeric[], $11::numeric[], $12::numeric[]
)
ON CONFLICT (org_id, day, model, key_id) DO UPDATE SET
    turns = known.turns + excluded.turns,
    completed = known.completed + excluded.completed,
    interrupted = known.interrupted + excluded.interrupted,
    failed = known.failed + excluded.failed,
    prompt_tokens = known.prompt_tokens + excluded.prompt_tokens,
    completion_tokens = known.completion_tokens + excluded.completion_tokens,
    total_tokens = known.total_tokens + excluded.total_tokens,
    cost_usd = known.cost_usd + excluded.cost_usd
"""

USAGE = """
SELECT day, model, key_id, turns, completed, interrupted, failed, prompt_tokens, completion_tokens, total_tokens,
    cost_usd::float8 AS cost_usd
FROM telemetry.usage_days
WHERE org_id = $1
    AND ($2::text IS NULL OR model = $2)
    AND ($3::text IS NULL OR key_id = $3)
    AND day BETWEEN $4 AND $5
ORDER BY day, model, key_id
LIMIT $6
"""


async def count_usage(connection: Connection, used: Iterable[TurnUse]) -> None:
    """Add turns to the sums, in the transaction that stores them."""
    groups: dict[tuple[object, ...], list[TurnUse]] = defaultdict(list)
    for turn in used:
        groups[turn.org_id, turn.day, turn.model, turn.key_id].append(turn)
    if not groups:
        return
    # In one order, so that instances that count the same rows wait for one another and never for each other.
    rows = [(*key, *_sums(groups[key])) for key in sorted(groups)]
    await connection.execute(COUNT, *(list(column) for column in zip(*rows, strict=True)))


def _sums(group: Sequence[TurnUse]) -> tuple[int | Decimal, ...]:
    return (
        len(group),
        sum(turn.outcome == "completed" for turn in group),
        sum(turn.outcome == "interrupted" for turn in group),
        sum(turn.outcome == "failed" for turn in group),
        sum(turn.prompt_tokens for turn in group),
        sum(turn.completion_tokens for turn in group),
        sum(turn.total_tokens for turn in group),
        sum((turn.cost for turn in group), Decimal()),
    )


class PostgresUsage:
    """The port `Usage`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def by_day(self, query: UsageRequested, limit: int) -> Sequence[UsageRow]:
        texts = without_nul([query.org_id, query.model, query.key_id])
        async with transient():
            rows = await self._pool.fetch(USAGE, *texts, query.since, query.until, limit)
        return [UsageRow(**row) for row in rows]
