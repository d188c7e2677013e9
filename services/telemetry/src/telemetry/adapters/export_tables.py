"""PostgreSQL: interactions for an export, page by page in the order of their ids, a partition at a time."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from common.events.interaction_items import MAX_AHEAD_SECONDS, MAX_APART_SECONDS
from common.storage.postgres import Pool, transient
from telemetry.adapters.partitions import leaves_of
from telemetry.ports import ExportLeaf, ExportWanted, Row

# A row lies on the day of its id, which may be so far from the moment that it names.
APART = timedelta(seconds=max(MAX_APART_SECONDS, MAX_AHEAD_SECONDS))
ROWS_AT_ONCE = 1_000
# Of the texts of one page, as they are in memory; one interaction may have more.
BYTES_AT_ONCE = 4 * 1024 * 1024

# What a page may hold is found first, without reading the texts: `octet_length` of what lies apart reads none of it.
KEYS = """
SELECT id, coalesce(octet_length(user_prompt), 0) + coalesce(octet_length(ai_response), 0) AS bytes
FROM telemetry.chat
WHERE keep = $1 AND day = $2 AND org_id = $3 AND ($4::uuid IS NULL OR id > $4)
    AND ($5::text IS NULL OR mode = $5)
    AND ($6::float8 IS NULL OR at >= to_timestamp($6))
    AND ($7::float8 IS NULL OR at < to_timestamp($7))
    AND ($8::text[] IS NULL OR session_id = ANY($8))
    AND ($9::text[] IS NULL OR user_id = ANY($9))
    AND ($10::text IS NULL OR llm_model = $10)
    AND ($11::text IS NULL OR project_id = $11)
ORDER BY id
LIMIT $12
"""
ROWS = """
SELECT chat.id::text, chat.mode, origin, operation, extract(epoch FROM at)::float8 AS at,
    extract(epoch FROM ended_at)::float8 AS ended_at, extract(epoch FROM accepted_at)::float8 AS accepted_at,
    session_id, user_id, project_id, llm_model, provider, file_name, user_prompt, ai_response, status, error,
    finish_reason, prompt_tokens, completion_tokens, total_tokens, cached_tokens, estimated, response_ms,
    first_token_ms, cost_usd::float8, cost_from, environment, release, prompt_version, to_json(tags) AS tags, trace_id,
    span_id, parent_id, request_id, metadata, user_meta_data AS user_metadata, extra, active_set, attempts, receipt,
    prosody, context, steps, scores
FROM telemetry.chat AS chat
JOIN telemetry.prompt_details AS details USING (keep, day, org_id, id)
LEFT JOIN LATERAL (
    SELECT json_agg(json_build_object(
        'id', step_id, 'parent_id', parent_id, 'name', name, 'type', type, 'at', extract(epoch FROM at)::float8,
        'duration_ms', duration_ms, 'input', input, 'output', output, 'status', status, 'error', error,
        'metadata', metadata
    ) ORDER BY position) AS steps
    FROM telemetry.steps AS s WHERE s.keep = $1 AND s.day = $2 AND s.org_id = $3 AND s.owner = chat.id
) AS own_steps ON true
LEFT JOIN LATERAL (
    SELECT json_agg(json_build_object(
        'id', r.id, 'name', name, 'value', value, 'value_text', value_text, 'comment', comment, 'source', source,
        'user_id', r.user_id, 'metadata', r.metadata, 'at', extract(epoch FROM r.at)::float8
    ) ORDER BY r.at, r.id) AS scores
    FROM telemetry.scores AS r WHERE r.org_id = $3 AND r.interaction_id = chat.id
) AS own_scores ON true
WHERE chat.keep = $1 AND chat.day = $2 AND chat.org_id = $3 AND chat.id = ANY($4::uuid[])
ORDER BY chat.id
"""


class PostgresExports:
    """The port `Exports`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def leaves(self, wanted: ExportWanted) -> Sequence[ExportLeaf]:
        first = None if wanted.since is None else (_utc(wanted.since) - APART).date()
        last = None if wanted.until is None else (_utc(wanted.until) + APART).date()
        async with transient():
            kept = await self._pool.fetch("SELECT DISTINCT keep FROM telemetry.kept WHERE org_id = $1", wanted.org_id)
            found = [ExportLeaf(row["keep"], day) for row in kept for day in await leaves_of(self._pool, row["keep"])]
        return sorted(
            (leaf for leaf in found if (first is None or leaf.day >= first) and (last is None or leaf.day <= last)),
            key=lambda leaf: (leaf.day, leaf.keep),
        )

    async def page(self, wanted: ExportWanted, leaf: ExportLeaf, behind: str | None) -> Sequence[Row]:
        org_id, *filters = wanted
        async with transient():
            keys = await self._pool.fetch(KEYS, leaf.keep, leaf.day, org_id, behind, *filters, ROWS_AT_ONCE)
            ids: list[object] = []
            size = 0
            for key in keys:
                size += key["bytes"]
                if ids and size > BYTES_AT_ONCE:
                    break
                ids.append(key["id"])
            return await self._pool.fetch(ROWS, leaf.keep, leaf.day, org_id, ids) if ids else []


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
