"""What telemetry reacts to."""

from common.events.chat import (
    CHAT_REPLY_COMPLETED,
    CHAT_REPLY_FAILED,
    CHAT_REPLY_INTERRUPTED,
    ChatReplyCompleted,
    ChatReplyFailed,
    ChatReplyInterrupted,
)
from common.events.embeddings import (
    EMBEDDINGS_COMPLETED,
    EMBEDDINGS_FAILED,
    EMBEDDINGS_INTERRUPTED,
    EmbeddingsCompleted,
    EmbeddingsFailed,
    EmbeddingsInterrupted,
)
from common.events.envelope import Event
from common.events.interactions import (
    INTERACTIONS_ACCEPTED,
    INTERACTIONS_TALLIED,
    InteractionsAccepted,
    InteractionsTallied,
)
from common.events.reply import Reply
from common.events.telemetry import USAGE_REQUESTED, UsageList, UsageRequested
from common.kernel.handlers import Handlers, answer, on
from telemetry import turns, usage
from telemetry.deps import Deps
from telemetry.interactions import storing


async def on_chat_reply_completed(event: Event[ChatReplyCompleted], deps: Deps) -> None:
    await turns.store(event.payload, "completed", deps.turns)


async def on_chat_reply_interrupted(event: Event[ChatReplyInterrupted], deps: Deps) -> None:
    await turns.store(event.payload, "interrupted", deps.turns)


async def on_chat_reply_failed(event: Event[ChatReplyFailed], deps: Deps) -> None:
    await turns.store(event.payload, "failed", deps.turns)


async def on_embeddings_completed(event: Event[EmbeddingsCompleted], deps: Deps) -> None:
    await turns.store(event.payload, "completed", deps.turns)


async def on_embeddings_interrupted(event: Event[EmbeddingsInterrupted], deps: Deps) -> None:
    await turns.store(event.payload, "interrupted", deps.turns)


async def on_embeddings_failed(event: Event[EmbeddingsFailed], deps: Deps) -> None:
    await turns.store(event.payload, "failed", deps.turns)


async def on_interactions_accepted(event: Event[InteractionsAccepted], deps: Deps) -> None:
    await storing.store(event.payload, deps.terms, deps.openings, deps.interactions)


async def on_interactions_tallied(event: Event[InteractionsTallied], deps: Deps) -> None:
    await storing.tally(event.payload, deps.interactions)


async def on_usage_requested(event: Event[UsageRequested], deps: Deps) -> Reply[UsageList]:
    return await usage.answer(event.payload, deps.usage, deps.settings)


HANDLERS: Handlers[Deps] = (
    on(CHAT_REPLY_COMPLETED, on_chat_reply_completed),
    on(CHAT_REPLY_INTERRUPTED, on_chat_reply_interrupted),
    on(CHAT_REPLY_FAILED, on_chat_reply_failed),
    on(EMBEDDINGS_COMPLETED, on_embeddings_completed),
    on(EMBEDDINGS_INTERRUPTED, on_embeddings_interrupted),
    on(EMBEDDINGS_FAILED, on_embeddings_failed),
    on(INTERACTIONS_ACCEPTED, on_interactions_accepted),
    on(INTERACTIONS_TALLIED, on_interactions_tallied),
    answer(USAGE_REQUESTED, on_usage_requested),
)
