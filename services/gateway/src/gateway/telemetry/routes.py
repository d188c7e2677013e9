"""The routes of telemetry: usage, sessions, the ledger, and what is to be kept."""

from collections.abc import Sequence
from typing import Any

from common.events import interaction_queries as queries
from common.events.telemetry import USAGE_REQUESTED
from gateway.http.routing import Route
from gateway.ports import Scope, Work
from gateway.telemetry import interaction_reads, policy_views
from gateway.telemetry.export_routes import EXPORT_ROUTES
from gateway.telemetry.usage import UsageQuery, get_usage

# What others said is for whoever manages an organisation. A key that reports ships inside applications.
READING: dict[str, Any] = {"scope": Scope.ADMIN, "work": Work.READ, "errors": (503, 504), "tags": ("telemetry",)}
WRITING: dict[str, Any] = {**READING, "work": Work.WRITE}

ROUTES: Sequence[Route] = [
    Route(
        "GET",
        "/v1/usage",
        get_usage,
        "Turns, tokens and cost by day, model and key",
        scope=Scope.CHAT,
        work=Work.READ,
        query=UsageQuery,
        response=USAGE_REQUESTED,
        errors=(503, 504),
        tags=("telemetry",),
    ),
    Route(
        "GET",
        "/v2/sessions",
        interaction_reads.list_sessions,
        "List sessions, the latest first",
        name="list_logged_sessions",
        query=interaction_reads.SessionsQuery,
        response=queries.SESSION_LIST_REQUESTED,
        **READING,
    ),
    Route(
        "GET",
        "/v2/sessions/{session_id}",
        interaction_reads.show_session,
        "The turns of a session with their steps",
        name="get_logged_session",
        query=interaction_reads.SessionQuery,
        response=queries.SESSION_REQUESTED,
        description="The oldest turn first. A page ends early where it would be large; long texts are cut.",
        **{**READING, "errors": (404, 503, 504)},
    ),
    Route(
        "GET",
        "/v2/interactions/{interaction_id}",
        interaction_reads.show_interaction,
        "One interaction with its steps and scores",
        name="get_interaction",
        response=queries.INTERACTION_REQUESTED,
        **{**READING, "errors": (404, 503, 504)},
    ),
    Route(
        "GET",
        "/v2/ingest/{batch_id}",
        interaction_reads.show_batch,
        "What became of the items of a batch",
        name="get_batch_fate",
        response=queries.BATCH_FATE_REQUESTED,
        **{**READING, "scope": Scope.INGEST, "errors": (404, 503, 504)},
    ),
    Route(
        "GET",
        "/v2/ledger",
        interaction_reads.show_ledger,
        "What was accepted and what became of it, by hour",
        name="get_ledger",
        query=interaction_reads.LedgerQuery,
        response=queries.LEDGER_REQUESTED,
        **READING,
    ),
    Route(
        "GET",
        "/v2/telemetry/policy",
        policy_views.show_policy,
        "The policy: retention, sampling and masking",
        name="get_telemetry_policy",
        response=queries.POLICY_REQUESTED,
        **READING,
    ),
    Route(
        "PUT",
        "/v2/telemetry/policy",
        policy_views.change_policy,
        "Replace the policy",
        name="set_telemetry_policy",
        request=policy_views.TelemetryPolicyBody,
        response=queries.POLICY_CHANGE_REQUESTED,
        **{**WRITING, "errors": (409, 503, 504)},
    ),
    Route(
        "GET",
        "/v2/telemetry/prices",
        policy_views.list_prices,
        "The prices of models, with their history",
        response=queries.PRICE_LIST_REQUESTED,
        **READING,
    ),
    Route(
        "PUT",
        "/v2/telemetry/prices",
        policy_views.change_price,
        "Set the price of a model from a moment on",
        name="set_price",
        request=policy_views.PriceBody,
        response=queries.PRICE_CHANGE_REQUESTED,
        **{**WRITING, "errors": (409, 503, 504)},
    ),
    Route(
        "DELETE",
        "/v2/users/{user_id}",
        policy_views.delete_user,
        "Delete everything that is stored of a user",
        response=queries.USER_DELETION_REQUESTED,
        status=202,
        description="Carried out in the background, also on what was accepted before and is stored later.",
        **{**WRITING, "errors": (400, 503, 504)},
    ),
    Route(
        "GET",
        "/v2/deletions/{deletion_id}",
        policy_views.show_deletion,
        "How far the deletion of a user is",
        name="get_deletion",
        response=queries.USER_DELETION_GET,
        **{**READING, "errors": (404, 503, 504)},
    ),
    *EXPORT_ROUTES,
]
