"""Metrics of the bus."""

from prometheus_client import Counter, Gauge

LIVE_FRAMES = Counter("sonant_live_frames_total", "Frames handed to the live channel.")
LIVE_LATE_FRAMES = Counter("sonant_live_late_frames_total", "Frames that nobody waited for any more.")
LIVE_REFUSED = Counter("sonant_live_refused_total", "Commands the live channel will never take; they are dropped.")
LIVE_DROPPED = Counter(
    "sonant_live_dropped_total", "Writes of frames given up while the live channel was away; their readers ask again."
)
LIVE_UNREADABLE = Counter("sonant_live_unreadable_total", "Signals that could not be understood; they are skipped.")
LIVE_RECONNECTS = Counter("sonant_live_reconnects_total", "Tries to reach the live channel again.")
LOG_BYTES = Gauge("sonant_log_bytes", "Bytes that the embedded log keeps, as the process that trims it last saw.")
LOG_FULL = Gauge("sonant_log_full", "Whether the embedded log or its store is full; requests are refused.")
LOG_TRIMMED = Counter("sonant_log_trimmed_total", "Records that the embedded log dropped by its retention.", ["topic"])
LOG_LOST = Counter(
    "sonant_log_lost_total", "Records dropped that a group without members had not read: the log was full.", ["topic"]
)
