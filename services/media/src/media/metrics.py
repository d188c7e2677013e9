"""Metrics of media; those of jobs and of calls to providers are beside them on the same page."""

from prometheus_client import Counter

CONTENT_PROCESSED = Counter(
    "sonant_content_processed_total", "Pieces of media made or measured, by kind and who did it.", ["kind", "provider"]
)
ASSETS_SWEPT = Counter(
    "sonant_assets_swept_total",
    "Files taken away by the sweep: their time was over (expired), no row names them (orphan), or their writer died "
    "(unfinished).",
    ["why"],
)
MEDIA_REFUSALS = Counter("sonant_media_refusals_total", "Queries and commands refused, by code.", ["code"])
