-- Files that were taken out of a vector store before they were in it, or that could not be taken in
-- depends: 0600-store-files

-- migrate: apply
-- Jobs about the document that were asked for until then are listed no more, and put nothing into the store.
CREATE TABLE media.struck_files (
    org_id text NOT NULL,
    document_id text NOT NULL,
    asked_until timestamptz NOT NULL,
    PRIMARY KEY (org_id, document_id)
);

-- migrate: rollback
DROP TABLE media.struck_files;
