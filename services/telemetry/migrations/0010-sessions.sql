-- What sessions keep of their turns
-- depends: 0003-large-counts

-- migrate: apply
CREATE TABLE telemetry.kept_sessions (
    org_id text NOT NULL,
    session_id text NOT NULL,
    user_id text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    turns integer NOT NULL,
    bytes bigint NOT NULL,
    cut boolean NOT NULL DEFAULT false,
    -- Turns that were received until then are gone, also those that come late.
    deleted_at timestamptz,
    PRIMARY KEY (org_id, session_id)
);
CREATE INDEX kept_sessions_used ON telemetry.kept_sessions (org_id, updated_at DESC, session_id DESC);
CREATE INDEX kept_sessions_of_user ON telemetry.kept_sessions (org_id, user_id, updated_at DESC, session_id DESC);
CREATE INDEX kept_sessions_oldest ON telemetry.kept_sessions (updated_at);

CREATE TABLE telemetry.session_turns (
    org_id text NOT NULL,
    request_id text NOT NULL,
    session_id text NOT NULL,
    received_at timestamptz NOT NULL,
    bytes integer NOT NULL,
    -- None of a turn that was deleted by itself.
    turn json,
    PRIMARY KEY (org_id, request_id)
);
CREATE INDEX session_turns_in_order ON telemetry.session_turns (org_id, session_id, received_at);

-- What was heard of an answer; it may be known before the turn is.
CREATE TABLE telemetry.spoken (
    org_id text NOT NULL,
    request_id text NOT NULL,
    session_id text NOT NULL,
    characters integer NOT NULL,
    spoken_by text NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (org_id, request_id)
);
CREATE INDEX spoken_of_session ON telemetry.spoken (org_id, session_id);

CREATE TABLE telemetry.session_policies (
    org_id text PRIMARY KEY,
    days integer NOT NULL CHECK (days BETWEEN 1 AND 3660)
);

-- migrate: rollback
DROP TABLE telemetry.session_policies;
DROP TABLE telemetry.spoken;
DROP TABLE telemetry.session_turns;
DROP TABLE telemetry.kept_sessions;
