"""PostgreSQL: sessions and their turns, written many at a time, the oldest let go where they are too many."""

from collections.abc import Sequence
from typing import Any

import asyncpg
import orjson

from common.bus.batching import Batcher
from common.events.model_json import from_json, to_json
from common.events.session_summary import RollingSummary
from common.events.session_turns import (
    ReplySpoken,
    SessionDeleted,
    SessionHistory,
    SessionListRequested,
    SessionPolicy,
    SessionRow,
    SessionTurn,
)
from common.failures import Park
from common.storage.postgres import Pool, transient
from telemetry.adapters.waiting_rows import WaitingRow, in_parts, insert_storable
from telemetry.metrics import SESSION_TURNS_CUT, SESSION_TURNS_STORED
from telemetry.storable import MAX_SECONDS, between, without_nul

ROWS_PER_WRITE = 200
# More turns than any conversation has; those without texts are bounded by nothing else.
MAX_TURNS = 1_000
# How long it is remembered that a session was deleted: as long as a fact may lie on the log, and a day.
TOMBSTONE_DAYS = 8
TURN_BYTES = 120

ADD = """
WITH given AS (
    SELECT DISTINCT ON (org_id, request_id)
        org_id, session_id, request_id, user_id, to_timestamp(received_at) AS received_at,
        to_timestamp(finished_at) AS finished_at, bytes, turn
    FROM json_to_recordset($1::json) AS given (
        org_id text, session_id text, request_id text, user_id text, received_at float8, finished_at float8,
        bytes integer, turn json
    )
),
added AS (
    INSERT INTO telemetry.session_turns (org_id, request_id, session_id, received_at, bytes, turn)
    SELECT org_id, request_id, session_id, received_at, given.bytes, turn
    FROM given LEFT JOIN telemetry.kept_sessions AS known USING (org_id, session_id)
    WHERE known.deleted_at IS NULL OR known.deleted_at < received_at
    ON CONFLICT DO NOTHING
    RETURNING org_id, request_id
)
INSERT INTO telemetry.kept_sessions (org_id, session_id, user_id, created_at, updated_at, turns, bytes)
SELECT org_id, session_id, max(user_id), min(received_at), max(finished_at), count(*), sum(bytes)
FROM given JOIN added USING (org_id, request_id)
GROUP BY org_id, session_id
ORDER BY org_id, session_id
ON CONFLICT (org_id, session_id) DO UPDATE SET
    user_id = coalesce(excluded.user_id, kept_sessions.user_id),
    created_at = least(kept_sessions.created_at, excluded.created_at),
    updated_at = greatest(kept_sessions.updated_at, excluded.updated_at),
    turns = kept_sessions.turns + excluded.turns,
    bytes = kept_sessions.bytes + excluded.bytes
RETURNING kept_sessions.org_id, kept_sessions.session_id, kept_sessions.turns > $2 OR kept_sessions.bytes > $3 AS over
"""
TRIM = """
WITH ranked AS (
    SELECT request_id,
        sum(bytes) OVER later AS weight,
        row_number() OVER later AS place
    FROM telemetry.session_turns
    WHERE org_id = $1 AND session_id = $2
    WINDOW later AS (ORDER BY received_at DESC, request_id DESC)
),
gone AS (
    DELETE FROM telemetry.session_turns
    WHERE org_id = $1
        AND request_id IN (SELECT request_id FROM ranked WHERE place > 1 AND (place > $3 OR weight > $4))
    RETURNING bytes
)
UPDATE telemetry.kept_sessions SET
    turns = greatest(0, turns - (SELECT count(*) FROM gone)),
    bytes = greatest(0, bytes - (SELECT coalesce(sum(bytes), 0) FROM gone)),
    cut = true
WHERE org_id = $1 AND session_id = $2
"""
# The turns of its session may come later than it does.
SUMMARY = """
INSERT INTO telemetry.kept_sessions (org_id, session_id, created_at, updated_at, turns, bytes, summary, summed_up_at)
VALUES ($1, $2, to_timestamp($4), to_timestamp($4), 0, 0, $3, to_timestamp($4))
ON CONFLICT (org_id, session_id) DO UPDATE SET summary = excluded.summary, summed_up_at = excluded.summed_up_at
WHERE greatest(kept_sessions.deleted_at, kept_sessions.summed_up_at) IS NULL
    OR greatest(kept_sessions.deleted_at, kept_sessions.summed_up_at) < excluded.summed_up_at
"""
# What was asked for until then may tell what is deleted.
NO_SUMMARY = """
UPDATE telemetry.kept_sessions SET summary = NULL, summed_up_at = greatest(summed_up_at, to_timestamp($3))
WHERE org_id = $1 AND session_id = $2
"""
SPOKEN = """
INSERT INTO telemetry.spoken (org_id, request_id, session_id, characters, spoken_by, at)
VALUES ($1, $2, $3, $4, $5, to_timestamp($6))
ON CONFLICT (org_id, request_id) DO UPDATE SET
    characters = excluded.characters, spoken_by = excluded.spoken_by, at = excluded.at
WHERE spoken.at <= excluded.at
"""
DELETE = """
WITH tombstone AS (
    INSERT INTO telemetry.kept_sessions (org_id, session_id, created_at, updated_at, turns, bytes, deleted_at)
    VALUES ($1, $2, to_timestamp($3), to_timestamp($3), 0, 0, to_timestamp($3))
    ON CONFLICT (org_id, session_id) DO UPDATE SET
        deleted_at = greatest(kept_sessions.deleted_at, excluded.deleted_at), turns = 0, bytes = 0, cut = false,
        summary = NULL
    RETURNING deleted_at
),
heard AS (DELETE FROM telemetry.spoken WHERE org_id = $1 AND session_id = $2 AND at <= to_timestamp($3)),
gone AS (
    DELETE FROM telemetry.session_turns
    WHERE org_id = $1 AND session_id = $2 AND received_at <= to_timestamp($3)
)
SELECT 1
"""
# What of it was received later is counted again.
RECOUNT = """
UPDATE telemetry.kept_sessions SET
    turns = (SELECT count(*) FROM telemetry.session_turns AS t WHERE t.org_id = $1 AND t.session_id = $2),
    bytes = (
        SELECT coalesce(sum(t.bytes), 0) FROM telemetry.session_turns AS t WHERE t.org_id = $1 AND t.session_id = $2
    )
WHERE org_id = $1 AND session_id = $2
"""
# A turn that comes late finds its place taken.
DELETE_TURN = """
WITH heard AS (DELETE FROM telemetry.spoken WHERE org_id = $1 AND request_id = $3)
INSERT INTO telemetry.session_turns (org_id, request_id, session_id, received_at, bytes, turn)
VALUES ($1, $3, $2, to_timestamp($4), 0, NULL)
ON CONFLICT (org_id, request_id) DO UPDATE SET turn = NULL, bytes = 0
WHERE session_turns.session_id = $2
"""
SESSION = """
SELECT cut, summary, extract(epoch FROM deleted_at)::float8 AS deleted_at FROM telemetry.kept_sessions
WHERE org_id = $1 AND session_id = $2
"""
TURNS = """
SELECT t.turn, spoken.characters, spoken.spoken_by
FROM telemetry.session_turns AS t
JOIN telemetry.kept_sessions AS s USING (org_id, session_id)
LEFT JOIN telemetry.session_policies AS p USING (org_id)
LEFT JOIN telemetry.spoken USING (org_id, request_id)
WHERE t.org_id = $1 AND t.turn IS NOT NULL AND {}
    AND (s.deleted_at IS NULL OR s.deleted_at < t.received_at)
    AND s.updated_at > now() - make_interval(days => coalesce(p.days, $3))
ORDER BY t.received_at, t.request_id
"""
PAGE = """
SELECT s.session_id AS id, s.user_id, s.turns, s.bytes,
    extract(epoch FROM s.created_at)::float8 AS created_at,
    extract(epoch FROM s.updated_at)::float8 AS updated_at,
    extract(epoch FROM s.updated_at + make_interval(days => coalesce(p.days, $6)))::float8 AS expires_at
FROM telemetry.kept_sessions AS s LEFT JOIN telemetry.session_policies AS p USING (org_id)
WHERE s.org_id = $1 AND s.turns > 0
    AND ($2::text IS NULL OR s.user_id = $2)
    AND ($3::float8 IS NULL OR (s.updated_at, s.session_id) < (to_timestamp($3), $4::text))
    AND s.updated_at > now() - make_interval(days => coalesce(p.days, $6))
ORDER BY s.updated_at DESC, s.session_id DESC
LIMIT $5
"""
# What nobody may see any more, tombstones that no late fact can need, and of each organisation what is too much.
EXPIRED = """
WITH expired AS (
    SELECT s.org_id, s.session_id
    FROM telemetry.kept_sessions AS s LEFT JOIN telemetry.session_policies AS p USING (org_id)
    WHERE s.updated_at < now() - make_interval(days => coalesce(p.days, $1))
        AND (s.deleted_at IS NULL OR s.deleted_at < now() - make_interval(days => $2))
    LIMIT $3
),
crowded AS (
    SELECT org_id FROM telemetry.kept_sessions GROUP BY org_id HAVING count(*) > $4
),
oldest AS (
    SELECT found.org_id, found.session_id
    FROM crowded CROSS JOIN LATERAL (
        SELECT s.org_id, s.session_id FROM telemetry.kept_sessions AS s
        WHERE s.org_id = crowded.org_id ORDER BY s.updated_at DESC, s.session_id DESC OFFSET $4 LIMIT $3
    ) AS found
),
going AS (SELECT * FROM expired UNION SELECT * FROM oldest),
turns AS (DELETE FROM telemetry.session_turns AS t USING going AS g
    WHERE (t.org_id, t.session_id) = (g.org_id, g.session_id)),
heard AS (DELETE FROM telemetry.spoken AS t USING going AS g
    WHERE (t.org_id, t.session_id) = (g.org_id, g.session_id)),
gone AS (DELETE FROM telemetry.kept_sessions AS t USING going AS g
    WHERE (t.org_id, t.session_id) = (g.org_id, g.session_id) RETURNING 1)
SELECT count(*) FROM gone
"""


class PostgresSessions:
    """The port `Sessions`. `days` is how long a session is kept where its organisation does not say."""

    def __init__(self, pool: Pool, *, days: int, session_bytes: int, organization_sessions: int) -> None:
        self._pool = pool
        self._days = days
        self._session_bytes = session_bytes
        self._most = organization_sessions
        self._writes: Batcher[WaitingRow] = Batcher(self._write, name="write-sessions", limit=ROWS_PER_WRITE)

    async def add(self, org_id: str, turn: SessionTurn) -> None:
        row = WaitingRow(_row(org_id, turn))
        await self._writes.put(row)
        if row.refusal is not None:
            raise Park(f"the turn does not fit its session: {row.refusal}")

    async def _write(self, rows: Sequence[WaitingRow]) -> None:
        async with transient():
            for part in in_parts(rows):
                await insert_storable(part, self._insert)

    async def _insert(self, rows: Sequence[WaitingRow]) -> None:
        document = (b"[" + b",".join(row.json for row in rows) + b"]").decode()
        written = await self._pool.fetch(ADD, document, MAX_TURNS, self._session_bytes)
        SESSION_TURNS_STORED.inc(len(rows))
        for row in written:
            if row["over"]:
                await self._pool.execute(TRIM, row["org_id"], row["session_id"], MAX_TURNS, self._session_bytes)
                SESSION_TURNS_CUT.inc()

    async def keep_summary(self, org_id: str, summary: RollingSummary) -> None:
        names = without_nul([org_id, summary.session_id])
        told = to_json(summary.model_copy(update={"text": without_nul(summary.text)}), exclude_none=True).decode()
        asked_at = between(summary.asked_at, 0.0, MAX_SECONDS)
        async with transient():
            await self._pool.execute(SUMMARY, *names, told, asked_at)

    async def note_spoken(self, spoken: ReplySpoken) -> None:
        texts = without_nul([spoken.org_id, spoken.request_id, spoken.session_id])
        async with transient():
            await self._pool.execute(SPOKEN, *texts, spoken.characters, spoken.by, spoken.at)

    async def delete(self, deleted: SessionDeleted) -> None:
        org_id, session_id = without_nul([deleted.org_id, deleted.session_id])
        async with transient():
            if deleted.request_id is None:
                await self._pool.execute(DELETE, org_id, session_id, deleted.at)
            else:
                await self._pool.execute(DELETE_TURN, org_id, session_id, without_nul(deleted.request_id), deleted.at)
                await self._pool.execute(NO_SUMMARY, org_id, session_id, deleted.at)
            await self._pool.execute(RECOUNT, org_id, session_id)

    async def history(self, org_id: str, session_id: str) -> SessionHistory:
        names = without_nul([org_id, session_id])
        async with transient():
            session = await self._pool.fetchrow(SESSION, *names)
            if session is None:
                return SessionHistory(turns=())
            rows = await self._pool.fetch(TURNS.format("t.session_id = $2"), *names, self._days)
        turns, told = tuple(_turn(row) for row in rows), session["summary"]
        # Of a session that has expired it is not told either.
        summary = from_json(RollingSummary, told) if told is not None and turns else None
        return SessionHistory(turns=turns, cut=session["cut"], deleted_at=session["deleted_at"], summary=summary)

    async def turn(self, org_id: str, request_id: str) -> SessionTurn | None:
        names = without_nul([org_id, request_id])
        async with transient():
            row = await self._pool.fetchrow(TURNS.format("t.request_id = $2"), *names, self._days)
        return None if row is None else _turn(row)

    async def page(self, query: SessionListRequested) -> Sequence[SessionRow]:
        after, behind = (query.after.updated_at, query.after.id) if query.after else (None, None)
        names = without_nul([query.org_id, query.user_id])
        async with transient():
            rows = await self._pool.fetch(PAGE, *names, after, without_nul(behind), query.limit + 1, self._days)
        return [SessionRow(**row) for row in rows]

    async def policy(self, org_id: str) -> SessionPolicy:
        async with transient():
            days = await self._pool.fetchval("SELECT days FROM telemetry.session_policies WHERE org_id = $1", org_id)
        return SessionPolicy(days=self._days if days is None else days, own=days is not None)

    async def set_days(self, org_id: str, days: int | None) -> None:
        async with transient():
            if days is None:
                await self._pool.execute("DELETE FROM telemetry.session_policies WHERE org_id = $1", org_id)
                return
            await self._pool.execute(
                "INSERT INTO telemetry.session_policies (org_id, days) VALUES ($1, $2) "
                "ON CONFLICT (org_id) DO UPDATE SET days = excluded.days",
                org_id,
                days,
            )

    async def expire(self, most: int) -> int:
        async with transient():
            gone: int = await self._pool.fetchval(EXPIRED, self._days, TOMBSTONE_DAYS, most, self._most)
        return gone

    async def close(self) -> None:
        """Wait for the writes in flight."""
        await self._writes.close()


def _row(org_id: str, turn: SessionTurn) -> bytes:
    """A turn as a JSON object of what the tables want."""
    kept = to_json(turn, exclude_unset=True)
    row: Any = {
        "org_id": org_id,
        "session_id": turn.session_id,
        "request_id": turn.id,
        "user_id": turn.user_id,
        "received_at": between(turn.received_at, 0.0, MAX_SECONDS),
        "finished_at": between(turn.finished_at, 0.0, MAX_SECONDS),
        "bytes": len(kept) + TURN_BYTES,
        "turn": orjson.Fragment(kept),
    }
    written = orjson.dumps(row)
    # The one character that PostgreSQL cannot keep.
    return orjson.dumps(without_nul(orjson.loads(written))) if rb"\u0000" in written else written


def _turn(row: asyncpg.Record) -> SessionTurn:
    turn = from_json(SessionTurn, row["turn"])
    if row["characters"] is None:
        return turn
    return turn.model_copy(update={"spoken": row["characters"], "spoken_by": row["spoken_by"]})
