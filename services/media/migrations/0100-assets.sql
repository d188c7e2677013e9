-- Assets: files of organisations, whose bytes are in the object store
-- depends:

-- migrate: apply
CREATE TABLE media.assets (
    id text PRIMARY KEY,
    org_id text NOT NULL,
    kind text NOT NULL,
    job_id text,
    name text NOT NULL,
    content_type text NOT NULL,
    size bigint NOT NULL,
    sha256 text NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz
);
CREATE INDEX assets_newest ON media.assets (org_id, created_at DESC, id DESC);
CREATE INDEX assets_of_job ON media.assets (org_id, job_id) WHERE job_id IS NOT NULL;
CREATE INDEX assets_expiring ON media.assets (expires_at) WHERE expires_at IS NOT NULL;

-- What an organisation keeps, so that its quota is one look.
CREATE TABLE media.asset_totals (
    org_id text PRIMARY KEY,
    assets bigint NOT NULL,
    bytes bigint NOT NULL
);

-- migrate: rollback
DROP TABLE media.asset_totals;
DROP TABLE media.assets;
