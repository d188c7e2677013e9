-- The tables of a unit of work, in the schema of the service that has one (the search path names it)
-- depends:

-- migrate: apply
-- Every write of an organisation takes its row: the clock orders them, and caches keep the larger one.
CREATE TABLE IF NOT EXISTS organizations (
    org_id text PRIMARY KEY,
    clock bigint NOT NULL DEFAULT 0
);

CREATE TABLE IF NOT EXISTS audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    org_id text NOT NULL,
    key_id text NOT NULL,
    user_id text NOT NULL,
    action text NOT NULL,
    target text NOT NULL,
    before text,
    after text,
    event_id text NOT NULL,
    at timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS audit_newest ON audit (org_id, id DESC);

-- Written with the change it tells of, published and removed by the outbox publisher.
CREATE TABLE IF NOT EXISTS outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id text NOT NULL,
    name text NOT NULL,
    payload jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- The answer to every command that was done: a repetition gets it again and changes nothing.
CREATE TABLE IF NOT EXISTS answers (
    event_id text PRIMARY KEY,
    status integer NOT NULL,
    body jsonb NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS answers_oldest ON answers (at);

-- migrate: rollback
DROP TABLE IF EXISTS answers;
DROP TABLE IF EXISTS outbox;
DROP TABLE IF EXISTS audit;
DROP TABLE IF EXISTS organizations;
