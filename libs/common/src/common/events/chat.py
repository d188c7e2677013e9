"""Chat: one request, and exactly one of three facts about how its answer ended."""

import builtins
from typing import Any, Literal, TypeVar

from common.events.spec import EventSpec, Payload, Topic
from common.kernel.retry import NEVER, PATIENTLY

CHAT_REQUESTS = Topic("chat-requests")
CHAT_EVENTS = Topic("chat-events")


class ChatReplyRequested(Payload):
    """A chat completion is wanted. `body` is the OpenAI request as received, already validated.

    Where a user or a project is named, their active set goes into the answer.
    """

    request_id: str
    org_id: str
    key_id: str
    session_id: str
    user_id: str | None = None
    project_id: str | None = None
    model: str
    stream: bool
    body: dict[str, Any]
    # Seconds the turn goes on after its client dropped; 0 cancels at once.
    resume_grace: float = 0.0
    # Unix seconds at which the gateway had read the request.
    received_at: float


class ChatModelsRequested(Payload):
    """Which model aliases are there?"""


class Usage(Payload):
    """Tokens of the attempt that answered. `estimated` where the upstream reported none."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    estimated: bool = False


class Attempt(Payload):
    """One try at one upstream, with what came of it."""

    upstream: str
    model: str
    outcome: str
    status: int | None = None
    error: str | None = None
    started_at: float
    duration_ms: float
    first_byte_ms: float | None = None


class StopReceipt(Payload):
    """How an answer was stopped. Times are unix seconds; tokens are counted in content deltas.

    `generated_tokens` arrived from the upstream, `delivered_tokens` left towards the client; the
    difference was never said and must not enter a history.
    """

    reason: Literal["user_interruption", "newer_request", "client_closed", "gateway_lost", "deadline"]
    signal_at: float
    last_byte_at: float | None = None
    upstream_closed_at: float | None = None
    generated_tokens: int = 0
    delivered_tokens: int = 0


class ReplyError(Payload):
    """The error the client got, in the one error shape."""

    status: int
    message: str
    type: str
    code: str | None = None
    param: str | None = None


class ChatReplyEnded(Payload):
    """What the three ends of a turn have in common. Times are unix seconds."""

    request_id: str
    org_id: str
    key_id: str
    session_id: str
    user_id: str | None = None
    model: str
    stream: bool
    upstream: str | None = None
    upstream_model: str | None = None
    usage: Usage = Usage()
    cost_usd: float = 0.0
    received_at: float
    started_at: float
    first_token_at: float | None = None
    finished_at: float
    finish_reason: str | None = None
    attempts: tuple[Attempt, ...] = ()


class ChatReplyCompleted(ChatReplyEnded):
    """The whole answer was handed over."""


class ChatReplyInterrupted(ChatReplyEnded):
    """The caller stopped listening before the end."""

    receipt: StopReceipt


class ChatReplyFailed(ChatReplyEnded):
    """No upstream gave a whole answer; the client was told so."""

    error: ReplyError


E = TypeVar("E", bound=ChatReplyEnded)


def _session(payload: ChatReplyRequested | ChatReplyEnded) -> str:
    return f"{payload.org_id}/{payload.session_id}"


CHAT_REPLY_REQUESTED = EventSpec(
    type="chat.reply.requested",
    version=1,
    payload=ChatReplyRequested,
    topic=CHAT_REQUESTS,
    key=_session,
    summary="Answer a chat completion request; frames go to the gateway named in reply-to.",
    retry=NEVER,
    # A newer turn of a session must be able to overtake the one it interrupts.
    ordered=False,
)
CHAT_MODELS_REQUESTED = EventSpec(
    type="chat.models.requested",
    version=1,
    payload=ChatModelsRequested,
    topic=CHAT_REQUESTS,
    key=lambda _: "models",
    summary="List the model aliases; the reply goes to the gateway named in reply-to.",
    retry=NEVER,
    park=False,
    ordered=False,
    expires=True,
)


def _end(type: str, payload: builtins.type[E], summary: str) -> EventSpec[E]:
    """One of the three ends of a turn; which one comes is all that differs."""
    return EventSpec(
        type=type,
        version=1,
        payload=payload,
        topic=CHAT_EVENTS,
        key=_session,
        summary=summary,
        retry=PATIENTLY,
        ordered=False,
    )


CHAT_REPLY_COMPLETED = _end(
    "chat.reply.completed", ChatReplyCompleted, "A turn ended with its whole answer handed over."
)
CHAT_REPLY_INTERRUPTED = _end(
    "chat.reply.interrupted", ChatReplyInterrupted, "A turn was stopped by its caller; carries the stop receipt."
)
CHAT_REPLY_FAILED = _end("chat.reply.failed", ChatReplyFailed, "A turn ended in an error; carries every attempt.")
