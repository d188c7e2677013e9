"""The routes of telemetry: usage."""

from collections.abc import Sequence

from common.events.telemetry import USAGE_REQUESTED
from gateway.http.routing import Route
from gateway.ports import Scope, Work
from gateway.telemetry.usage import UsageQuery, get_usage

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
    )
]
