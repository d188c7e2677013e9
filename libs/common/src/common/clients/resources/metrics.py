"""Metrics of reading resources; every process that reads them shows these."""

from prometheus_client import Counter, Histogram

from common.metrics import SECONDS

CACHE_READS = Counter(
    "sonant_resource_cache_reads_total",
    "Reads of the cache of resources, by what was asked (set, version) and how it went (hit, miss, stale).",
    ["kind", "outcome"],
)
CACHE_FILLS = Counter(
    "sonant_resource_cache_fills_total",
    "Queries to the service resources for what the cache lacked, by kind and outcome (filled, failed).",
    ["kind", "outcome"],
)
RESOLVE_SECONDS = Histogram(
    "sonant_resource_resolve_seconds", "Time to read an active set or a version.", ["kind"], buckets=SECONDS
)
PROPAGATION_SECONDS = Histogram(
    "sonant_resource_propagation_seconds",
    "From the commit of a switch to its first read in this process, of sets this process had read a second before.",
    buckets=SECONDS,
)
