"""PostgreSQL: sessions, their turns and steps read page by page."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from common.events.interaction_queries import SessionListRequested
from common.storage.postgres import Pool, transient
from telemetry.row_shapes import utc
from telemetry.storable import without_nul

SESSIONS = """
SELECT session_id, mode, user_id, first_at, last_at, turns, errors, total_tokens, cost_usd::float8, last_model
FROM telemetry.sessions
WHERE org_id = $1
    AND ($2::text IS NULL OR mode = $2)
    AND ($3::text[] IS NULL OR user_id = ANY($3))
    AND ($4::timestamptz IS NULL OR last_at >= $4)
    AND ($5::timestamptz IS NULL OR last_at < $5)
    AND ($6::timestamptz IS NULL OR (last_at, session_id, mode) < ($6, $7::text, $8::text))
ORDER BY last_at DESC, session_id DESC, mode DESC
LIMIT $9
"""
# A session of that name in the mode that was asked for, or in the one in which it was seen last.
SESSION = """
SELECT session_id, mode, user_id, first_at, last_at, turns, errors, total_tokens, cost_usd::float8, last_model
FROM telemetry.sessions
WHERE org_id = $1 AND session_id = ANY($2::text[]) AND ($3::text IS NULL OR mode = $3)
ORDER BY last_at DESC LIMIT 1
"""
WHOLE = """
SELECT chat.*, details.prompt_tokens, details.completion_tokens, details.total_tokens, details.cached_tokens,
    details.estimated, details.metadata, details.extra, details.tags, details.environment, details.release,
    details.prompt_version, details.response_ms, details.first_token_ms, details.cost_usd::float8 AS cost_usd,
    details.cost_from, details.finish_reason, details.attempts, details.receipt, details.prosody, details.context
FROM telemetry.chat AS chat
JOIN telemetry.prompt_details AS details USING (keep, day, org_id, id)
"""
TURNS = (
    WHOLE
    + """
WHERE chat.org_id = $1 AND chat.session_id = $2 AND chat.mode = $3 AND day BETWEEN $4 AND $5
    AND ($6::timestamptz IS NULL OR (chat.at, chat.id) > ($6, $7::uuid))
ORDER BY chat.at, chat.id
LIMIT $8
"""
)
ONE = WHOLE + " WHERE chat.org_id = $1 AND day = $2 AND chat.id = $3"
# Those of the interactions, and those that were reported alone and belong to the same traces.
STEPS = """
SELECT * FROM telemetry.steps
WHERE org_id = $1 AND day BETWEEN $2 AND $3
    AND (interaction_id = ANY($4::uuid[]) OR (interaction_id IS NULL AND trace_id = ANY($5::text[])))
ORDER BY owner, position
LIMIT $6
"""
SCORES = """
SELECT * FROM telemetry.scores WHERE org_id = $1 AND interaction_id = ANY($2::uuid[]) ORDER BY at, id LIMIT $3
"""

Row = Mapping[str, Any]


class PostgresInteractionSessions:
    """The port `InteractionSessions`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def page(
        self,
        query: SessionListRequested,
        users: Sequence[str] | None,
        limit: int,
        behind: tuple[datetime, str, str] | None,
    ) -> Sequence[Row]:
        who = None if users is None else without_nul(list(users))
        since, until = (None if each is None else utc(each) for each in (query.since, query.until))
        async with transient():
            return await self._pool.fetch(
                SESSIONS, query.org_id, query.mode, who, since, until, *(behind or (None, None, None)), limit
            )

    async def session(self, org_id: str, names: Sequence[str], mode: str | None) -> Row | None:
        async with transient():
            return await self._pool.fetchrow(SESSION, org_id, without_nul(list(names)), mode)

    async def turns(
        self, org_id: str, session: Row, days: tuple[date, date], limit: int, behind: tuple[datetime, str] | None
    ) -> Sequence[Row]:
        async with transient():
            return await self._pool.fetch(
                TURNS, org_id, session["session_id"], session["mode"], *days, *(behind or (None, None)), limit
            )

    async def interaction(self, org_id: str, day: date, id: str) -> Row | None:
        async with transient():
            return await self._pool.fetchrow(ONE, org_id, day, id)

    async def steps(
        self, org_id: str, days: tuple[date, date], ids: Sequence[str], traces: Sequence[str], limit: int
    ) -> Sequence[Row]:
        async with transient():
            return await self._pool.fetch(STEPS, org_id, *days, ids, traces, limit)

    async def scores(self, org_id: str, ids: Sequence[str], limit: int) -> Sequence[Row]:
        async with transient():
            return await self._pool.fetch(SCORES, org_id, ids, limit)
