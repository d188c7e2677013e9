-- Resources with versions, active sets with revisions (the tables of a unit of work come from common)
-- depends:

-- migrate: apply
-- The local catalogue, and the last known copy of what a provider's catalogue holds.
CREATE TABLE resources.resources (
    org_id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('prompt', 'config', 'tool', 'voice')),
    id text NOT NULL,
    catalogue text NOT NULL,
    name text NOT NULL,
    status text NOT NULL DEFAULT 'usable' CHECK (status IN ('usable', 'quarantined', 'disabled')),
    provenance jsonb,
    next_version integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    modified_at timestamptz NOT NULL,
    PRIMARY KEY (org_id, kind, id),
    UNIQUE (org_id, kind, name)
);
CREATE INDEX resources_newest ON resources.resources (org_id, kind, created_at DESC, id);

CREATE TABLE resources.versions (
    org_id text NOT NULL,
    kind text NOT NULL,
    id text NOT NULL,
    version integer NOT NULL,
    content jsonb NOT NULL,
    version_description text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL,
    modified_at timestamptz NOT NULL,
    PRIMARY KEY (org_id, kind, id, version),
    FOREIGN KEY (org_id, kind, id) REFERENCES resources.resources ON DELETE CASCADE
);

-- A place is a user in a project, a project (user_id ''), or the organisation (both '').
CREATE TABLE resources.revisions (
    org_id text NOT NULL,
    project_id text NOT NULL,
    user_id text NOT NULL,
    revision integer NOT NULL,
    pins jsonb NOT NULL,
    note text NOT NULL DEFAULT '',
    origin text NOT NULL CHECK (origin IN ('switch', 'tool', 'rollback', 'rollout')),
    restored integer,
    key_id text NOT NULL,
    by_user text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (org_id, project_id, user_id, revision)
);

CREATE TABLE resources.places (
    org_id text NOT NULL,
    project_id text NOT NULL,
    user_id text NOT NULL,
    revision integer,
    candidate integer,
    percent double precision NOT NULL DEFAULT 0,
    clock bigint NOT NULL,
    switched_at timestamptz NOT NULL,
    PRIMARY KEY (org_id, project_id, user_id)
);

-- What was live when: one row per change of a place.
CREATE TABLE resources.activations (
    org_id text NOT NULL,
    project_id text NOT NULL,
    user_id text NOT NULL,
    clock bigint NOT NULL,
    revision integer,
    candidate integer,
    percent double precision NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (org_id, project_id, user_id, clock)
);

-- What is in use now, current and candidate; it guards deletion and finds the places of a tool.
CREATE TABLE resources.pins (
    org_id text NOT NULL,
    project_id text NOT NULL,
    user_id text NOT NULL,
    revision integer NOT NULL,
    kind text NOT NULL,
    id text NOT NULL,
    version integer,
    PRIMARY KEY (org_id, project_id, user_id, revision, kind, id)
);
CREATE INDEX pins_used ON resources.pins (org_id, kind, id);

-- migrate: rollback
DROP TABLE resources.pins;
DROP TABLE resources.activations;
DROP TABLE resources.places;
DROP TABLE resources.revisions;
DROP TABLE resources.versions;
DROP TABLE resources.resources;
