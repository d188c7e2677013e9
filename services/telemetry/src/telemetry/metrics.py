"""Metrics of telemetry."""

from prometheus_client import Counter, Histogram

from common.metrics import SECONDS

TURNS_STORED = Counter("sonant_turns_stored_total", "Turns written to the database.")
SESSION_TURNS_STORED = Counter(
    "sonant_session_turns_stored_total", "Turns that were given to their sessions; repetitions are among them."
)
SESSION_TURNS_CUT = Counter("sonant_session_turns_cut_total", "Times that a session let its oldest turns go.")
SESSIONS_EXPIRED = Counter("sonant_sessions_expired_total", "Sessions that expired, or were too many.")
TURNS_REPEATED = Counter("sonant_turns_repeated_total", "Turns that were stored already; delivered again, or twice.")
TURNS_REFUSED = Counter("sonant_turns_refused_total", "Turns the database can never hold; they were parked.")
TURN_WRITE_SECONDS = Histogram("sonant_turn_write_seconds", "Time of one write of turns.", buckets=SECONDS)
TURNS_PER_WRITE = Histogram(
    "sonant_turns_per_write", "Turns gathered into one write.", buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500)
)
