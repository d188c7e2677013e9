-- What was spoken and is kept, and when it was last used
-- depends:

-- migrate: apply
CREATE TABLE media.speech_kept (
    org_id text NOT NULL,
    key text NOT NULL,
    size bigint NOT NULL,
    used_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, key)
);
CREATE INDEX speech_kept_use ON media.speech_kept (org_id, used_at DESC, key);

-- migrate: rollback
DROP TABLE media.speech_kept;
