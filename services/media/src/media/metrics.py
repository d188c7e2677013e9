"""Metrics of media; those of jobs and of calls to providers are beside them on the same page."""

from prometheus_client import Counter

CONTENT_PROCESSED = Counter(
    "sonant_content_processed_total", "Pieces of media made or measured, by kind and who did it.", ["kind", "provider"]
)
MEDIA_REFUSALS = Counter("sonant_media_refusals_total", "Queries and commands refused, by code.", ["code"])
WEBHOOK_ATTEMPTS = Counter(
    "sonant_webhook_attempts_total",
    "Requests to webhook endpoints: received (2xx), refused (another status), lost (no answer).",
    ["outcome"],
)
WEBHOOK_DELIVERIES = Counter(
    "sonant_webhook_deliveries_total", "Webhook deliveries that came to an end: delivered, or failed.", ["state"]
)
WEBHOOK_ENDPOINTS_DISABLED = Counter(
    "sonant_webhook_endpoints_disabled_total",
    "Webhook endpoints switched off, since they took nothing for days or want no more.",
)
