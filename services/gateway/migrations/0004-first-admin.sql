-- That the first admin key was made: it is made once in the life of a database
-- depends: 0003-budgets

-- migrate: apply

CREATE TABLE gateway.first_admin (
    key_id text PRIMARY KEY,
    made_at timestamptz NOT NULL
);

INSERT INTO gateway.first_admin (key_id, made_at)
    SELECT id, created_at FROM gateway.api_keys WHERE 'admin' = ANY (scopes) ORDER BY created_at LIMIT 1;

-- migrate: rollback

DROP TABLE gateway.first_admin;
