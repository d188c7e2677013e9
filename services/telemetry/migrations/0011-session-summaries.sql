-- What was said first in a session, in short
-- depends: 0010-sessions

-- migrate: apply
ALTER TABLE telemetry.kept_sessions
    ADD COLUMN summary json,
    -- When the summary was asked for; one that was asked for earlier is not kept any more.
    ADD COLUMN summed_up_at timestamptz;

-- migrate: rollback
ALTER TABLE telemetry.kept_sessions DROP COLUMN summed_up_at, DROP COLUMN summary;
