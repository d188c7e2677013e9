"""Embeddings: one request for the vectors of texts, and exactly one of three facts about how that ended.

A request takes the way of a chat request: the same frames, the same signals, the same life.
"""

import builtins
from typing import Annotated, TypeVar

from pydantic import Field

from common.events.backoff import NEVER, PATIENTLY
from common.events.chat import (
    CHAT_EVENTS,
    CHAT_REQUESTS,
    AnswerRequested,
    Attempt,
    ReplyError,
    StopReceipt,
    Usage,
)
from common.events.spec import EventSpec, Payload


class EmbeddingsRequested(AnswerRequested):
    """Vectors are wanted. It is a session of its own: `session_id` repeats `request_id`."""

    stream: bool = False


class EmbeddingsEnded(Payload):
    """What the three ends of an embeddings request have in common. Times are unix seconds."""

    request_id: str
    org_id: str
    key_id: str
    user_id: str | None = None
    model: str
    upstream: str | None = None
    upstream_model: str | None = None
    usage: Usage = Usage()
    cost_usd: float = 0.0
    received_at: float
    started_at: float
    finished_at: float
    attempts: Annotated[tuple[Attempt, ...], Field(fail_fast=True)] = ()


class EmbeddingsCompleted(EmbeddingsEnded):
    """All vectors were handed over."""


class EmbeddingsInterrupted(EmbeddingsEnded):
    """The caller left before the end."""

    receipt: StopReceipt


class EmbeddingsFailed(EmbeddingsEnded):
    """No upstream gave the vectors; the client was told so."""

    error: ReplyError


E = TypeVar("E", bound=EmbeddingsEnded)


def _session(payload: EmbeddingsRequested | EmbeddingsEnded) -> str:
    return f"{payload.org_id}/{payload.request_id}"


EMBEDDINGS_REQUESTED = EventSpec(
    type="embeddings.requested",
    version=1,
    payload=EmbeddingsRequested,
    topic=CHAT_REQUESTS,
    key=_session,
    summary="Make the vectors of texts; frames go to the gateway named in reply-to.",
    retry=NEVER,
    ordered=False,
    bulk="body",
)


def _end(type: str, payload: builtins.type[E], summary: str) -> EventSpec[E]:
    """One of the three ends; which one comes is all that differs."""
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


EMBEDDINGS_COMPLETED = _end("embeddings.completed", EmbeddingsCompleted, "All vectors of a request were handed over.")
EMBEDDINGS_INTERRUPTED = _end(
    "embeddings.interrupted", EmbeddingsInterrupted, "An embeddings request was stopped, since its caller left."
)
EMBEDDINGS_FAILED = _end(
    "embeddings.failed", EmbeddingsFailed, "An embeddings request ended in an error; carries every attempt."
)
