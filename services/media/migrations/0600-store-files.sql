-- Files of vector stores, which are listed before their documents are there
-- depends: 0500-file-batches

-- migrate: apply
-- What is longer than an id is cut: it is none, and a longer text would not fit into an index.
CREATE INDEX jobs_of_store ON media.jobs
    (org_id, left(input ->> 'collection', 100), created_at, left(input ->> 'document_id', 100))
    WHERE kind = 'document' AND state <> 'completed';
CREATE INDEX jobs_of_document ON media.jobs (org_id, left(input ->> 'document_id', 100), created_at, id)
    WHERE kind = 'document';
CREATE INDEX collections_newest ON media.collections (org_id, project_id, created_at, id);

-- migrate: rollback
DROP INDEX media.collections_newest;
DROP INDEX media.jobs_of_document;
DROP INDEX media.jobs_of_store;
