"""Every route of the gateway: path to view."""

from common.events.telemetry import UsageList
from gateway.chat import completions as chat
from gateway.chat import model_views as models
from gateway.chat import sessions
from gateway.chat.request import ChatRequest
from gateway.http.routing import Route
from gateway.keys import admin
from gateway.ports import Scope
from gateway.resources import active_sets as active
from gateway.resources import audit_trail as audit
from gateway.resources import catalogue as resources
from gateway.resources import drafted_tools as tools
from gateway.resources import hume_token as hume_auth
from gateway.telemetry import usage
from gateway.webhooks import views as webhooks

CHAT_HEADERS = {
    chat.SESSION_HEADER: "Names the session where the query does not.",
    chat.USER_HEADER: "The end user inside the organisation, whose active set the answer uses.",
    chat.PROJECT_HEADER: "The project whose active set the answer uses; `default` where only the user is named.",
    chat.INTERRUPTION_HEADER: "Present: this request interrupts what is being said in its session.",
    chat.GRACE_HEADER: "Seconds the answer goes on after this connection dropped, to be resumed; 0 to 600. What its "
    "request asked for holds for resumed connections too.",
}


def _completions(path: str, summary: str) -> Route:
    return Route(
        "POST",
        path,
        chat.create_completion,
        summary,
        scope=Scope.CHAT,
        request=ChatRequest,
        headers=CHAT_HEADERS,
        errors=(404, 409, 413, 422, 429, 502, 503, 504),
        streaming=True,
        idempotent=True,
        limited=True,
        tags=("chat",),
    )


ROUTES: list[Route] = [
    _completions("/v1/chat/completions", "Answer a conversation, streaming or not"),
    _completions("/chat/completions", "The same for voice platforms: `custom_session_id` names the session"),
    Route(
        "GET",
        "/v1/chat/completions/{id}/stream",
        chat.resume_completion,
        "Continue a stream behind Last-Event-ID",
        scope=Scope.CHAT,
        headers={
            "Last-Event-ID": "The id of the last event received; everything behind it follows.",
            chat.GRACE_HEADER: CHAT_HEADERS[chat.GRACE_HEADER],
        },
        errors=(404, 429, 503, 504),
        streaming=True,
        tags=("chat",),
    ),
    Route(
        "POST",
        "/v1/sessions/{session_id}/interrupt",
        sessions.interrupt,
        "Stop what is being said in a session",
        scope=Scope.CHAT,
        request=sessions.Interruption,
        response=sessions.Interrupted,
        errors=(404, 413, 503),
        tags=("chat",),
    ),
    Route(
        "GET",
        "/v1/models",
        models.list_models,
        "List the models",
        scope=Scope.CHAT,
        response=models.ModelList,
        errors=(503,),
        tags=("chat",),
    ),
    Route(
        "GET",
        "/v1/models/{model}",
        models.get_model,
        "Describe a model",
        scope=Scope.CHAT,
        response=models.Model,
        errors=(404, 503),
        tags=("chat",),
    ),
    Route(
        "GET",
        "/v1/usage",
        usage.get_usage,
        "Turns, tokens and cost by day, model and key",
        scope=Scope.CHAT,
        query=usage.UsageQuery,
        response=UsageList,
        errors=(503, 504),
        tags=("telemetry",),
    ),
    *resources.ROUTES,
    *tools.ROUTES,
    *hume_auth.ROUTES,
    *active.ROUTES,
    *audit.ROUTES,
    *webhooks.ROUTES,
    *admin.ROUTES,
]
