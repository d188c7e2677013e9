-- Content analyses: what was found in files, and which shots, images and faces of a project are alike
-- depends:

-- migrate: apply
CREATE EXTENSION IF NOT EXISTS vector;

CREATE TABLE media.analyses (
    id text PRIMARY KEY,
    org_id text NOT NULL,
    project text NOT NULL,
    title text NOT NULL,
    media text NOT NULL CHECK (media IN ('video', 'image', 'audio')),
    job_id text NOT NULL,
    created_at timestamptz NOT NULL,
    -- Without a result it is being made still.
    result jsonb,
    assets text[] NOT NULL DEFAULT '{}'
);
CREATE INDEX analyses_newest ON media.analyses (org_id, created_at DESC, id DESC);
CREATE INDEX analyses_unfinished ON media.analyses (org_id, job_id) WHERE result IS NULL;

-- Its clock moves whenever items or clusters of the project change.
CREATE TABLE media.analysis_projects (
    org_id text NOT NULL,
    project text NOT NULL,
    revision bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (org_id, project)
);

CREATE TABLE media.analysis_clusters (
    id text PRIMARY KEY,
    org_id text NOT NULL,
    project text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('shot', 'image', 'face')),
    model text NOT NULL,
    label text NOT NULL,
    representative text NOT NULL,
    size integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX analysis_clusters_project ON media.analysis_clusters (org_id, project, kind, size DESC);

-- Vectors have the length that their model gives them, and are compared with those of the same model alone.
CREATE TABLE media.analysis_items (
    id text PRIMARY KEY,
    org_id text NOT NULL,
    project text NOT NULL,
    analysis_id text NOT NULL REFERENCES media.analyses ON DELETE CASCADE,
    kind text NOT NULL CHECK (kind IN ('shot', 'image', 'face')),
    begin_seconds double precision NOT NULL,
    end_seconds double precision NOT NULL,
    picture text,
    model text NOT NULL,
    embedding halfvec NOT NULL,
    hash bit(64) NOT NULL,
    looks jsonb NOT NULL,
    cluster_id text REFERENCES media.analysis_clusters ON DELETE SET NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX analysis_items_project ON media.analysis_items (org_id, project, kind, model);
CREATE INDEX analysis_items_analysis ON media.analysis_items (analysis_id);
CREATE INDEX analysis_items_cluster ON media.analysis_items (cluster_id) WHERE cluster_id IS NOT NULL;

-- migrate: rollback
DROP TABLE media.analysis_items;
DROP TABLE media.analysis_clusters;
DROP TABLE media.analysis_projects;
DROP TABLE media.analyses;
