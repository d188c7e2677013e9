-- Batches of files that go into a vector store together
-- depends: 0300-documents

-- migrate: apply
-- A batch goes with its store. One that has fewer rows below than `files` is forgotten: jobs of it are gone.
CREATE TABLE media.file_batches (
    id text PRIMARY KEY,
    org_id text NOT NULL,
    project_id text NOT NULL,
    store_id text NOT NULL,
    files integer NOT NULL,
    created_at timestamptz NOT NULL,
    FOREIGN KEY (org_id, project_id, store_id) REFERENCES media.collections ON DELETE CASCADE
);
CREATE INDEX file_batches_store ON media.file_batches (org_id, project_id, store_id);

CREATE TABLE media.file_batch_files (
    batch_id text NOT NULL REFERENCES media.file_batches ON DELETE CASCADE,
    place integer NOT NULL,
    asset_id text NOT NULL,
    job_id text NOT NULL REFERENCES media.jobs ON DELETE CASCADE,
    PRIMARY KEY (batch_id, place),
    UNIQUE (batch_id, asset_id)
);
CREATE INDEX file_batch_files_job ON media.file_batch_files (job_id);

-- migrate: rollback
DROP TABLE media.file_batch_files;
DROP TABLE media.file_batches;
