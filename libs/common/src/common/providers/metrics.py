"""Metrics of calls to providers."""

from prometheus_client import Counter, Gauge, Histogram

from common.metrics import SECONDS

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
    "1 while a provider is left alone by the breaker of an account: an organisation's own, or - of all others. No more "
    "once nobody has called it for a minute.",
    ["provider", "account"],
)
API_FALLBACKS = Counter(
    "sonant_api_fallbacks_total", "Reads answered from the last known copy, the provider being away.", ["provider"]
)
