-- What users said and is to be forgotten, up to when: a turn that is only being taken in then is not kept either
-- depends: 0300-documents

-- migrate: apply
-- `whose` is a user, a session or a turn, with its kind before it.
CREATE TABLE media.forgotten_words (
    org_id text NOT NULL,
    whose text NOT NULL,
    said_until timestamptz NOT NULL,
    PRIMARY KEY (org_id, whose)
);
CREATE INDEX forgotten_words_age ON media.forgotten_words (said_until);

-- migrate: rollback
DROP TABLE media.forgotten_words;
