"""Embeddings: one request for the vectors of texts, and exactly one of three facts about how that ended.

A request takes the way of a chat request: the same frames, the same signals, the same life.
"""

from common.events.backoff import NEVER
from common.events.chat import (
    CHAT_REQUESTS,
    AnswerEnded,
    AnswerRequested,
    ReplyError,
    StopReceipt,
    answer_end,
)
from common.events.keys import KeyBudget
from common.events.spec import EventSpec


class EmbeddingsRequested(AnswerRequested):
    """Vectors are wanted. It is a session of its own: `session_id` repeats `request_id`."""

    stream: bool = False
    # What the key may spend, where that is limited.
    budget: KeyBudget | None = None


class EmbeddingsCompleted(AnswerEnded):
    """All vectors were handed over."""


class EmbeddingsInterrupted(AnswerEnded):
    """The caller left before the end."""

    receipt: StopReceipt


class EmbeddingsFailed(AnswerEnded):
    """No upstream gave the vectors; the client was told so."""

    error: ReplyError


def _session(payload: EmbeddingsRequested | AnswerEnded) -> str:
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


EMBEDDINGS_COMPLETED = answer_end(
    "embeddings.completed", EmbeddingsCompleted, _session, "All vectors of a request were handed over."
)
EMBEDDINGS_INTERRUPTED = answer_end(
    "embeddings.interrupted",
    EmbeddingsInterrupted,
    _session,
    "An embeddings request was stopped, since its caller left.",
)
EMBEDDINGS_FAILED = answer_end(
    "embeddings.failed", EmbeddingsFailed, _session, "An embeddings request ended in an error; carries every attempt."
)
