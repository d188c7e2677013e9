-- What a key may spend in a day or a month
-- depends: 0002-key-changes

-- migrate: apply

ALTER TABLE gateway.api_keys
    ADD COLUMN budget_tokens bigint,
    ADD COLUMN budget_usd double precision,
    ADD COLUMN budget_period text,
    ADD COLUMN budget_id text;

-- migrate: rollback

ALTER TABLE gateway.api_keys
    DROP COLUMN budget_tokens,
    DROP COLUMN budget_usd,
    DROP COLUMN budget_period,
    DROP COLUMN budget_id;
