-- Interactions, with what belongs to them, and the ledger that shows that none is missing
-- depends: 0003-large-counts

-- migrate: apply

-- `keep` is how many days a row is kept, and `day` the UTC day in its id: both together name its partition, which is
-- dropped as a whole. Partitions are made by the service.
CREATE TABLE telemetry.chat (
    keep smallint NOT NULL,
    day date NOT NULL,
    org_id text NOT NULL,
    id uuid NOT NULL,
    mode text NOT NULL CHECK (mode IN ('prod', 'dev')),
    origin text NOT NULL CHECK (origin IN ('api', 'otlp', 'sonant')),
    key_id text NOT NULL,
    project_id text,
    session_id text NOT NULL,
    user_id text,
    llm_model text,
    provider text,
    file_name text,
    user_prompt text,
    ai_response text,
    user_meta_data jsonb,
    status text NOT NULL CHECK (status IN ('ok', 'error', 'interrupted')),
    error jsonb,
    trace_id text,
    span_id text,
    parent_id text,
    active_set jsonb,
    request_id text,
    at timestamptz NOT NULL,
    ended_at timestamptz,
    batch_id uuid,
    accepted_at timestamptz NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (keep, day, org_id, id)
) PARTITION BY LIST (keep);
CREATE INDEX chat_session ON telemetry.chat (org_id, session_id, at, id);
CREATE INDEX chat_user ON telemetry.chat (org_id, user_id) WHERE user_id IS NOT NULL;
CREATE INDEX chat_trace ON telemetry.chat (org_id, trace_id) WHERE trace_id IS NOT NULL;

CREATE TABLE telemetry.prompt_details (
    keep smallint NOT NULL,
    day date NOT NULL,
    org_id text NOT NULL,
    mode text NOT NULL,
    id uuid NOT NULL,
    prompt_tokens bigint,
    completion_tokens bigint,
    total_tokens bigint,
    cached_tokens bigint,
    estimated boolean NOT NULL DEFAULT false,
    metadata jsonb,
    extra jsonb,
    tags text[],
    environment text,
    release text,
    prompt_version text,
    response_ms double precision,
    first_token_ms double precision,
    cost_usd numeric,
    cost_from text CHECK (cost_from IN ('caller', 'prices', 'upstream')),
    finish_reason text,
    attempts jsonb,
    receipt jsonb,
    prosody jsonb,
    context jsonb,
    PRIMARY KEY (keep, day, org_id, id)
) PARTITION BY LIST (keep);

-- `owner` is the interaction whose `position`th step it is, or the step itself where it was reported alone.
CREATE TABLE telemetry.steps (
    keep smallint NOT NULL,
    day date NOT NULL,
    org_id text NOT NULL,
    mode text NOT NULL,
    owner uuid NOT NULL,
    position integer NOT NULL,
    interaction_id uuid,
    step_id text NOT NULL,
    parent_id text,
    trace_id text,
    session_id text,
    user_id text,
    name text NOT NULL,
    type text,
    at timestamptz,
    duration_ms double precision,
    input jsonb,
    output jsonb,
    status text CHECK (status IN ('ok', 'error')),
    error jsonb,
    metadata jsonb,
    PRIMARY KEY (keep, day, org_id, owner, position)
) PARTITION BY LIST (keep);
CREATE INDEX steps_interaction ON telemetry.steps (org_id, interaction_id) WHERE interaction_id IS NOT NULL;
CREATE INDEX steps_trace ON telemetry.steps (org_id, trace_id) WHERE trace_id IS NOT NULL;
CREATE INDEX steps_user ON telemetry.steps (org_id, user_id) WHERE user_id IS NOT NULL;

CREATE TABLE telemetry.scores (
    keep smallint NOT NULL,
    day date NOT NULL,
    org_id text NOT NULL,
    mode text NOT NULL,
    interaction_id uuid NOT NULL,
    id uuid NOT NULL,
    name text NOT NULL,
    value double precision,
    value_text text,
    comment text,
    source text,
    user_id text,
    metadata jsonb,
    at timestamptz NOT NULL,
    PRIMARY KEY (keep, day, org_id, id)
) PARTITION BY LIST (keep);
CREATE INDEX scores_interaction ON telemetry.scores (org_id, interaction_id);
CREATE INDEX scores_user ON telemetry.scores (org_id, user_id) WHERE user_id IS NOT NULL;

CREATE TABLE telemetry.sessions (
    org_id text NOT NULL,
    mode text NOT NULL,
    session_id text NOT NULL,
    user_id text,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    turns bigint NOT NULL,
    errors bigint NOT NULL,
    total_tokens bigint NOT NULL,
    cost_usd numeric NOT NULL,
    last_model text,
    PRIMARY KEY (org_id, mode, session_id)
);
CREATE INDEX sessions_latest ON telemetry.sessions (org_id, last_at, session_id, mode);
CREATE INDEX sessions_user ON telemetry.sessions (org_id, user_id) WHERE user_id IS NOT NULL;

-- Every id that was taken, for longer than an id of that day is taken.
CREATE TABLE telemetry.ids (
    day date NOT NULL,
    org_id text NOT NULL,
    id uuid NOT NULL,
    PRIMARY KEY (day, org_id, id)
) PARTITION BY RANGE (day);

-- What became of each batch: its items are stored, but for those that are listed otherwise. Positions are indexes in
-- the request, `parked` has them with their reason.
CREATE TABLE telemetry.batches (
    day date NOT NULL,
    batch_id uuid NOT NULL,
    org_id text NOT NULL,
    accepted_at timestamptz NOT NULL,
    ids uuid[] NOT NULL,
    positions smallint[] NOT NULL,
    sampled_out smallint[] NOT NULL,
    repeated smallint[] NOT NULL,
    parked jsonb NOT NULL,
    PRIMARY KEY (day, batch_id)
) PARTITION BY RANGE (day);

-- What became of the items that were accepted in an hour (unix seconds / 3600).
CREATE TABLE telemetry.ledger (
    org_id text NOT NULL,
    hour bigint NOT NULL,
    stored bigint NOT NULL,
    sampled_out bigint NOT NULL,
    parked bigint NOT NULL,
    repeated bigint NOT NULL,
    PRIMARY KEY (org_id, hour)
);
-- How many each gateway process says it has accepted, and how many of them the log brought here.
CREATE TABLE telemetry.tallies (
    org_id text NOT NULL,
    hour bigint NOT NULL,
    source text NOT NULL,
    confirmed bigint NOT NULL,
    arrived bigint NOT NULL,
    PRIMARY KEY (org_id, hour, source)
);
CREATE INDEX tallies_hour ON telemetry.tallies (hour);

-- Which retentions an organisation has rows of: where its policy changes, those rows move.
CREATE TABLE telemetry.kept (
    org_id text NOT NULL,
    mode text NOT NULL,
    keep smallint NOT NULL,
    PRIMARY KEY (org_id, mode, keep)
);

-- Users whose rows are to be deleted; those that were accepted before, and come later, too.
CREATE TABLE telemetry.deletions (
    id uuid PRIMARY KEY,
    org_id text NOT NULL,
    user_id text NOT NULL,
    requested_by text NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now(),
    done_at timestamptz,
    rows bigint NOT NULL DEFAULT 0
);
CREATE INDEX deletions_open ON telemetry.deletions (requested_at) WHERE done_at IS NULL;

CREATE TABLE telemetry.policies (
    org_id text PRIMARY KEY,
    policy jsonb NOT NULL,
    revision bigint NOT NULL,
    changed_by text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);

-- US dollars for a million tokens. The latest that was valid at the time of an interaction counts.
CREATE TABLE telemetry.prices (
    org_id text NOT NULL,
    model text NOT NULL,
    valid_from timestamptz NOT NULL,
    input numeric NOT NULL,
    output numeric NOT NULL,
    cached_input numeric,
    changed_by text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, model, valid_from)
);

-- migrate: rollback
DROP TABLE telemetry.prices;
DROP TABLE telemetry.policies;
DROP TABLE telemetry.deletions;
DROP TABLE telemetry.kept;
DROP TABLE telemetry.tallies;
DROP TABLE telemetry.ledger;
DROP TABLE telemetry.batches;
DROP TABLE telemetry.ids;
DROP TABLE telemetry.sessions;
DROP TABLE telemetry.scores;
DROP TABLE telemetry.steps;
DROP TABLE telemetry.prompt_details;
DROP TABLE telemetry.chat;
