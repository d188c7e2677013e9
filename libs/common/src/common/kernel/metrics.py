"""Metrics of the kernel and the bus; each service declares its own beside these, in its `metrics.py`."""

import functools
from typing import TypeVar

from prometheus_client import Counter, Gauge, Histogram

# From a cache hit to a long job: one set of buckets for every duration keeps boards comparable.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)

EVENTS_HANDLED = Counter(
    "sonant_events_handled_total",
    "Records finished, by event and outcome (done, parked, expired, dropped).",
    ["event", "outcome"],
)
EVENT_SECONDS = Histogram(
    "sonant_event_seconds", "Time from taking a record in hand to finishing it.", ["event"], buckets=SECONDS
)
EVENT_RETRIES = Counter("sonant_event_retries_total", "Tries of a handler after the first.", ["event"])
EVENT_BUGS = Counter("sonant_event_bugs_total", "Exceptions that no verdict foresaw.", ["event"])
EVENTS_IN_HAND = Gauge("sonant_events_in_hand", "Records taken but not finished.", ["group"])
CONSUMER_LAG = Gauge("sonant_consumer_lag", "Records behind the newest on owned partitions.", ["group"])
CONSUMER_STALLED = Counter("sonant_consumer_stalled_total", "Times a consumer stopped moving despite lag.", ["group"])
LOG_UNAVAILABLE = Counter("sonant_log_unavailable_total", "Times the log did not answer, by operation.", ["operation"])
LIVE_FRAMES = Counter("sonant_live_frames_total", "Frames handed to the live channel.")
LIVE_LATE_FRAMES = Counter("sonant_live_late_frames_total", "Frames that nobody waited for any more.")
LIVE_REFUSED = Counter("sonant_live_refused_total", "Commands the live channel will never take; they are dropped.")
LIVE_RECONNECTS = Counter("sonant_live_reconnects_total", "Tries to reach the live channel again.")
M = TypeVar("M", Counter, Gauge, Histogram)


@functools.lru_cache(maxsize=4096)
def labelled(metric: M, *values: str) -> M:
    """`metric.labels(*values)` for the hot paths: looking a child up costs ten times as much as counting."""
    return metric.labels(*values)


LOOP_LAG = Gauge("sonant_event_loop_lag_seconds", "How late the event loop woke up last time it was asked.")
