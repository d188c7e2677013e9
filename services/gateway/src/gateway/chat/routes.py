"""The routes of chat: completions, responses and their resumption, interruptions, embeddings, models."""

from collections.abc import Sequence

from gateway.chat import model_views
from gateway.chat.accepted_request import (
    CACHE_HEADER,
    GRACE_HEADER,
    INTERRUPTION_HEADER,
    PROJECT_HEADER,
    SESSION_HEADER,
)
from gateway.chat.completion_answer import ChatCompletion
from gateway.chat.completion_request import ChatRequest
from gateway.chat.completions import (
    create_completion,
    create_dialect_completion,
    create_dialect_response,
    create_response,
)
from gateway.chat.conversation_routes import CONVERSATION_ROUTES
from gateway.chat.dialect_readers import PROSODY_HEADER
from gateway.chat.embedding_request import EmbeddingList, EmbeddingRequest
from gateway.chat.embeddings import create_embeddings
from gateway.chat.response_answer import Response
from gateway.chat.response_request import ResponseRequest
from gateway.chat.resume import LAST_EVENT_HEADER, ResponseQuery, resume_completion, resume_response
from gateway.chat.session_routes import SESSION_ROUTES
from gateway.http.end_user import USER_HEADER
from gateway.http.routing import Handler, Route
from gateway.ports import Scope, Work

GRACE = {
    GRACE_HEADER: "Seconds the answer goes on after this connection dropped, to be resumed; 0 to 600. What its "
    "request asked for holds for resumed connections too.",
}
COMPLETION_HEADERS = {
    SESSION_HEADER: "Names the session where the query does not.",
    USER_HEADER: "The end user inside the organisation, whose active set the answer uses.",
    PROJECT_HEADER: "The project whose active set the answer uses; `default` where only the user is named.",
    INTERRUPTION_HEADER: "Present: this request interrupts what is being said in its session.",
    PROSODY_HEADER: "`include`: the answer carries the last scores of the conversation; `omit`: it does not.",
    CACHE_HEADER: "`on`: an exact repeat may be answered from the cache; `refresh`: it is made anew and kept; `off`: "
    "neither. `cache-control: no-cache` makes it anew too, `no-store` is `off`.",
    **GRACE,
}


# What an answer says of how it came about.
SENT = ("x-sonant-context", "x-sonant-active-revision", "x-sonant-active-layer", "x-sonant-cache")


def _completions(path: str, summary: str, view: Handler = create_completion) -> Route:
    return Route(
        "POST",
        path,
        view,
        summary,
        scope=Scope.CHAT,
        request=ChatRequest,
        response=ChatCompletion,
        headers=COMPLETION_HEADERS,
        sends=SENT,
        errors=(404, 409, 413, 422, 429, 502, 503, 504),
        streaming=True,
        idempotent=True,
        limited=True,
        work=Work.ANSWER,
        tags=("chat",),
    )


def _responses(path: str, summary: str, view: Handler) -> Route:
    return Route(
        "POST",
        path,
        view,
        summary,
        scope=Scope.CHAT,
        request=ResponseRequest,
        response=Response,
        headers=COMPLETION_HEADERS,
        errors=(404, 409, 413, 422, 429, 502, 503, 504),
        streaming=True,
        idempotent=True,
        limited=True,
        work=Work.ANSWER,
        tags=("responses",),
    )


def _embeddings(path: str, summary: str) -> Route:
    return Route(
        "POST",
        path,
        create_embeddings,
        summary,
        scope=Scope.CHAT,
        request=EmbeddingRequest,
        response=EmbeddingList,
        headers={USER_HEADER: "The end user inside the organisation, for the fact about this request."},
        errors=(404, 409, 413, 422, 429, 502, 503, 504),
        idempotent=True,
        limited=True,
        work=Work.ANSWER,
        tags=("embeddings",),
    )


ROUTES: Sequence[Route] = [
    _completions("/v1/chat/completions", "Answer a conversation, streaming or not"),
    _completions("/chat/completions", "The same for voice platforms: `custom_session_id` names the session"),
    _completions(
        "/v1/dialects/{dialect}/chat/completions",
        "Answer a voice platform in its dialect; `auto` finds out which",
        create_dialect_completion,
    ),
    _responses("/v1/responses", "Answer as OpenAI's Responses API, streaming or not", create_response),
    _responses(
        "/v1/dialects/{dialect}/responses", "The same for a voice platform that speaks it", create_dialect_response
    ),
    Route(
        "GET",
        "/v1/responses/{id}",
        resume_response,
        "Read a response that is kept, or continue its stream",
        scope=Scope.CHAT,
        query=ResponseQuery,
        response=Response,
        headers={LAST_EVENT_HEADER: "The SSE id of the last event received, instead of `starting_after`.", **GRACE},
        errors=(404, 429, 503, 504),
        streaming=True,
        tags=("responses",),
    ),
    Route(
        "GET",
        "/v1/chat/completions/{id}/stream",
        resume_completion,
        "Continue a stream behind Last-Event-ID",
        scope=Scope.CHAT,
        headers={LAST_EVENT_HEADER: "The id of the last event received; everything behind it follows.", **GRACE},
        errors=(404, 429, 503, 504),
        streaming=True,
        tags=("chat",),
    ),
    *SESSION_ROUTES,
    *CONVERSATION_ROUTES,
    _embeddings("/v1/embeddings", "Make the vectors of texts"),
    _embeddings("/embeddings", "The same for clients whose base URL has no version"),
    Route(
        "GET",
        "/v1/models",
        model_views.list_models,
        "List the models",
        scope=Scope.CHAT,
        response=model_views.ModelList,
        errors=(503,),
        tags=("chat",),
    ),
    Route(
        "GET",
        "/v1/models/{model:.+}",
        model_views.get_model,
        "Describe a model",
        scope=Scope.CHAT,
        response=model_views.Model,
        errors=(404, 503),
        tags=("chat",),
    ),
]
