"""The statements about jobs; `JOBS.` stands for the schema. Facts are made where the change is, in one statement."""

from common.events.audit import AUDIT_RECORDED
from common.events.media import (
    MEDIA_JOB_CANCELLED,
    MEDIA_JOB_COMPLETED,
    MEDIA_JOB_FAILED,
    MEDIA_JOB_PROGRESSED,
)

# What follows a change of one job, whose rows the CTE `moved` returns: its milestone, and the fact of it.
MILESTONE = """
noted AS (
    INSERT INTO JOBS.job_milestones (job_id, number, event, step, percent, at)
    SELECT id, milestones, event, step, percent, now() FROM moved
)
"""
ABOUT = """
'org_id', org_id, 'key_id', key_id, 'user_id', user_id, 'job_id', id, 'kind', kind, 'round', round,
'at', extract(epoch FROM now())::float8
"""
PROGRESSED = f"""
told AS (
    INSERT INTO JOBS.outbox (event_id, name, payload)
    SELECT id || '/' || milestones, '{MEDIA_JOB_PROGRESSED.name}', jsonb_strip_nulls(jsonb_build_object({ABOUT},
        'number', milestones, 'event', event, 'step', step, 'percent', percent))
    FROM moved
)
"""  # noqa: S608  (constants only, as in all that follow)
ENDED = f"""
told AS (
    INSERT INTO JOBS.outbox (event_id, name, payload)
    SELECT id || '/' || milestones, CASE state WHEN 'completed' THEN '{MEDIA_JOB_COMPLETED.name}'
        WHEN 'failed' THEN '{MEDIA_JOB_FAILED.name}' ELSE '{MEDIA_JOB_CANCELLED.name}' END, jsonb_build_object({ABOUT},
        'created_at', extract(epoch FROM created_at)::float8, 'cost_usd', cost_usd, 'webhook', webhook,
        'providers', coalesce((
            SELECT jsonb_agg(DISTINCT a.provider) FROM JOBS.job_attempts a
            WHERE a.job_id = moved.id AND a.outcome = 'completed'), '[]'::jsonb))
        || CASE state
            WHEN 'completed' THEN jsonb_build_object('result', result)
            WHEN 'failed' THEN jsonb_strip_nulls(
                jsonb_build_object('code', error -> 'code', 'message', error -> 'message'))
            ELSE '{{}}'::jsonb END
    FROM moved
)
"""  # noqa: S608
END = "state = {state}, finished_at = now(), expires_at = now() + make_interval(secs => {keep}), lease_until = NULL"

QUEUED = """
SELECT kind, org_id, count(*) AS jobs FROM JOBS.jobs WHERE state = 'queued' GROUP BY kind, org_id
"""

ACCEPT = f"""
WITH moved AS (
    INSERT INTO JOBS.jobs AS j (id, org_id, key_id, user_id, kind, state, input, error, webhook, milestones,
        available_at, created_at, deadline_at, finished_at, expires_at)
    SELECT id, org_id, key_id, user_id, kind, state, input, error, webhook, 1,
        now(), to_timestamp(created_at), to_timestamp(deadline_at),
        CASE WHEN state = 'failed' THEN now() END,
        CASE WHEN state = 'failed' THEN now() + make_interval(secs => keep_seconds) END
    FROM json_to_recordset($1::json) AS given (
        id text, org_id text, key_id text, user_id text, kind text, state text, input jsonb, error jsonb,
        webhook text, created_at float8, deadline_at float8, keep_seconds float8)
    ON CONFLICT (id) DO NOTHING
    RETURNING j.*, j.state AS event
),
{MILESTONE},
{ENDED.replace("FROM moved", "FROM moved WHERE state = 'failed'")}
SELECT count(*) FROM moved
"""  # noqa: S608

JOB = "SELECT * FROM JOBS.jobs WHERE org_id = $1 AND id = $2"
ATTEMPTS = "SELECT * FROM JOBS.job_attempts WHERE job_id = $1 ORDER BY number DESC LIMIT $2"
MILESTONES = "SELECT * FROM JOBS.job_milestones WHERE job_id = $1 ORDER BY number DESC LIMIT $2"
PAGE = """
SELECT * FROM JOBS.jobs
WHERE org_id = $1
    AND ($2::text IS NULL OR kind = $2) AND ($3::text IS NULL OR state = $3)
    AND ($4::float8 IS NULL OR created_at >= to_timestamp($4))
    AND ($5::float8 IS NULL OR created_at < to_timestamp($5))
    AND ($6::text IS NULL OR (created_at, id) < (
        SELECT created_at, id FROM JOBS.jobs WHERE org_id = $1 AND id = $6))
ORDER BY created_at DESC, id DESC LIMIT $7
"""

# In one order everywhere, or two who hold some of the same would wait for each other.
ASK_END = """
WITH held AS (
    SELECT id FROM JOBS.jobs WHERE org_id = $1 AND id = ANY($2::text[]) AND state IN ('queued', 'running')
    ORDER BY id FOR UPDATE
)
UPDATE JOBS.jobs j SET cancel = true FROM held WHERE j.id = held.id RETURNING j.id, j.state
"""
CANCEL_WAITING = f"""
WITH moved AS (
    UPDATE JOBS.jobs SET {END.format(state="'cancelled'", keep="$3::float8")}, milestones = milestones + 1
    WHERE org_id = $1 AND id = ANY($2::text[]) AND state = 'queued' RETURNING *, 'cancelled' AS event
),
{MILESTONE},
{ENDED}
SELECT count(*) FROM moved
"""  # noqa: S608
RETRY = f"""
WITH moved AS (
    UPDATE JOBS.jobs SET state = 'queued', round = round + 1, tries = 0, deaths = 0, cancel = false,
        error = NULL, result = NULL, step = NULL, percent = 0, started_at = NULL, finished_at = NULL,
        expires_at = NULL, available_at = now(), deadline_at = now() + make_interval(secs => $4::float8),
        retried_by = $3, milestones = milestones + 1
    WHERE org_id = $1 AND id = $2 AND state IN ('failed', 'cancelled') AND retried_by IS DISTINCT FROM $3
    RETURNING *, 'queued' AS event
),
{MILESTONE},
{PROGRESSED}
SELECT count(*) FROM moved
"""  # noqa: S608
RETRIED = "SELECT EXISTS (SELECT 1 FROM JOBS.jobs WHERE org_id = $1 AND id = $2 AND retried_by = $3)"

# Whose organisation has less at work goes first, then who has waited longer. What a dead worker held goes before all.
CLAIM = f"""
WITH busy AS (
    SELECT org_id, count(*) AS jobs FROM JOBS.jobs
    WHERE state = 'running' AND kind = $1 AND lease_until >= now() GROUP BY org_id
),
waiting AS (
    SELECT id, 0 AS turn, lease_until AS since FROM JOBS.jobs
    WHERE state = 'running' AND kind = $1 AND lease_until < now()
    UNION ALL
    SELECT id, coalesce(busy.jobs, 0) + row_number() OVER (PARTITION BY j.org_id ORDER BY available_at, id),
        available_at
    FROM JOBS.jobs j LEFT JOIN busy USING (org_id)
    WHERE state = 'queued' AND kind = $1 AND available_at <= now()
),
picked AS (SELECT id FROM waiting ORDER BY turn, since LIMIT $2),
held AS (
    SELECT j.id, j.state AS was, j.tries > 0 AS again FROM JOBS.jobs j JOIN picked USING (id)
    WHERE (state = 'queued' AND available_at <= now()) OR (state = 'running' AND lease_until < now())
    FOR UPDATE OF j SKIP LOCKED
),
moved AS (
    UPDATE JOBS.jobs j SET state = 'running', fence = fence + 1, worker = $3,
        lease_until = now() + make_interval(secs => $4::float8), started_at = coalesce(started_at, now()),
        deaths = deaths + (held.was = 'running')::integer, milestones = milestones + 1
    FROM held WHERE j.id = held.id
    RETURNING j.*, CASE WHEN held.was = 'running' OR held.again THEN 'resumed' ELSE 'started' END AS event
),
lost AS (
    UPDATE JOBS.job_attempts a SET outcome = 'unknown', finished_at = now()
    FROM moved WHERE a.job_id = moved.id AND a.outcome = 'running'
),
{MILESTONE},
{PROGRESSED}
SELECT *, extract(epoch FROM deadline_at)::float8 AS deadline FROM moved
"""  # noqa: S608

# Which kinds have something to do now.
DUE = """
SELECT DISTINCT kind FROM JOBS.jobs
WHERE (state = 'queued' AND available_at <= now()) OR (state = 'running' AND lease_until < now())
"""

RENEW = """
UPDATE JOBS.jobs j SET lease_until = now() + make_interval(secs => $4::float8),
    percent = greatest(j.percent, held.percent)
FROM unnest($1::text[], $2::bigint[], $3::real[]) AS held (id, fence, percent)
WHERE j.id = held.id AND j.fence = held.fence AND j.state = 'running'
RETURNING j.id, j.cancel
"""
FREE = "UPDATE JOBS.jobs SET lease_until = now() WHERE state = 'running' AND starts_with(worker, $1)"

OURS = "id = $1 AND fence = $2 AND state = 'running'"
NOTE = f"""
WITH moved AS (
    UPDATE JOBS.jobs SET milestones = milestones + 1, step = coalesce($4::text, step),
        deaths = CASE WHEN $4::text IS DISTINCT FROM step THEN 0 ELSE deaths END, percent = greatest(percent, $5::real)
    WHERE {OURS} RETURNING *, $3::text AS event
),
{MILESTONE},
{PROGRESSED}
SELECT milestones FROM moved
"""  # noqa: S608
REMEMBER = f"""
INSERT INTO JOBS.job_memos (job_id, key, value)
SELECT id, $3, $4::jsonb FROM JOBS.jobs WHERE {OURS} FOR UPDATE
ON CONFLICT (job_id, key) DO UPDATE SET value = excluded.value RETURNING key
"""  # noqa: S608
RECALL = f"""
SELECT key, value FROM JOBS.jobs LEFT JOIN JOBS.job_memos ON job_id = id WHERE {OURS}
"""  # noqa: S608
FORGET = f"""
WITH ours AS (SELECT id FROM JOBS.jobs WHERE {OURS} FOR UPDATE),
gone AS (DELETE FROM JOBS.job_memos USING ours WHERE job_id = ours.id AND key = $3)
SELECT id FROM ours
"""  # noqa: S608
BEGIN_ATTEMPT = f"""
WITH ours AS (
    UPDATE JOBS.jobs SET lease_until = now() + make_interval(secs => $6::float8) WHERE {OURS} RETURNING id
)
INSERT INTO JOBS.job_attempts (job_id, number, fence, step, provider, operation, outcome, started_at)
SELECT id, 1 + coalesce((SELECT max(number) FROM JOBS.job_attempts WHERE job_id = $1), 0), $2, $3, $4, $5,
    'running', now()
FROM ours RETURNING number
"""  # noqa: S608
END_ATTEMPT = f"""
WITH ours AS (SELECT * FROM JOBS.jobs WHERE {OURS} FOR UPDATE),
ended AS (
    UPDATE JOBS.job_attempts a SET outcome = $4, reference = $6, error = $7::jsonb, finished_at = now(),
        cost_usd = CASE WHEN EXISTS (
            SELECT 1 FROM JOBS.job_attempts b
            WHERE b.job_id = $1 AND b.reference = $6 AND b.number <> $3 AND b.cost_usd > 0
        ) THEN 0 ELSE $5::float8::numeric END
    FROM ours WHERE a.job_id = ours.id AND a.number = $3 AND a.outcome = 'running'
    RETURNING ours.org_id, ours.key_id, ours.user_id, ours.id, a.provider, a.operation, a.number, a.cost_usd
),
paid AS (UPDATE JOBS.jobs j SET cost_usd = j.cost_usd + ended.cost_usd FROM ended WHERE j.id = ended.id),
entry AS (
    INSERT INTO JOBS.audit (org_id, key_id, user_id, action, target, event_id, at)
    SELECT org_id, key_id, user_id, 'provider.called', provider || '/' || operation || ' ' || id,
        id || '/attempt-' || number, now()
    FROM ended RETURNING *
),
told AS (
    INSERT INTO JOBS.outbox (event_id, name, payload)
    SELECT event_id, '{AUDIT_RECORDED.name}', jsonb_build_object('id', id, 'org_id', org_id, 'key_id', key_id,
        'user_id', user_id, 'action', action, 'target', target, 'event_id', event_id,
        'at', extract(epoch FROM at)::float8)
    FROM entry
)
SELECT id FROM ours
"""  # noqa: S608
CLOSE_ATTEMPTS = """
closed AS (
    UPDATE JOBS.job_attempts a SET outcome = 'abandoned', finished_at = now()
    FROM moved WHERE a.job_id = moved.id AND a.outcome = 'running'
)
"""
FINISH = f"""
WITH moved AS (
    UPDATE JOBS.jobs SET {END.format(state="$3", keep="$6::float8")}, result = $4::jsonb, error = $5::jsonb,
        percent = CASE WHEN $3 = 'completed' THEN 100 ELSE percent END, milestones = milestones + 1
    WHERE {OURS} RETURNING *, $3::text AS event
),
{CLOSE_ATTEMPTS},
{MILESTONE},
{ENDED}
SELECT id FROM moved
"""  # noqa: S608
POSTPONE = f"""
WITH moved AS (
    UPDATE JOBS.jobs SET state = 'queued', available_at = now() + make_interval(secs => $3::float8), tries = tries + 1,
        lease_until = NULL, worker = NULL, error = $4::jsonb, milestones = milestones + 1
    WHERE {OURS} RETURNING *, 'waiting' AS event
),
{CLOSE_ATTEMPTS},
{MILESTONE},
{PROGRESSED}
SELECT id FROM moved
"""  # noqa: S608
RELEASE = f"UPDATE JOBS.jobs SET lease_until = now() WHERE {OURS} RETURNING id"  # noqa: S608

END_LATE = f"""
WITH late AS (
    SELECT id FROM JOBS.jobs WHERE state = 'queued' AND kind = $1 AND deadline_at < now()
    LIMIT 1000 FOR UPDATE SKIP LOCKED
),
moved AS (
    UPDATE JOBS.jobs j SET {END.format(state="'failed'", keep="$2::float8")}, error = $3::jsonb,
        milestones = milestones + 1
    FROM late WHERE j.id = late.id RETURNING j.*, 'failed' AS event
),
{MILESTONE},
{ENDED}
SELECT count(*) FROM moved
"""  # noqa: S608
EXPIRED = "SELECT org_id, id FROM JOBS.jobs WHERE expires_at < now() ORDER BY expires_at LIMIT $1"
DELETE = "DELETE FROM JOBS.jobs WHERE id = ANY($1) AND expires_at < now()"
