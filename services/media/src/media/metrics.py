"""Metrics of media; those of jobs and of calls to providers are beside them on the same page."""

from prometheus_client import Counter, Gauge, Histogram

from common.metrics import SECONDS

CONTENT_PROCESSED = Counter(
    "sonant_content_processed_total", "Pieces of media made or measured, by kind and who did it.", ["kind", "provider"]
)
ANALYSIS_STEP_SECONDS = Histogram(
    "sonant_analysis_step_seconds",
    "What a step of a content analysis took, by how it ended: done, or unavailable.",
    ["step", "outcome"],
    buckets=(0.05, 0.2, 1.0, 5.0, 20.0, 60.0, 300.0, 1200.0),
)
ASSETS_SWEPT = Counter(
    "sonant_assets_swept_total",
    "Files taken away by the sweep: their time was over (expired), no row names them (orphan), or their writer died "
    "(unfinished).",
    ["why"],
)
MEDIA_REFUSALS = Counter("sonant_media_refusals_total", "Queries and commands refused, by code.", ["code"])
SPEECH_ENDS = Counter(
    "sonant_speech_ended_total", "Requests for speech that ended, by how and by who spoke.", ["outcome", "provider"]
)
SPEECH_CHARACTERS = Counter(
    "sonant_speech_characters_total",
    "Characters of requests for speech, by whether all was kept from before.",
    ["from"],
)
SPEECH_FIRST_BYTE = Histogram(
    "sonant_speech_first_byte_seconds",
    "From the gateway having read the request to the first byte of audio handed to the live channel.",
    ["from"],
    buckets=SECONDS,
)
SPEECH_HELD = Counter("sonant_speech_held_total", "Times speech had to wait because the client read too slowly.")
SPEECH_KEPT = Counter("sonant_speech_kept_total", "Pieces of speech found, kept, or lost on their way there.", ["what"])
SPEECH_SWEPT = Counter("sonant_speech_swept_total", "Kept pieces of speech that were taken away.")
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
SEARCH_SECONDS = Histogram(
    "sonant_search_stage_seconds",
    "What each stage of a search took: lexical, embed, vector, fetch, rerank, total.",
    ["stage"],
    buckets=SECONDS,
)
SEARCHES = Counter(
    "sonant_searches_total", "Searches by mode, and whether they found anything (hit, miss).", ["mode", "outcome"]
)
DOCUMENT_CHUNKS = Counter("sonant_document_chunks_total", "Chunks of documents that were taken in.")
DOCUMENT_SECONDS = Histogram(
    "sonant_document_step_seconds",
    "What each step of taking a document in took: fetch, read, embed, index.",
    ["step"],
    buckets=SECONDS,
)
INDEX_CHUNKS = Gauge("sonant_index_chunks", "Chunks that are searched.", ["model"])
SONGS = Gauge("sonant_songs", "Songs of all organisations.")
SONG_ROWS = Counter(
    "sonant_song_rows_total",
    "Rows of catalogues that imports read, by what became of them: imported, refused.",
    ["outcome"],
)
SONG_SEARCHES = Counter(
    "sonant_song_searches_total",
    "Searches for songs by what was asked with (song, sound, text), and whether they found anything (hit, miss).",
    ["by", "outcome"],
)
SONG_SEARCH_SECONDS = Histogram(
    "sonant_song_search_seconds",
    "What a search for songs took, by what was asked with: song, sound, text.",
    ["by"],
    buckets=SECONDS,
)
SONG_INDEX_SECONDS = Histogram(
    "sonant_song_index_seconds", "What it took to bring the index of an organisation up to date.", buckets=SECONDS
)
SONG_VECTORS = Counter(
    "sonant_song_vectors_total", "Vectors that indexes of songs took in or dropped: added, removed.", ["change"]
)
CREATION_STEP_SECONDS = Histogram(
    "sonant_creation_step_seconds",
    "What a step of a creation took in one try, by how that ended: done, or failed.",
    ["step", "outcome"],
    buckets=(0.05, 0.2, 1.0, 5.0, 20.0, 60.0, 300.0, 1200.0),
)
CREATION_FALLBACKS = Counter(
    "sonant_creation_fallbacks_total",
    "Parts of creations (script, narration, film) that another made than who was asked first, by who made them.",
    ["part", "provider"],
)
