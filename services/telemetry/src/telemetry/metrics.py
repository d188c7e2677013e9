"""Metrics of telemetry."""

from prometheus_client import Counter, Gauge, Histogram

from common.metrics import SECONDS

TURNS_STORED = Counter(
    "sonant_turns_stored_total", "Turns of our own that were stored, or counted where they are too old."
)
SESSION_TURNS_STORED = Counter(
    "sonant_session_turns_stored_total", "Turns that were given to their sessions; repetitions are among them."
)
SESSION_TURNS_CUT = Counter("sonant_session_turns_cut_total", "Times that a session let its oldest turns go.")
SESSIONS_EXPIRED = Counter("sonant_sessions_expired_total", "Sessions that expired, or were too many.")
TURNS_REPEATED = Counter("sonant_turns_repeated_total", "Turns that were stored already; delivered again, or twice.")
TURNS_REFUSED = Counter("sonant_turns_refused_total", "Turns the database can never hold; they were parked.")
ITEMS_STORED = Counter(
    "sonant_interactions_total",
    "Interactions, steps and scores by what became of them (stored, sampled_out, parked, repeated).",
    ["outcome"],
)
ITEMS_UNFORESEEN = Counter(
    "sonant_interactions_unforeseen_total",
    "Items that could not be made into rows by a fault of ours; they were parked.",
)
INTERACTIONS_WRITE_SECONDS = Histogram(
    "sonant_interactions_write_seconds", "Time of one transaction that stores interactions.", buckets=SECONDS
)
INTERACTIONS_PER_WRITE = Histogram(
    "sonant_interactions_per_write",
    "Interactions, steps and scores stored in one transaction.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000),
)
VISIBLE_SECONDS = Histogram(
    "sonant_interaction_visible_seconds", "Time from accepting a batch to its being readable.", buckets=SECONDS
)
CANARY_SECONDS = Gauge(
    "sonant_canary_visible_seconds", "How long the latest canary took from its acceptance until it was readable."
)
CANARY_AT = Gauge("sonant_canary_visible_timestamp_seconds", "When a canary was last readable, in unix seconds.")
LEDGER_MISSING = Gauge(
    "sonant_ledger_missing",
    "Items accepted in hours that are over, of all organisations, of which nothing is known. It has to be 0.",
)
LEDGER_HOURS = Gauge("sonant_ledger_hours_missing", "Organisations and hours in which something is missing.")
PARTITIONS_DROPPED = Counter("sonant_partitions_dropped_total", "Partitions dropped since their time was over.")
PARTITIONS_MADE = Counter("sonant_partitions_made_total", "Partitions made, by why (ahead, demand).", ["why"])
MASKING_BROKEN = Counter("sonant_masking_broken_total", "Items parked since a masking rule of theirs failed.")
TELEMETRY_REFUSALS = Counter("sonant_telemetry_refusals_total", "Queries and commands refused, by code.", ["code"])
