-- Webhooks out: endpoints of organisations, and the log of deliveries
-- depends:

-- migrate: apply
CREATE TABLE media.webhook_endpoints (
    id text PRIMARY KEY,
    org_id text NOT NULL,
    url text NOT NULL,
    description text NOT NULL,
    events text[] NOT NULL,
    state text NOT NULL CHECK (state IN ('enabled', 'disabled')),
    disabled_reason text,
    signing text NOT NULL CHECK (signing IN ('hmac-sha256', 'ed25519')),
    sealed_secret text NOT NULL,
    public_key text,
    sealed_old_secret text,
    old_public_key text,
    old_secret_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    rotated_at timestamptz,
    failing_since timestamptz
);
CREATE INDEX webhook_endpoints_org ON media.webhook_endpoints (org_id, created_at);

CREATE TABLE media.webhook_deliveries (
    number bigint GENERATED ALWAYS AS IDENTITY,
    id text PRIMARY KEY,
    org_id text NOT NULL,
    endpoint_id text NOT NULL REFERENCES media.webhook_endpoints ON DELETE CASCADE,
    message_id text NOT NULL,
    type text NOT NULL,
    body bytea NOT NULL,
    state text NOT NULL CHECK (state IN ('pending', 'delivered', 'failed')),
    created_at timestamptz NOT NULL DEFAULT now(),
    attempts_made integer NOT NULL DEFAULT 0,
    tries integer NOT NULL DEFAULT 0,
    next_at timestamptz,
    delivered_at timestamptz,
    attempts jsonb NOT NULL DEFAULT '[]',
    UNIQUE (endpoint_id, message_id)
);
CREATE INDEX webhook_deliveries_due ON media.webhook_deliveries (endpoint_id, next_at) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_page ON media.webhook_deliveries (org_id, number);
CREATE INDEX webhook_deliveries_age ON media.webhook_deliveries (created_at);

-- migrate: rollback
DROP TABLE media.webhook_deliveries;
DROP TABLE media.webhook_endpoints;
