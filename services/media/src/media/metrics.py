"""Metrics of media; those of jobs and of calls to providers are beside them on the same page."""

from prometheus_client import Counter

CONTENT_PROCESSED = Counter(
    "sonant_content_processed_total", "Pieces of media made or measured, by kind and who did it.", ["kind", "provider"]
)
MEDIA_REFUSALS = Counter("sonant_media_refusals_total", "Queries and commands refused, by code.", ["code"])
