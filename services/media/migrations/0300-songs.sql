-- Songs of organisations with their vectors, from which each index is made
-- depends:

-- migrate: apply
-- The change of an organisation's songs that was the last; an index says up to which one it knows them.
CREATE TABLE media.song_clocks (
    org_id text PRIMARY KEY,
    clock bigint NOT NULL,
    songs bigint NOT NULL
);
-- `number` names one vector of one song: another vector has another number.
CREATE TABLE media.songs (
    org_id text NOT NULL,
    id text NOT NULL,
    number bigint GENERATED ALWAYS AS IDENTITY,
    clock bigint NOT NULL,
    title text NOT NULL,
    artist text NOT NULL,
    album text NOT NULL,
    genres text[] NOT NULL,
    tags text[] NOT NULL,
    year integer,
    seconds double precision,
    tempo double precision,
    key text,
    mode text,
    loudness double precision,
    energy double precision,
    descriptor bytea,
    external_id text,
    asset_id text,
    spotify_id text,
    source text NOT NULL,
    embedding text NOT NULL,
    vector bytea NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (org_id, id)
);
CREATE UNIQUE INDEX songs_external ON media.songs (org_id, external_id) WHERE external_id IS NOT NULL;
CREATE UNIQUE INDEX songs_number ON media.songs (org_id, number);
CREATE INDEX songs_clock ON media.songs (org_id, clock, number);
CREATE INDEX songs_newest ON media.songs (org_id, created_at DESC, id DESC);
CREATE INDEX songs_artist ON media.songs (org_id, lower(artist));
CREATE INDEX songs_tempo ON media.songs (org_id, tempo);
CREATE INDEX songs_year ON media.songs (org_id, year);

-- Numbers that are nobody's any more, for indexes that still have them.
CREATE TABLE media.song_removals (
    org_id text NOT NULL,
    clock bigint NOT NULL,
    number bigint NOT NULL,
    PRIMARY KEY (org_id, clock, number)
);

-- migrate: rollback
DROP TABLE media.song_removals;
DROP TABLE media.songs;
DROP TABLE media.song_clocks;
