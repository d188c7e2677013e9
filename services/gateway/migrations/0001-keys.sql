-- Organisations and their API keys
-- depends:

-- migrate: apply

CREATE TABLE gateway.organizations (
    id text PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE gateway.api_keys (
    id text PRIMARY KEY,
    digest bytea NOT NULL,
    name text NOT NULL,
    org_id text NOT NULL REFERENCES gateway.organizations (id),
    scopes text[] NOT NULL,
    requests_per_minute integer,
    tokens_per_minute integer,
    concurrent_streams integer,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    replaced_by text,
    last_used_at timestamptz
);

CREATE INDEX api_keys_by_age ON gateway.api_keys (created_at DESC, id DESC);

CREATE INDEX api_keys_by_organization ON gateway.api_keys (org_id, created_at DESC, id DESC);

-- migrate: rollback

DROP TABLE gateway.api_keys;

DROP TABLE gateway.organizations;
