-- Usage counted by day with the turns it is of, which are stored as interactions alone
-- depends: 0020-interactions

-- migrate: apply

-- The sums outlive the turns: those go with their retention, and with their users.
CREATE TABLE telemetry.usage_days (
    org_id text NOT NULL,
    day date NOT NULL,
    model text NOT NULL,
    key_id text NOT NULL,
    turns bigint NOT NULL,
    completed bigint NOT NULL,
    interrupted bigint NOT NULL,
    failed bigint NOT NULL,
    prompt_tokens numeric NOT NULL,
    completion_tokens numeric NOT NULL,
    total_tokens numeric NOT NULL,
    cost_usd numeric NOT NULL,
    PRIMARY KEY (org_id, day, model, key_id)
-- Its rows are counted up all day: a new version finds room beside the old one.
) WITH (fillfactor = 50);
-- A long name is its beginning and its digest, as in `telemetry.storable`.
CREATE FUNCTION telemetry.as_name(text) RETURNS text LANGUAGE sql IMMUTABLE RETURN
    CASE WHEN length($1) <= 256 AND octet_length($1) <= 800 THEN $1
    ELSE left($1, 100) || '…' || encode(sha256(convert_to($1, 'UTF8')), 'hex') END;
INSERT INTO telemetry.usage_days
SELECT
    telemetry.as_name(org_id), (finished_at AT TIME ZONE 'UTC')::date, telemetry.as_name(model),
    telemetry.as_name(key_id),
    count(*),
    count(*) FILTER (WHERE outcome = 'completed'),
    count(*) FILTER (WHERE outcome = 'interrupted'),
    count(*) FILTER (WHERE outcome = 'failed'),
    sum(prompt_tokens), sum(completion_tokens), sum(total_tokens), sum(cost_usd)
FROM telemetry.turns
GROUP BY 1, 2, 3, 4;
DROP FUNCTION telemetry.as_name;

ALTER TABLE telemetry.chat
    ADD COLUMN operation text NOT NULL DEFAULT 'chat' CHECK (operation IN ('chat', 'embeddings'));
DROP TABLE telemetry.turns;

-- migrate: rollback
ALTER TABLE telemetry.chat DROP COLUMN operation;
DROP TABLE telemetry.usage_days;
