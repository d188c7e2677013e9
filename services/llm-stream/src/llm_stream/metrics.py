"""Metrics of llm-stream."""

from prometheus_client import Counter, Gauge, Histogram

from common.metrics import SECONDS

TURNS = Counter(
    "sonant_chat_turns_total",
    "Turns ended, by model alias (none where it was refused before an upstream was asked) and outcome (completed, "
    "interrupted, failed, and refused: the request or a budget was at fault).",
    ["model", "outcome"],
)
TURNS_RUNNING = Gauge("sonant_chat_turns_running", "Turns being answered right now.")
FIRST_TOKEN = Histogram(
    "sonant_chat_first_token_seconds",
    "From the gateway having read the request to the first token handed to the live channel.",
    ["model"],
    buckets=SECONDS,
)
ATTEMPTS = Counter(
    "sonant_chat_attempts_total", "Calls to upstreams, by upstream and outcome.", ["upstream", "outcome"]
)
ATTEMPT_SECONDS = Histogram(
    "sonant_chat_attempt_seconds", "How long calls to upstreams took, to their end.", ["upstream"], buckets=SECONDS
)
BREAKER_OPEN = Gauge(
    "sonant_chat_breaker_open",
    "1 while an upstream is skipped by its breaker; no more once nobody has asked for it for a minute.",
    ["upstream"],
)
TOKENS = Counter("sonant_chat_tokens_total", "Tokens of completed answers, by model alias and kind.", ["model", "kind"])
UPSTREAMS_HELD = Counter(
    "sonant_chat_upstreams_held_total", "Times an upstream had to wait because the client read too slowly."
)
BACKLOG_BYTES = Gauge("sonant_chat_backlog_bytes", "Bytes of running answers that their clients have not read yet.")
RUNNING_BYTES = Gauge("sonant_chat_running_answers_bytes", "Bytes of running answers kept for those who resume.")
WHOLE_BYTES = Gauge(
    "sonant_chat_whole_answers_bytes", "Bytes of answers in one piece, from the upstream until the client has them."
)
ANSWERS_FORGOTTEN = Counter(
    "sonant_chat_answers_forgotten_total", "Running answers that can no longer be resumed from their beginning."
)
ANSWERS_NOT_KEPT = Counter(
    "sonant_chat_answers_not_kept_total", "Ended answers not kept for resuming (large, share, full).", ["why"]
)
EMBEDDINGS_WAITING = Gauge(
    "sonant_embeddings_waiting", "Embeddings requests of many inputs that wait for others of their kind."
)
STOP_SECONDS = Histogram(
    "sonant_chat_stop_seconds", "From the stop signal to the upstream connection closed.", buckets=SECONDS
)
ACTIVE_SETS = Counter(
    "sonant_chat_active_sets_total",
    "Requests that name a user or project, by what came of the active set (used, stale, none, broken, away).",
    ["outcome"],
)
UNFILLED_VARIABLES = Counter(
    "sonant_chat_unfilled_variables_total",
    "Variables of active prompts left as they stand: their set is older than the check, or kept at a provider.",
)
BUDGET_LEASES = Counter(
    "sonant_chat_budget_leases_total",
    "Leases of key budgets by turns under way (whole, part: the last that there was, refused).",
    ["outcome"],
)
ANSWERS_CUT = Counter(
    "sonant_chat_answers_cut_total", "Answers ended before their model had (budget, moderation).", ["by"]
)
MODERATIONS = Counter(
    "sonant_chat_moderations_total",
    "Calls of the moderator by what was checked (input, output) and what came of it (clean, flagged, unavailable).",
    ["stage", "outcome"],
)
ANSWER_CACHE = Counter(
    "sonant_chat_cache_total",
    "Requests for which the cache of answers was asked (hit, miss, refresh, unavailable), and answers that were kept.",
    ["outcome"],
)
CONTEXT_CUTS = Counter(
    "sonant_chat_context_cuts_total",
    "Conversations longer than the window of their alias (cut, refused, larger: left whole to the larger alias).",
    ["outcome"],
)
TOOL_CALLS = Counter(
    "sonant_tool_calls_total",
    "Calls of tools that Sonant runs, by kind (builtin, python, http; none where there is no such tool) and outcome.",
    ["kind", "outcome"],
)
TOOL_SECONDS = Histogram("sonant_tool_seconds", "How long calls of tools took.", ["kind"], buckets=SECONDS)
SESSION_READS = Counter(
    "sonant_chat_session_reads_total",
    "Sessions read for a turn or a caller, by where they were found (hot: in the live store; archive; failed).",
    ["outcome"],
)
SESSION_TURNS = Counter(
    "sonant_chat_session_turns_total", "Turns that a session keeps, by how much of them (full, metadata).", ["kept"]
)
SESSION_SPOKEN = Counter(
    "sonant_chat_session_spoken_total",
    "Answers of which less was heard than delivered, by who said so (platform, history).",
    ["by"],
)
SESSION_SUMMARIES = Counter(
    "sonant_chat_session_summaries_total",
    "Rolling summaries of sessions (asked, made, failed, no_alias: the config names none that answers).",
    ["outcome"],
)
RETRIEVALS = Counter(
    "sonant_chat_retrievals_total",
    "Turns whose config wants documents, by what came of the search (used, nothing, late: left out, failed).",
    ["outcome"],
)
RETRIEVAL_SECONDS = Histogram(
    "sonant_chat_retrieval_seconds", "How long searches of turns took, those that were left out too.", buckets=SECONDS
)
RETRIEVAL_WAITS = Histogram(
    "sonant_chat_retrieval_wait_seconds",
    "How long turns waited for their search behind all that ran beside it.",
    buckets=SECONDS,
)
QUESTION_MODELS = Counter(
    "sonant_chat_question_models_total",
    "Questions of searches that a model was to write (used; late, failed, unusable, no_alias: rules made them).",
    ["outcome"],
)
RETRIEVED_PASSAGES = Counter("sonant_chat_retrieved_passages_total", "Passages that stood in what a model was asked.")
MODELS_RELOADS = Counter("sonant_models_reloads_total", "Reloads of the models file, by outcome.", ["outcome"])
