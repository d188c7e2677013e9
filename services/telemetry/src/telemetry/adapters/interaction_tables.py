"""PostgreSQL: batches stored many at a time, each id once, with the ledger in the same transaction."""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import asyncpg
import orjson

from common.bus.batching import Batcher
from common.events.interactions import CANARY_ORG, InteractionsTallied
from common.storage.postgres import Connection, Pool, transient
from telemetry import metrics
from telemetry.adapters.interaction_statements import (
    CLAIM,
    IDS,
    KEPT,
    LEDGER,
    PARKED,
    REPEATED,
    SESSIONS,
    TALLIES,
    UNPARK,
)
from telemetry.adapters.partitions import Leaf, Partitions
from telemetry.adapters.usage_table import count_usage
from telemetry.adapters.waiting_rows import UNSTORABLE
from telemetry.row_shapes import COLUMNS, BatchRows, ItemRows, Session, utc

# Batches that arrive meanwhile go with the next write, and of them at most so many items.
BATCHES_PER_WRITE = 500
ITEMS_PER_WRITE = 2_000
# An interaction waits this long for company: a transaction of many costs little more than one of few, and what it costs
# is taken from the answers that are under way on the same machine.
LINGER_SECONDS = 0.1
# A retention that an organisation has no rows of any more is forgotten by a sweep, which comes less often.
KNOWN_SECONDS = 60.0
OUTCOMES = ("stored", "sampled_out", "parked", "repeated")
# A partition that was thought to be there.
NO_PARTITION = (asyncpg.CheckViolationError, asyncpg.UndefinedTableError)

Counts = dict[tuple[str, int], dict[str, int]]


class Written(NamedTuple):
    """What one transaction did: counts by organisation and hour, retentions that are new, turns of our own."""

    counts: Counts
    kept: set[tuple[str, str, int]]
    turns: int


class PostgresInteractions:
    """The port `Interactions`."""

    def __init__(self, pool: Pool, partitions: Partitions) -> None:
        self._pool = pool
        self._partitions = partitions
        self._kept: set[tuple[str, str, int]] = set()
        self._kept_since = time.monotonic()
        self._writes: Batcher[BatchRows] = Batcher(
            self._write, name="write-interactions", limit=BATCHES_PER_WRITE, linger=LINGER_SECONDS
        )

    async def add(self, batch: BatchRows) -> None:
        await self._writes.put(batch)

    async def tally(self, tally: InteractionsTallied) -> None:
        row = (tally.org_id, tally.hour, tally.source, tally.confirmed, 0)
        async with transient():
            await self._pool.execute(TALLIES, *([each] for each in row))

    async def _write(self, batches: Sequence[BatchRows]) -> None:
        for part in _parts(batches):
            await self._store(part)

    async def _store(self, batches: Sequence[BatchRows]) -> None:
        try:
            await self._store_all(batches)
        except UNSTORABLE as error:
            if len(batches) > 1:
                middle = len(batches) // 2
                await self._store(batches[:middle])
                await self._store(batches[middle:])
                return
            # Whatever it is that the database never takes, its text may hold what is in the batch.
            for item in batches[0].items:
                item.outcome, item.reason, item.rows = "parked", f"not storable: {type(error).__name__}", {}
            # A turn of our own is parked as its fact, and may come back: its id is not taken.
            if batches[0].ledgered:
                await self._store_all(batches)

    async def _store_all(self, batches: Sequence[BatchRows]) -> None:
        await self._ensure(batches)
        try:
            await self._transact(batches)
        except NO_PARTITION:
            self._partitions.forget()
            await self._ensure(batches)
            await self._transact(batches)
        now = time.time()
        for batch in batches:
            metrics.VISIBLE_SECONDS.observe(max(0.0, now - batch.accepted_at))
            if batch.org_id == CANARY_ORG:
                metrics.CANARY_SECONDS.set(max(0.0, now - batch.accepted_at))
                metrics.CANARY_AT.set(now)

    async def _ensure(self, batches: Sequence[BatchRows]) -> None:
        leaves = {Leaf(row[0], row[1]) for batch in batches for item in batch.items for row in _all_rows(item)}
        days = {item.day for batch in batches for item in batch.items}
        days |= {utc(batch.accepted_at).date() for batch in batches if batch.ledgered}
        await self._partitions.ensure(leaves, days)

    async def _transact(self, batches: Sequence[BatchRows]) -> None:
        if time.monotonic() - self._kept_since > KNOWN_SECONDS:
            self._kept, self._kept_since = set(), time.monotonic()
        with metrics.INTERACTIONS_WRITE_SECONDS.time():
            async with transient(), self._pool.acquire() as connection, connection.transaction():
                written = await _stored(connection, batches, self._kept)
        self._kept |= written.kept
        metrics.INTERACTIONS_PER_WRITE.observe(sum(len(batch.items) for batch in batches))
        metrics.TURNS_STORED.inc(written.turns)
        metrics.TURNS_REPEATED.inc(sum(not batch.ledgered for batch in batches) - written.turns)
        for outcomes in written.counts.values():
            for outcome, count in outcomes.items():
                # One that was parked may be stored after all.
                metrics.ITEMS_STORED.labels(outcome).inc(max(0, count))

    async def close(self) -> None:
        """Wait for the writes in flight."""
        await self._writes.close()


def _parts(batches: Sequence[BatchRows]) -> Iterator[Sequence[BatchRows]]:
    """The batches in parts of at most `ITEMS_PER_WRITE` items, or of one batch."""
    start = items = 0
    for at, batch in enumerate(batches):
        if at > start and items + len(batch.items) > ITEMS_PER_WRITE:
            yield batches[start:at]
            start, items = at, 0
        items += len(batch.items)
    yield batches[start:]


def _all_rows(item: ItemRows) -> Iterator[tuple[Any, ...]]:
    for rows in item.rows.values():
        yield from rows


async def _stored(connection: Connection, batches: Sequence[BatchRows], known: set[tuple[str, str, int]]) -> Written:
    """Store what is new."""
    counts: Counts = defaultdict(lambda: dict.fromkeys(OUTCOMES, 0))
    claimed = await _claim(connection, batches)
    fresh, again = [], []
    for batch in batches:
        # Turns of our own have no batch to be claimed; their ids say whether they are new.
        if not batch.ledgered or batch.batch_id in claimed:
            claimed.discard(batch.batch_id)
            fresh.append(batch)
        else:
            again.append(batch)
    items = await _new_items(connection, fresh, counts)
    for batch in again:
        items += await _unparked(connection, batch, counts)
    kept = await _write_rows(connection, items, known)
    await _write_sessions(connection, [item.session for item in items if item.session is not None])
    await _write_ledger(connection, counts, [batch for batch in fresh if batch.ledgered])
    used = [item.use for item in items if item.use is not None]
    await count_usage(connection, used)
    return Written(counts, kept, len(used))


async def _claim(connection: Connection, batches: Sequence[BatchRows]) -> set[str]:
    """The batches that were not stored before."""
    rows = [_batch_row(batch) for batch in sorted(batches, key=lambda each: each.batch_id) if batch.ledgered]
    found = await connection.fetchmany(CLAIM, rows) if rows else []
    return {str(row["batch_id"]) for row in found}


def _batch_row(batch: BatchRows) -> tuple[Any, ...]:
    accepted = utc(batch.accepted_at)
    return (
        accepted.date(),
        batch.batch_id,
        batch.org_id,
        accepted,
        [item.id for item in batch.items],
        [item.position for item in batch.items],
        [item.position for item in batch.items if item.outcome == "sampled_out"],
        orjson.dumps({str(item.position): item.reason for item in batch.parked}).decode(),
    )


async def _new_items(connection: Connection, batches: Sequence[BatchRows], counts: Counts) -> list[ItemRows]:
    """The items to be stored: each id once, whichever batch and position has it first."""
    wanted = sorted({(item.day, batch.org_id, item.id) for batch in batches for item in batch.items})
    if not wanted:
        return []
    found = await connection.fetch(IDS, *(list(column) for column in zip(*wanted, strict=True)))
    new = {(row["org_id"], str(row["id"])) for row in found}
    items: list[ItemRows] = []
    for batch in batches:
        repeated = []
        for item in batch.items:
            if (batch.org_id, item.id) not in new:
                repeated.append(item.position)
                continue
            new.discard((batch.org_id, item.id))
            _count(counts, batch, item.outcome)
            if item.outcome == "stored":
                items.append(item)
        if repeated and batch.ledgered:
            _count(counts, batch, "repeated", len(repeated))
            await connection.execute(REPEATED, utc(batch.accepted_at).date(), batch.batch_id, repeated)
    return items


async def _unparked(connection: Connection, batch: BatchRows, counts: Counts) -> list[ItemRows]:
    """Of a batch that came again, what was parked and can be stored now: its rule was mended."""
    day = utc(batch.accepted_at).date()
    written = await connection.fetchval(PARKED, day, batch.batch_id)
    parked = set(orjson.loads(written)) if written else set()
    mended = [item for item in batch.items if str(item.position) in parked and item.outcome != "parked"]
    if mended:
        sampled = [item.position for item in mended if item.outcome == "sampled_out"]
        await connection.execute(UNPARK, day, batch.batch_id, [str(item.position) for item in mended], sampled)
    for item in mended:
        _count(counts, batch, "parked", -1)
        _count(counts, batch, item.outcome)
    return [item for item in mended if item.outcome == "stored"]


def _count(counts: Counts, batch: BatchRows, outcome: str, count: int = 1) -> None:
    if batch.ledgered:
        counts[batch.org_id, batch.hour][outcome] += count


async def _write_rows(
    connection: Connection, items: Sequence[ItemRows], known: set[tuple[str, str, int]]
) -> set[tuple[str, str, int]]:
    kept: set[tuple[str, str, int]] = set()
    for table, columns in COLUMNS.items():
        rows = [row for item in items for row in item.rows.get(table, ())]
        if rows:
            mode = columns.index("mode")
            kept |= {(row[2], row[mode], row[0]) for row in rows}
            await connection.copy_records_to_table(table, schema_name="telemetry", columns=columns, records=rows)
    new = kept - known
    if new:
        await connection.executemany(KEPT, sorted(new))
    return new


async def _write_sessions(connection: Connection, sessions: Sequence[Session]) -> None:
    found: dict[tuple[str, str, str], list[Session]] = defaultdict(list)
    for session in sessions:
        found[session.org_id, session.mode, session.session_id].append(session)
    if not found:
        return
    rows = []
    for key, group in sorted(found.items()):
        group.sort(key=lambda each: each.at)
        users = [each.user_id for each in group if each.user_id is not None]
        models = [each.model for each in group if each.model is not None]
        rows.append(
            (
                *key,
                users[-1] if users else None,
                group[0].at,
                group[-1].at,
                len(group),
                sum(each.error for each in group),
                sum(each.tokens for each in group),
                sum(each.cost for each in group),
                models[-1] if models else None,
            )
        )
    await connection.execute(SESSIONS, *(list(column) for column in zip(*rows, strict=True)))


async def _write_ledger(connection: Connection, counts: Counts, batches: Sequence[BatchRows]) -> None:
    if counts:
        rows = [(org_id, hour, *(found[each] for each in OUTCOMES)) for (org_id, hour), found in sorted(counts.items())]
        await connection.execute(LEDGER, *(list(column) for column in zip(*rows, strict=True)))
    tallies: dict[tuple[str, int, str], list[int]] = {}
    for batch in batches:
        tally = tallies.setdefault((batch.org_id, batch.hour, batch.source), [0, 0])
        tally[0] = max(tally[0], batch.confirmed)
        tally[1] += len(batch.items)
    if tallies:
        told = [(*key, *found) for key, found in sorted(tallies.items())]
        await connection.execute(TALLIES, *(list(column) for column in zip(*told, strict=True)))
