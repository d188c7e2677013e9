-- What a turn was of: a chat reply, or embeddings
-- depends: 0001-turns

-- migrate: apply
ALTER TABLE telemetry.turns
    ADD COLUMN operation text NOT NULL DEFAULT 'chat' CHECK (operation IN ('chat', 'embeddings'));

-- migrate: rollback
ALTER TABLE telemetry.turns DROP COLUMN operation;
