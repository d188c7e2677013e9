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
from common.events.reply import Reply
from common.events.session_turns import (
    CHAT_REPLY_SPOKEN,
    CHAT_SESSION_DELETED,
    SESSION_HISTORY_REQUESTED,
    SESSION_LIST_REQUESTED,
    SESSION_POLICY_REQUESTED,
    STORED_TURN_REQUESTED,
    ReplySpoken,
    SessionDeleted,
    SessionHistory,
    SessionHistoryRequested,
    SessionList,
    SessionListRequested,
    SessionPolicy,
    SessionPolicyRequested,
    StoredTurnRequested,
    TurnFound,
)
from common.events.telemetry import USAGE_REQUESTED, UsageList, UsageRequested
from common.kernel.handlers import Handlers, answer, on
from telemetry import kept_sessions, turns, usage
from telemetry.deps import Deps


async def on_chat_reply_completed(event: Event[ChatReplyCompleted], deps: Deps) -> None:
    await turns.store(event.payload, "completed", deps.turns)
    await kept_sessions.keep(event.payload, deps.sessions)


async def on_chat_reply_interrupted(event: Event[ChatReplyInterrupted], deps: Deps) -> None:
    await turns.store(event.payload, "interrupted", deps.turns)
    await kept_sessions.keep(event.payload, deps.sessions)


async def on_chat_reply_failed(event: Event[ChatReplyFailed], deps: Deps) -> None:
    await turns.store(event.payload, "failed", deps.turns)
    await kept_sessions.keep(event.payload, deps.sessions)


async def on_embeddings_completed(event: Event[EmbeddingsCompleted], deps: Deps) -> None:
    await turns.store(event.payload, "completed", deps.turns)


async def on_embeddings_interrupted(event: Event[EmbeddingsInterrupted], deps: Deps) -> None:
    await turns.store(event.payload, "interrupted", deps.turns)


async def on_embeddings_failed(event: Event[EmbeddingsFailed], deps: Deps) -> None:
    await turns.store(event.payload, "failed", deps.turns)


async def on_chat_reply_spoken(event: Event[ReplySpoken], deps: Deps) -> None:
    await kept_sessions.note_spoken(event.payload, deps.sessions)


async def on_chat_session_deleted(event: Event[SessionDeleted], deps: Deps) -> None:
    await kept_sessions.delete(event.payload, deps.sessions)


async def on_session_history_requested(event: Event[SessionHistoryRequested], deps: Deps) -> Reply[SessionHistory]:
    return await kept_sessions.history(event.payload, deps.sessions)


async def on_stored_turn_requested(event: Event[StoredTurnRequested], deps: Deps) -> Reply[TurnFound]:
    return await kept_sessions.turn_of(event.payload, deps.sessions)


async def on_session_list_requested(event: Event[SessionListRequested], deps: Deps) -> Reply[SessionList]:
    return await kept_sessions.page(event.payload, deps.sessions)


async def on_session_policy_requested(event: Event[SessionPolicyRequested], deps: Deps) -> Reply[SessionPolicy]:
    return await kept_sessions.policy(event.payload, deps.sessions)


async def on_usage_requested(event: Event[UsageRequested], deps: Deps) -> Reply[UsageList]:
    return await usage.answer(event.payload, deps.usage, deps.settings)


HANDLERS: Handlers[Deps] = (
    on(CHAT_REPLY_COMPLETED, on_chat_reply_completed),
    on(CHAT_REPLY_INTERRUPTED, on_chat_reply_interrupted),
    on(CHAT_REPLY_FAILED, on_chat_reply_failed),
    on(EMBEDDINGS_COMPLETED, on_embeddings_completed),
    on(EMBEDDINGS_INTERRUPTED, on_embeddings_interrupted),
    on(EMBEDDINGS_FAILED, on_embeddings_failed),
    on(CHAT_REPLY_SPOKEN, on_chat_reply_spoken),
    on(CHAT_SESSION_DELETED, on_chat_session_deleted),
    answer(USAGE_REQUESTED, on_usage_requested),
    answer(SESSION_HISTORY_REQUESTED, on_session_history_requested),
    answer(STORED_TURN_REQUESTED, on_stored_turn_requested),
    answer(SESSION_LIST_REQUESTED, on_session_list_requested),
    answer(SESSION_POLICY_REQUESTED, on_session_policy_requested),
)
