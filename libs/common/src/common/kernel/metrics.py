"""Metrics of the kernel; each service declares its own beside these, in its `metrics.py`."""

from prometheus_client import Counter, Gauge, Histogram

from common.metrics import SECONDS

# Finer than other durations around the 100 ms that no input may cost.
PAUSES = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.5, 1, 2.5, 5, 10, 30)

EVENTS_HANDLED = Counter(
    "sonant_events_handled_total",
    "Records finished, by event and outcome (done, failed, parked, expired, dropped, turned away).",
    ["event", "outcome"],
)
EVENT_SECONDS = Histogram(
    "sonant_event_seconds", "Time from taking a record in hand to finishing it.", ["event"], buckets=SECONDS
)
EVENT_RETRIES = Counter("sonant_event_retries_total", "Tries of a handler after the first.", ["event"])
EVENT_BUGS = Counter("sonant_event_bugs_total", "Exceptions that no verdict foresaw.", ["event"])
EVENTS_UNREADABLE = Counter(
    "sonant_events_unreadable_total", "Records that could not be read as the event they were meant to be.", ["topic"]
)
EVENTS_HELD = Gauge("sonant_events_held", "Records that wait for a brake, a place or the end of a halt.", ["group"])
EVENTS_WAITING = Gauge("sonant_events_waiting", "Records that wait until their organisation has a place.", ["group"])
BRAKES_OPEN = Gauge(
    "sonant_brakes_open",
    "Organisations, by partition and event, of which records are held back: too many were parked.",
    ["group"],
)
CONSUMER_HALTED = Gauge("sonant_consumer_halted", "Whether a consumer takes nothing in, being broken.", ["group"])
CONSUMER_HALTS = Counter("sonant_consumer_halts_total", "Times a handler said that its service is broken.", ["group"])
EVENTS_IN_HAND = Gauge("sonant_events_in_hand", "Records taken but not finished.", ["group"])
BYTES_IN_HAND = Gauge(
    "sonant_bytes_in_hand", "Memory that the records taken but not finished need, by estimate.", ["group"]
)
CONSUMER_LAG = Gauge("sonant_consumer_lag", "Records behind the newest on owned partitions.", ["group"])
CONSUMER_STALLED = Counter("sonant_consumer_stalled_total", "Times a consumer stopped moving despite lag.", ["group"])
LOG_UNAVAILABLE = Counter("sonant_log_unavailable_total", "Times the log did not answer, by operation.", ["operation"])
LOOP_LAG = Gauge("sonant_event_loop_lag_seconds", "How late the event loop woke up at most within the last second.")
LOOP_PAUSE_SECONDS = Histogram(
    "sonant_loop_pause_seconds",
    "Times for which the event loop took nothing up, of 10 ms and more.",
    buckets=PAUSES,
)
LOOP_PAUSE_CPU_SECONDS = Histogram(
    "sonant_loop_pause_cpu_seconds",
    "What the loop's own thread worked in each of these pauses; the rest of a pause the process was held up.",
    buckets=PAUSES,
)
WORKER_CALLS = Counter(
    "sonant_worker_calls_total",
    "Calls to worker processes, by outcome (done, too_dear, lost, busy).",
    ["outcome"],
)
WORKER_SECONDS = Histogram("sonant_worker_seconds", "Time of one call in a worker process.", buckets=SECONDS)
