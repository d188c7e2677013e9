-- Which history of the database its readers follow: a restore begins another one
-- depends: 0000-unit-of-work

-- migrate: apply
-- One row. The token is another one after each restore; every clock of an organisation is above the floor.
CREATE TABLE IF NOT EXISTS lineage (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    token text NOT NULL,
    floor bigint NOT NULL
);
INSERT INTO lineage (token, floor) VALUES (gen_random_uuid()::text, 0) ON CONFLICT DO NOTHING;

-- migrate: rollback
DROP TABLE IF EXISTS lineage;
