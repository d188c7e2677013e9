"""Metrics of resources."""

from prometheus_client import Counter, Gauge, Histogram

from common.metrics import SECONDS

RESOURCE_WRITES = Counter("sonant_resource_writes_total", "Writes that were committed, by command.", ["type"])
RESOURCE_REFUSALS = Counter("sonant_resource_refusals_total", "Questions and commands refused, by code.", ["code"])
API_CALLS = Counter("sonant_api_calls_total", "Calls to providers, by operation.", ["provider", "operation"])
API_SECONDS = Histogram(
    "sonant_api_duration_seconds", "How long calls to providers took.", ["provider", "operation"], buckets=SECONDS
)
API_ERRORS = Counter(
    "sonant_api_errors_total",
    "Calls to providers that failed, by what went wrong.",
    ["provider", "operation", "reason"],
)
API_IN_FLIGHT = Gauge("sonant_api_in_flight", "Calls to providers under way.", ["provider"])
API_BREAKER_OPEN = Gauge(
    "sonant_api_breaker_open",
    "1 while a provider is left alone by the breaker of an account: an organisation's own, or - of all others.",
    ["provider", "account"],
)
API_FALLBACKS = Counter(
    "sonant_api_fallbacks_total", "Reads answered from the last known copy, the provider being away.", ["provider"]
)
SWITCHES = Counter("sonant_active_switches_total", "Changes of an active set, by what made them.", ["origin"])
CACHE_WRITES = Counter(
    "sonant_resource_cache_writes_total",
    "Commands to the cache of resources by outcome; `late` is a change that only its fact will bring there.",
    ["outcome"],
)
CACHE_WRITE_SECONDS = Histogram(
    "sonant_resource_cache_write_seconds", "From a change to the cache having it, by command or fact.", buckets=SECONDS
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
