"""Metrics of resources."""

from prometheus_client import Counter, Histogram

from common.metrics import SECONDS

RESOURCE_WRITES = Counter("sonant_resource_writes_total", "Writes that were committed, by command.", ["type"])
RESOURCE_REFUSALS = Counter("sonant_resource_refusals_total", "Queries and commands refused, by code.", ["code"])
SWITCHES = Counter("sonant_active_switches_total", "Changes of an active set, by what made them.", ["origin"])
CACHE_WRITES = Counter(
    "sonant_resource_cache_writes_total",
    "Commands to the cache of resources by outcome; `late` is a change that only its fact will bring there.",
    ["outcome"],
)
CACHE_WRITE_SECONDS = Histogram(
    "sonant_resource_cache_write_seconds", "From a change to the cache having it, by command or fact.", buckets=SECONDS
)
RESTORES = Counter(
    "sonant_resource_restores_total", "Times the database was found restored, and what was read of it dropped."
)
BROKEN_SETS = Counter(
    "sonant_active_broken_sets_total",
    "Times a set was read for the cache of which a part is gone: the current one of a place, or a rollout's candidate.",
    ["set"],
)
TOOL_DRAFTS = Counter(
    "sonant_tool_drafts_total",
    "Tools that a model was asked to draft, by what became of it (accepted, repaired, refused, unavailable).",
    ["outcome"],
)
TOOL_DRAFT_FAULTS = Counter(
    "sonant_tool_draft_faults_total", "What drafts were sent back or refused for, by code.", ["code"]
)
