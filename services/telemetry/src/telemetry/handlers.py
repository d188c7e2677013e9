"""What telemetry reacts to."""

from dataclasses import dataclass
from typing import Any

from common.events.chat import (
    CHAT_REPLY_COMPLETED,
    CHAT_REPLY_FAILED,
    CHAT_REPLY_INTERRUPTED,
    ChatReplyCompleted,
    ChatReplyFailed,
    ChatReplyInterrupted,
)
from common.events.envelope import Event
from common.events.spec import EventSpec
from common.events.telemetry import USAGE_REQUESTED, UsageRequested
from common.kernel.consumer import Handler
from common.kernel.replies import Reply
from telemetry import turns, usage
from telemetry.ports import Turns, Usage
from telemetry.settings import TelemetrySettings


@dataclass(frozen=True, slots=True)
class Deps:
    """What the handlers work with."""

    settings: TelemetrySettings
    turns: Turns
    usage: Usage


async def on_chat_reply_completed(event: Event[ChatReplyCompleted], deps: Deps) -> None:
    await turns.store(event.payload, "completed", deps.turns)


async def on_chat_reply_interrupted(event: Event[ChatReplyInterrupted], deps: Deps) -> None:
    await turns.store(event.payload, "interrupted", deps.turns)


async def on_chat_reply_failed(event: Event[ChatReplyFailed], deps: Deps) -> None:
    await turns.store(event.payload, "failed", deps.turns)


async def on_usage_requested(event: Event[UsageRequested], deps: Deps) -> Reply:
    return await usage.answer(event.payload, deps.usage, deps.settings)


HANDLERS: dict[EventSpec[Any], Handler[Deps]] = {
    CHAT_REPLY_COMPLETED: on_chat_reply_completed,
    CHAT_REPLY_INTERRUPTED: on_chat_reply_interrupted,
    CHAT_REPLY_FAILED: on_chat_reply_failed,
    USAGE_REQUESTED: on_usage_requested,
}
