"""Metrics of resources."""

from prometheus_client import Counter, Gauge, Histogram

from common.kernel.metrics import SECONDS

RESOURCE_WRITES = Counter("sonant_resource_writes_total", "Writes that were committed, by command.", ["type"])
RESOURCE_REFUSALS = Counter("sonant_resource_refusals_total", "Questions and commands refused, by code.", ["code"])
OUTBOX_WAITING = Gauge("sonant_outbox_waiting", "Facts that are committed and not published yet.")
OUTBOX_RELAYED = Counter("sonant_outbox_relayed_total", "Facts published from the outbox.")
OUTBOX_FAILURES = Counter("sonant_outbox_failures_total", "Attempts to relay that failed; the facts stay.", ["reason"])
OUTBOX_SECONDS = Histogram(
    "sonant_outbox_seconds", "From the write of a fact to its acknowledgement by the log.", buckets=SECONDS
)
