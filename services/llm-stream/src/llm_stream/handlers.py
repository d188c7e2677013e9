"""What llm-stream consumes."""

from common.events.chat import (
    CHAT_MODELS_REQUESTED,
    CHAT_REPLY_REQUESTED,
    ChatModelsRequested,
    ChatReplyRequested,
    ModelNames,
)
from common.events.embeddings import EMBEDDINGS_REQUESTED, EmbeddingsRequested
from common.events.envelope import Event
from common.events.reply import Reply
from common.kernel.handlers import Handlers, answer, on
from llm_stream.answer.failure import busy
from llm_stream.deps import Deps
from llm_stream.turns import life
from llm_stream.turns.claim import RequestEvent


async def on_chat_reply_requested(event: Event[ChatReplyRequested], deps: Deps) -> None:
    """Answer, streaming."""
    await life.answer(event, deps)


async def on_embeddings_requested(event: Event[EmbeddingsRequested], deps: Deps) -> None:
    """Make vectors; a turn like any other."""
    await life.answer(event, deps)


async def on_no_place(event: RequestEvent, deps: Deps) -> None:
    """Turn away, with the fact that is owed for it."""
    await life.answer(event, deps, refused=busy())


async def on_chat_models_requested(event: Event[ChatModelsRequested], deps: Deps) -> Reply[ModelNames]:
    """Say which models there are."""
    del event
    return Reply(ModelNames(models=deps.aliases.names))


HANDLERS: Handlers[Deps] = (
    on(CHAT_REPLY_REQUESTED, on_chat_reply_requested, full=on_no_place),
    on(EMBEDDINGS_REQUESTED, on_embeddings_requested, full=on_no_place),
    answer(CHAT_MODELS_REQUESTED, on_chat_models_requested),
)
