"""The routes of chat: completions, responses and their resumption, interruptions, embeddings, models."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, Field

from gateway.chat import model_views
from gateway.chat.accepted_request import (
    CACHE_HEADER,
    GRACE_HEADER,
    INTERRUPTION_HEADER,
    PROJECT_HEADER,
    SESSION_HEADER,
)
from gateway.chat.completion_answer import ChatCompletion, ChatCompletionChunk
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
from gateway.chat.response_answer import Response, ResponseEvent
from gateway.chat.response_request import ResponseRequest
from gateway.chat.resume import LAST_EVENT_HEADER, ResponseQuery, resume_completion, resume_response
from gateway.chat.session_routes import SESSION_ROUTES
from gateway.http.end_user import MAX_ID, USER_HEADER
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


class SessionQuery(BaseModel):
    """What voice platforms say in the query."""

    custom_session_id: Annotated[str, Field(min_length=1, max_length=MAX_ID)] | None = None


# What an answer says of how it came about.
SENT = (
    "x-sonant-completion-id",
    "x-sonant-session-id",
    "x-sonant-context",
    "x-sonant-active-revision",
    "x-sonant-active-layer",
    "x-sonant-cache",
)


def _completions(path: str, name: str, summary: str, view: Handler = create_completion) -> Route:
    return Route(
        "POST",
        path,
        view,
        summary,
        name=name,
        scope=Scope.CHAT,
        request=ChatRequest,
        response=ChatCompletion,
        events=ChatCompletionChunk,
        query=SessionQuery,
        headers=COMPLETION_HEADERS,
        sends=SENT,
        errors=(404, 409, 413, 422, 429, 502, 503, 504),
        streaming=True,
        idempotent=True,
        limited=True,
        work=Work.ANSWER,
        tags=("chat",),
    )


def _responses(path: str, name: str, summary: str, view: Handler) -> Route:
    return Route(
        "POST",
        path,
        view,
        summary,
        name=name,
        scope=Scope.CHAT,
        request=ResponseRequest,
        response=Response,
        events=ResponseEvent,
        headers=COMPLETION_HEADERS,
        query=SessionQuery,
        sends=SENT,
        errors=(404, 409, 413, 422, 429, 502, 503, 504),
        streaming=True,
        idempotent=True,
        limited=True,
        work=Work.ANSWER,
        tags=("responses",),
    )


def _embeddings(path: str, name: str, summary: str) -> Route:
    return Route(
        "POST",
        path,
        create_embeddings,
        summary,
        name=name,
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
    _completions("/v1/chat/completions", "create_chat_completion", "Answer a conversation, streaming or not"),
    _completions(
        "/chat/completions",
        "create_platform_completion",
        "The same for voice platforms: `custom_session_id` names the session",
    ),
    _completions(
        "/v1/dialects/{dialect}/chat/completions",
        "create_dialect_completion",
        "Answer a voice platform in its dialect; `auto` finds out which",
        create_dialect_completion,
    ),
    _responses(
        "/v1/responses", "create_response", "Answer as OpenAI's Responses API, streaming or not", create_response
    ),
    _responses(
        "/v1/dialects/{dialect}/responses",
        "create_dialect_response",
        "The same for a voice platform that speaks it",
        create_dialect_response,
    ),
    Route(
        "GET",
        "/v1/responses/{id}",
        resume_response,
        "Read a response that is kept, or continue its stream",
        name="get_response",
        scope=Scope.CHAT,
        query=ResponseQuery,
        response=Response,
        events=ResponseEvent,
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
        name="resume_chat_completion",
        scope=Scope.CHAT,
        headers={LAST_EVENT_HEADER: "The id of the last event received; everything behind it follows.", **GRACE},
        errors=(404, 429, 503, 504),
        streaming=True,
        events=ChatCompletionChunk,
        tags=("chat",),
    ),
    *SESSION_ROUTES,
    *CONVERSATION_ROUTES,
    _embeddings("/v1/embeddings", "create_embeddings", "Make the vectors of texts"),
    _embeddings(
        "/embeddings", "create_embeddings_without_version", "The same for clients whose base URL has no version"
    ),
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
