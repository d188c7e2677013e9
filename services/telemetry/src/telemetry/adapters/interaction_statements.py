"""The statements with which interactions are stored."""

# One that was stored before, perhaps before a crash, returns nothing.
CLAIM = """
INSERT INTO telemetry.batches (day, batch_id, org_id, accepted_at, ids, positions, sampled_out, repeated, parked)
VALUES ($1, $2, $3, $4, $5, $6, $7, '{}', $8)
ON CONFLICT (day, batch_id) DO NOTHING
RETURNING batch_id
"""

IDS = """
INSERT INTO telemetry.ids (day, org_id, id)
SELECT * FROM unnest($1::date[], $2::text[], $3::uuid[])
ON CONFLICT (day, org_id, id) DO NOTHING
RETURNING org_id, id
"""

REPEATED = "UPDATE telemetry.batches SET repeated = $3::smallint[] WHERE day = $1 AND batch_id = $2"

PARKED = "SELECT parked FROM telemetry.batches WHERE day = $1 AND batch_id = $2 FOR UPDATE"

UNPARK = """
UPDATE telemetry.batches SET parked = parked - $3::text[], sampled_out = sampled_out || $4::smallint[]
WHERE day = $1 AND batch_id = $2
"""

KEPT = "INSERT INTO telemetry.kept (org_id, mode, keep) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"

SESSIONS = """
INSERT INTO telemetry.sessions AS known (
    org_id, mode, session_id, user_id, first_at, last_at, turns, errors, total_tokens, cost_usd, last_model
)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::bigint[], $8::bigint[],
    $9::bigint[], $10::float8[], $11::text[]
)
ON CONFLICT (org_id, mode, session_id) DO UPDATE SET
    user_id = coalesce(excluded.user_id, known.user_id),
    first_at = least(known.first_at, excluded.first_at),
    last_at = greatest(known.last_at, excluded.last_at),
    turns = known.turns + excluded.turns,
    errors = known.errors + excluded.errors,
    total_tokens = known.total_tokens + excluded.total_tokens,
    cost_usd = known.cost_usd + excluded.cost_usd,
    last_model = CASE WHEN excluded.last_at >= known.last_at THEN coalesce(excluded.last_model, known.last_model)
        ELSE coalesce(known.last_model, excluded.last_model) END
"""

LEDGER = """
INSERT INTO telemetry.ledger AS known (org_id, hour, stored, sampled_out, parked, repeated)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
ON CONFLICT (org_id, hour) DO UPDATE SET
    stored = known.stored + excluded.stored,
    sampled_out = known.sampled_out + excluded.sampled_out,
    parked = known.parked + excluded.parked,
    repeated = known.repeated + excluded.repeated
"""

# What a gateway says it has accepted only grows, in whatever order it is heard.
TALLIES = """
INSERT INTO telemetry.tallies AS known (org_id, hour, source, confirmed, arrived)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[])
ON CONFLICT (org_id, hour, source) DO UPDATE SET
    confirmed = greatest(known.confirmed, excluded.confirmed),
    arrived = known.arrived + excluded.arrived
"""
