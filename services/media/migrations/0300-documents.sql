-- Documents: what is searched, in chunks with their terms and vectors
-- depends:

-- migrate: apply
CREATE EXTENSION IF NOT EXISTS vector;

CREATE TABLE media.collections (
    org_id text NOT NULL,
    project_id text NOT NULL,
    id text NOT NULL,
    name text NOT NULL,
    metadata jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    used_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, project_id, id)
);

-- `job_id` is the job that made this version, `asked_at` when that was asked for: an older request changes nothing.
CREATE TABLE media.documents (
    id text PRIMARY KEY,
    org_id text NOT NULL,
    project_id text NOT NULL,
    collection text NOT NULL,
    user_id text NOT NULL,
    name text NOT NULL,
    content_type text NOT NULL,
    asset_id text,
    url text,
    version integer NOT NULL,
    chunks integer NOT NULL,
    characters integer NOT NULL,
    sha256 text NOT NULL,
    metadata jsonb NOT NULL,
    job_id text NOT NULL,
    asked_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX documents_newest ON media.documents (org_id, project_id, created_at DESC, id DESC);
CREATE INDEX documents_collection ON media.documents (org_id, project_id, collection, created_at DESC, id DESC);
CREATE INDEX documents_owner ON media.documents (org_id, user_id) WHERE user_id <> '';

-- `terms` are the numbers of the words, `weights` what BM25 gives them in this chunk.
CREATE TABLE media.chunks (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    document_id text NOT NULL REFERENCES media.documents ON DELETE CASCADE,
    org_id text NOT NULL,
    project_id text NOT NULL,
    collection text NOT NULL,
    user_id text NOT NULL,
    version integer NOT NULL,
    ordinal integer NOT NULL,
    heading text NOT NULL,
    page integer,
    text text NOT NULL,
    start_at integer NOT NULL,
    end_at integer NOT NULL,
    terms integer[] NOT NULL,
    weights sparsevec NOT NULL,
    UNIQUE (document_id, ordinal)
);
CREATE INDEX chunks_terms ON media.chunks USING gin (terms) WITH (fastupdate = off);
CREATE INDEX chunks_scope ON media.chunks (org_id, project_id);

-- A row for each model that reads a chunk; the service makes an index for each model.
CREATE TABLE media.chunk_vectors (
    model text NOT NULL,
    chunk_id bigint NOT NULL REFERENCES media.chunks ON DELETE CASCADE,
    document_id text NOT NULL,
    org_id text NOT NULL,
    project_id text NOT NULL,
    collection text NOT NULL,
    user_id text NOT NULL,
    embedding halfvec NOT NULL,
    PRIMARY KEY (chunk_id, model)
);
CREATE INDEX chunk_vectors_scope ON media.chunk_vectors (org_id, project_id, model);

-- In how many chunks of a project a term stands, as counted when the project had so many chunks.
CREATE TABLE media.term_counts (
    org_id text NOT NULL,
    project_id text NOT NULL,
    term integer NOT NULL,
    chunks integer NOT NULL,
    PRIMARY KEY (org_id, project_id, term)
);
CREATE TABLE media.project_chunks (
    org_id text NOT NULL,
    project_id text NOT NULL,
    chunks integer NOT NULL DEFAULT 0,
    counted integer NOT NULL DEFAULT 0,
    PRIMARY KEY (org_id, project_id)
);

-- The model whose vectors are searched; one row.
CREATE TABLE media.vector_model (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    model text NOT NULL
);

-- migrate: rollback
DROP TABLE media.vector_model;
DROP TABLE media.project_chunks;
DROP TABLE media.term_counts;
DROP TABLE media.chunk_vectors;
DROP TABLE media.chunks;
DROP TABLE media.documents;
DROP TABLE media.collections;
