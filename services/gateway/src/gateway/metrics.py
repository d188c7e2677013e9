"""Metrics of the gateway; those of the kernel are beside them on the same page."""

from prometheus_client import Counter, Gauge, Histogram

from common.metrics import SECONDS

HTTP_SECONDS = Histogram(
    "sonant_http_seconds",
    "Time from reading a request's head to the end of its answer, by route, method and status (`cut`: broken off).",
    ["route", "method", "status"],
    buckets=SECONDS,
)
KEY_LOOKUPS = Counter(
    "sonant_key_lookups_total",
    "API keys asked of the database (found, unknown, unavailable) or kept past their time in its absence (stale).",
    ["outcome"],
)
KEYS_REFUSED = Counter("sonant_keys_refused_total", "Requests without a valid API key.")
LIMITS_REFUSED = Counter(
    "sonant_limits_refused_total", "Requests refused by a limit of their key or organisation.", ["limit"]
)
WORK_REFUSED = Counter(
    "sonant_work_refused_total",
    "Requests refused since too much of their organisation was under way (answer, draft, write, ingest, read, upload, "
    "delivery).",
    ["work"],
)
REFUSALS_PACED = Counter(
    "sonant_refusals_paced_total",
    "Refusals (429, 503 `busy`) that were held back, since their organisation had not heeded those before.",
)
LIMITS_UNAVAILABLE = Counter("sonant_limits_unavailable_total", "Times the store of the limits did not answer.")
WEBHOOKS_RECEIVED = Counter(
    "sonant_webhooks_received_total",
    "Webhooks by provider and what became of them: published, duplicate, or the code of the refusal.",
    ["provider", "outcome"],
)
IDEMPOTENCY_OUTCOMES = Counter(
    "sonant_idempotency_outcomes_total",
    "What became of requests with an Idempotency-Key (first, replayed, busy, reused).",
    ["outcome"],
)
IDEMPOTENCY_DROPPED = Counter(
    "sonant_idempotency_dropped_total", "Idempotent answers dropped before their day was over: the quota of their key."
)
CONNECTIONS = Gauge("sonant_http_connections", "Connections that clients have open to this process.")
CONNECTIONS_CUT = Counter(
    "sonant_http_connections_cut_total",
    "Connections refused or ended by a bound: no request in time (head, idle), an answer that nobody reads (write, or "
    "memory where all of them together are too many bytes), too many in all (displaced for a newer one, or full) or "
    "from one address (address).",
    ["why"],
)
INGEST_ITEMS = Counter(
    "sonant_ingest_items_total",
    "Interactions, steps and scores by what was told about them (accepted, rejected, unconfirmed by the log).",
    ["outcome"],
)
INGEST_SPANS = Counter(
    "sonant_ingest_spans_total",
    "Spans of OpenTelemetry by what became of them (interaction, step, ignored, rejected).",
    ["outcome"],
)
CANARY_INTERVAL = Gauge(
    "sonant_canary_interval_seconds", "How often this gateway sends a canary; 0 where it never does."
)
ASSET_BYTES_RECEIVED = Counter("sonant_asset_bytes_received_total", "Bytes of files that were uploaded.")
