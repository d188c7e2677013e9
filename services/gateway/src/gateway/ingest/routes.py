"""The routes of ingestion."""

from collections.abc import Sequence

from common.events.interaction_items import Interaction
from gateway.http.routing import Route
from gateway.ingest.interaction_views import (
    BatchBody,
    ScoreBody,
    score_interaction,
    store_batch,
    store_generated_response,
)
from gateway.ingest.item_results import BatchAccepted, InteractionAccepted, ScoreAccepted, TracesAccepted
from gateway.ingest.otlp_traces import export_traces
from gateway.ports import Scope, Work

KEPT = "Answered once the log has it, which survives the crash of any process."

ROUTES: Sequence[Route] = [
    Route(
        "POST",
        "/v2/chatgpt/store_generated_response",
        store_generated_response,
        "Store one interaction",
        scope=Scope.INGEST,
        work=Work.INGEST,
        request=Interaction,
        response=InteractionAccepted,
        tags=("ingestion",),
        description=f"{KEPT} `org_id` must be that of the key (403). The same `id` twice is one interaction.",
    ),
    Route(
        "POST",
        "/v2/interactions:batch",
        store_batch,
        "Store up to 1,000 interactions, steps and scores",
        name="store_interactions",
        scope=Scope.INGEST,
        work=Work.INGEST,
        request=BatchBody,
        response=BatchAccepted,
        tags=("ingestion",),
        description=f"{KEPT} Each item has a result of its own: what is wrong with one keeps no other from being "
        "accepted.",
    ),
    Route(
        "POST",
        "/v2/interactions/{interaction_id}/scores",
        score_interaction,
        "Score an interaction",
        scope=Scope.INGEST,
        work=Work.INGEST,
        request=ScoreBody,
        response=ScoreAccepted,
        status=202,
        tags=("ingestion",),
        description=f"{KEPT} An interaction that comes later is scored all the same.",
    ),
    Route(
        "POST",
        "/v1/traces",
        export_traces,
        "Take in spans of OpenTelemetry (OTLP over HTTP)",
        scope=Scope.INGEST,
        work=Work.INGEST,
        response=TracesAccepted,
        errors=(400, 408, 413, 415),
        tags=("ingestion",),
        description=f"{KEPT} Protobuf or JSON. Spans about generative AI (`gen_ai.*`, OpenInference) become "
        "interactions and steps, other spans are left out. What cannot be taken is said in `partial_success`.",
    ),
]
