"""PostgreSQL: rows moved between retentions, old sessions dropped, users deleted, a bounded part at a time."""

from collections.abc import Sequence
from datetime import datetime

from common.storage.postgres import Connection, Pool, transient
from telemetry.adapters.interaction_statements import KEPT
from telemetry.adapters.partitions import Leaf, Partitions, expired, leaves_of, today
from telemetry.ports import Deletion, Kept
from telemetry.row_shapes import COLUMNS

# What one statement touches: it is over in a moment, and others go on beside it.
ROWS_AT_ONCE = 2_000
# What names a row of each table within its organisation, for moving and deleting.
NAMED_BY = {"chat": "id", "prompt_details": "id", "steps": "owner", "scores": "id"}

NOT_KEPT = "DELETE FROM telemetry.kept WHERE org_id = $1 AND mode = $2 AND keep = $3"
DELETION = "SELECT id::text, org_id, user_id, requested_at, done_at, rows FROM telemetry.deletions"
NOTE = """
INSERT INTO telemetry.deletions (id, org_id, user_id, requested_by) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING
"""
OF_USER = """
SELECT id, mode, session_id, trace_id FROM telemetry.chat WHERE org_id = $1 AND user_id = ANY($2::text[]) LIMIT $3
"""
# What belongs to the interactions, first the steps of the same traces that were reported alone.
BELONGING = (
    "DELETE FROM telemetry.steps WHERE org_id = $1 AND interaction_id IS NULL AND trace_id = ANY($3::text[])"
    " AND $2::uuid[] IS NOT NULL",
    "DELETE FROM telemetry.steps WHERE org_id = $1 AND interaction_id = ANY($2::uuid[]) AND $3::text[] IS NOT NULL",
    "DELETE FROM telemetry.scores WHERE org_id = $1 AND interaction_id = ANY($2::uuid[]) AND $3::text[] IS NOT NULL",
    "DELETE FROM telemetry.prompt_details USING telemetry.chat AS gone WHERE gone.org_id = $1"
    " AND gone.id = ANY($2::uuid[]) AND gone.user_id = ANY($3::text[]) AND prompt_details.keep = gone.keep"
    " AND prompt_details.day = gone.day AND prompt_details.org_id = gone.org_id AND prompt_details.id = gone.id",
    "DELETE FROM telemetry.chat WHERE org_id = $1 AND id = ANY($2::uuid[]) AND user_id = ANY($3::text[])",
)
ALONE = (
    "DELETE FROM telemetry.steps WHERE org_id = $1 AND user_id = ANY($2::text[])",
    "DELETE FROM telemetry.scores WHERE org_id = $1 AND user_id = ANY($2::text[])",
    "UPDATE telemetry.sessions SET user_id = NULL WHERE org_id = $1 AND user_id = ANY($2::text[])",
    # What was used stays counted; nobody tells by whom.
)
GONE_SESSIONS = """
DELETE FROM telemetry.sessions WHERE org_id = $1
    AND (mode, session_id) IN (SELECT * FROM unnest($2::text[], $3::text[]))
"""
# Whoever stores a turn of these meanwhile waits for this, and adds to it.
RECOUNTED = """
INSERT INTO telemetry.sessions (
    org_id, mode, session_id, user_id, first_at, last_at, turns, errors, total_tokens, cost_usd, last_model
)
SELECT chat.org_id, chat.mode, chat.session_id, max(chat.user_id), min(chat.at), max(chat.at), count(*),
    count(*) FILTER (WHERE chat.status = 'error'), coalesce(sum(details.total_tokens), 0),
    coalesce(sum(details.cost_usd), 0), (array_agg(chat.llm_model ORDER BY chat.at DESC))[1]
FROM telemetry.chat AS chat JOIN telemetry.prompt_details AS details USING (keep, day, org_id, id)
WHERE chat.org_id = $1 AND (chat.mode, chat.session_id) IN (SELECT * FROM unnest($2::text[], $3::text[]))
GROUP BY chat.org_id, chat.mode, chat.session_id
"""
OLD_SESSIONS = """
DELETE FROM telemetry.sessions WHERE org_id = $1 AND mode = $2 AND (session_id) IN (
    SELECT session_id FROM telemetry.sessions WHERE org_id = $1 AND mode = $2 AND last_at < $3 LIMIT $4
)
"""


class PostgresRetention:
    """The port `Retention`."""

    def __init__(self, pool: Pool, partitions: Partitions) -> None:
        self._pool = pool
        self._partitions = partitions

    async def kept(self) -> Sequence[Kept]:
        async with transient():
            return [Kept(*row) for row in await self._pool.fetch("SELECT org_id, mode, keep FROM telemetry.kept")]

    async def make_ahead(self, keeps: Sequence[int]) -> None:
        await self._partitions.make_ahead(keeps)

    async def drop_expired(self) -> int:
        return await self._partitions.drop_expired()

    async def move(self, kept: Kept, keep: int) -> int:
        async with transient():
            days = await leaves_of(self._pool, kept.keep)
        moved = 0
        for day in days:
            over = expired(keep, day, today())
            if not over:
                await self._partitions.ensure([Leaf(keep, day)], [])
            for table in COLUMNS:
                moved += await self._move_rows(table, kept, None if over else keep, day)
        async with transient():
            if moved:
                await self._pool.execute(KEPT, kept.org_id, kept.mode, keep)
            else:
                # Nothing came after the last look either.
                await self._pool.execute(NOT_KEPT, kept.org_id, kept.mode, kept.keep)
        return moved

    async def _move_rows(self, table: str, kept: Kept, keep: int | None, day: object) -> int:
        where = "keep = $1 AND day = $2 AND org_id = $3 AND mode = $4"
        name = NAMED_BY[table]
        part = f"{where} AND {name} IN (SELECT {name} FROM telemetry.{table} WHERE {where} LIMIT {ROWS_AT_ONCE})"  # noqa: S608
        statement = f"DELETE FROM telemetry.{table} WHERE {part}"  # noqa: S608
        if keep is not None:
            statement = f"UPDATE telemetry.{table} SET keep = {keep} WHERE {part}"  # noqa: S608
        moved = 0
        while True:
            async with transient():
                count = affected(await self._pool.execute(statement, kept.keep, day, kept.org_id, kept.mode))
            moved += count
            if not count:
                return moved

    async def drop_sessions(self, org_id: str, mode: str, before: datetime) -> None:
        while True:
            async with transient():
                gone = affected(await self._pool.execute(OLD_SESSIONS, org_id, mode, before, ROWS_AT_ONCE))
            if gone < ROWS_AT_ONCE:
                return

    async def note_deletion(self, id: str, org_id: str, user_id: str, key_id: str) -> Deletion:
        async with transient(), self._pool.acquire() as connection:
            await connection.execute(NOTE, id, org_id, user_id, key_id)
            [row] = await connection.fetch(f"{DELETION} WHERE id = $1 AND org_id = $2", id, org_id)
        return Deletion(*row)

    async def deletion(self, org_id: str, id: str) -> Deletion | None:
        async with transient():
            row = await self._pool.fetchrow(f"{DELETION} WHERE id = $1 AND org_id = $2", id, org_id)
        return None if row is None else Deletion(*row)

    async def open_deletions(self) -> Sequence[Deletion]:
        async with transient():
            rows = await self._pool.fetch(f"{DELETION} WHERE done_at IS NULL ORDER BY requested_at LIMIT 100")
        return [Deletion(*row) for row in rows]

    async def note_pass(self, id: str, rows: int, *, done: bool) -> None:
        statement = (
            "UPDATE telemetry.deletions SET rows = rows + $2, done_at = CASE WHEN $3 THEN now() END"
            " WHERE id = $1 AND done_at IS NULL"
        )
        async with transient():
            await self._pool.execute(statement, id, rows, done)

    async def delete_user(self, org_id: str, names: Sequence[str]) -> int:
        rows = 0
        while True:
            async with transient(), self._pool.acquire() as connection, connection.transaction():
                gone = await _delete_part(connection, org_id, names)
            rows += gone
            if not gone:
                break
        async with transient():
            for statement in ALONE:
                rows += affected(await self._pool.execute(statement, org_id, names))
        return rows


async def _delete_part(connection: Connection, org_id: str, names: Sequence[str]) -> int:
    found = await connection.fetch(OF_USER, org_id, names, ROWS_AT_ONCE)
    if not found:
        return 0
    ids = [row["id"] for row in found]
    traces = sorted({row["trace_id"] for row in found if row["trace_id"] is not None})
    details, chat = BELONGING[-2:]
    rows = 0
    for statement in BELONGING[:-2]:
        rows += affected(await connection.execute(statement, org_id, ids, traces))
    for statement in (details, chat):
        rows += affected(await connection.execute(statement, org_id, ids, names))
    sessions = sorted({(row["mode"], row["session_id"]) for row in found})
    modes, names_of = [mode for mode, _ in sessions], [session_id for _, session_id in sessions]
    await connection.execute(GONE_SESSIONS, org_id, modes, names_of)
    await connection.execute(RECOUNTED, org_id, modes, names_of)
    return rows


def affected(status: str) -> int:
    """How many rows a statement touched, by what the server says of it."""
    return int(status.rpartition(" ")[2])
