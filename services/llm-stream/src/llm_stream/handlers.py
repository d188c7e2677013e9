"""What llm-stream consumes."""

from typing import Any

from common.events.chat import CHAT_MODELS_REQUESTED, CHAT_REPLY_REQUESTED, ChatModelsRequested, ChatReplyRequested
from common.events.envelope import Event
from common.kernel.replies import Reply
from llm_stream import replies
from llm_stream.replies import Deps


async def on_chat_reply_requested(event: Event[ChatReplyRequested], deps: Deps) -> None:
    """Answer, streaming."""
    await replies.answer(event, deps)


async def on_chat_models_requested(event: Event[ChatModelsRequested], deps: Deps) -> Reply:
    """Say which models there are."""
    del event
    return Reply({"models": sorted(deps.models.aliases)})


HANDLERS: dict[Any, Any] = {
    CHAT_REPLY_REQUESTED: on_chat_reply_requested,
    CHAT_MODELS_REQUESTED: on_chat_models_requested,
}
