-- Counts as large as the fact of a turn can hold
-- depends: 0002-operation

-- migrate: apply
ALTER TABLE telemetry.turns
    ALTER COLUMN prompt_tokens TYPE bigint,
    ALTER COLUMN completion_tokens TYPE bigint,
    ALTER COLUMN total_tokens TYPE bigint;

-- migrate: rollback
ALTER TABLE telemetry.turns
    ALTER COLUMN prompt_tokens TYPE integer,
    ALTER COLUMN completion_tokens TYPE integer,
    ALTER COLUMN total_tokens TYPE integer;
