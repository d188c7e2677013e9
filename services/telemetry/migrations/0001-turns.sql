-- Every chat turn once, and what it used
-- depends:

-- migrate: apply
CREATE TABLE telemetry.turns (
    request_id text PRIMARY KEY,
    org_id text NOT NULL,
    key_id text NOT NULL,
    session_id text NOT NULL,
    user_id text,
    model text NOT NULL,
    stream boolean NOT NULL,
    upstream text,
    upstream_model text,
    outcome text NOT NULL CHECK (outcome IN ('completed', 'interrupted', 'failed')),
    finish_reason text,
    prompt_tokens integer NOT NULL,
    completion_tokens integer NOT NULL,
    total_tokens integer NOT NULL,
    estimated boolean NOT NULL,
    cost_usd numeric NOT NULL,
    received_at timestamptz NOT NULL,
    started_at timestamptz NOT NULL,
    first_token_at timestamptz,
    finished_at timestamptz NOT NULL,
    attempts jsonb NOT NULL,
    receipt jsonb,
    error jsonb,
    stored_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX turns_usage ON telemetry.turns (org_id, finished_at);

-- migrate: rollback
DROP TABLE telemetry.turns;
