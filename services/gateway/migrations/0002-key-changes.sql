-- When a key changed, and which request made it
-- depends: 0001-keys

-- migrate: apply

ALTER TABLE gateway.api_keys ADD COLUMN changed_at timestamptz, ADD COLUMN made_by bytea;

CREATE INDEX api_keys_by_change ON gateway.api_keys (changed_at);

CREATE UNIQUE INDEX api_keys_by_request ON gateway.api_keys (made_by);

-- migrate: rollback

ALTER TABLE gateway.api_keys DROP COLUMN changed_at, DROP COLUMN made_by;
