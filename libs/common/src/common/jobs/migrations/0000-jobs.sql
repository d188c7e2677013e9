-- The tables of jobs, in the schema of the service that has them (the search path names it)
-- depends:

-- migrate: apply
-- `fence` counts how often the job was claimed: whoever has a lower one has lost it, and can write nothing.
CREATE TABLE IF NOT EXISTS jobs (
    id text PRIMARY KEY,
    org_id text NOT NULL,
    key_id text NOT NULL,
    user_id text NOT NULL,
    kind text NOT NULL,
    state text NOT NULL CHECK (state IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
    input jsonb NOT NULL,
    result jsonb,
    error jsonb,
    step text,
    percent real NOT NULL DEFAULT 0,
    round integer NOT NULL DEFAULT 1,
    tries integer NOT NULL DEFAULT 0,
    deaths integer NOT NULL DEFAULT 0,
    milestones integer NOT NULL DEFAULT 0,
    cost_usd numeric NOT NULL DEFAULT 0,
    cancel boolean NOT NULL DEFAULT false,
    fence bigint NOT NULL DEFAULT 0,
    worker text,
    lease_until timestamptz,
    available_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    started_at timestamptz,
    finished_at timestamptz,
    deadline_at timestamptz NOT NULL,
    expires_at timestamptz,
    retried_by text,
    webhook text
);
CREATE INDEX IF NOT EXISTS jobs_newest ON jobs (org_id, created_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS jobs_queued ON jobs (kind, org_id, available_at) WHERE state = 'queued';
CREATE INDEX IF NOT EXISTS jobs_late ON jobs (deadline_at) WHERE state = 'queued';
CREATE INDEX IF NOT EXISTS jobs_leased ON jobs (lease_until) WHERE state = 'running';
CREATE INDEX IF NOT EXISTS jobs_expired ON jobs (expires_at) WHERE expires_at IS NOT NULL;

-- What is remembered of a job over the death of its worker, and over retries.
CREATE TABLE IF NOT EXISTS job_memos (
    job_id text NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    key text NOT NULL,
    value jsonb NOT NULL,
    PRIMARY KEY (job_id, key)
);

CREATE TABLE IF NOT EXISTS job_attempts (
    job_id text NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    number integer NOT NULL,
    fence bigint NOT NULL,
    step text,
    provider text NOT NULL,
    operation text NOT NULL,
    outcome text NOT NULL,
    reference text,
    cost_usd numeric NOT NULL DEFAULT 0,
    started_at timestamptz NOT NULL,
    finished_at timestamptz,
    error jsonb,
    PRIMARY KEY (job_id, number)
);

CREATE TABLE IF NOT EXISTS job_milestones (
    job_id text NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    number integer NOT NULL,
    event text NOT NULL,
    step text,
    percent real NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (job_id, number)
);

-- migrate: rollback
DROP TABLE IF EXISTS job_milestones;
DROP TABLE IF EXISTS job_attempts;
DROP TABLE IF EXISTS job_memos;
DROP TABLE IF EXISTS jobs;
