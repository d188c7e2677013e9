"""What telemetry reacts to."""

from typing import Any

from common.events import interaction_exports as exports
from common.events import interaction_queries as queries
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
from common.events.media import (
    Job,
    JobCancelRequested,
    JobGetRequested,
    JobList,
    JobListRequested,
    JobRequested,
    JobRetryRequested,
)
from common.events.reply import Reply
from common.events.session_turns import (
    CHAT_REPLY_SPOKEN,
    CHAT_SESSION_DELETED,
    CHAT_SESSION_EXTENDED,
    SESSION_HISTORY_REQUESTED,
    SESSION_LIST_REQUESTED,
    SESSION_POLICY_REQUESTED,
    STORED_TURN_REQUESTED,
    ReplySpoken,
    SessionDeleted,
    SessionExtension,
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
from common.kernel.answers import Answers
from common.kernel.handlers import Handlers, answer, on
from common.storage.unit_of_work import Answer
from telemetry import kept_sessions, usage
from telemetry.deps import Deps
from telemetry.interactions import hourly_ledger, own_turns, session_reading, storing
from telemetry.metrics import TELEMETRY_REFUSALS
from telemetry.policies import policy_changes, user_deletions


async def on_chat_reply_completed(event: Event[ChatReplyCompleted], deps: Deps) -> None:
    await kept_sessions.keep(event.payload, deps.sessions, deps.owed)
    await own_turns.keep(event.payload, "completed", deps.terms, deps.interactions)


async def on_chat_reply_interrupted(event: Event[ChatReplyInterrupted], deps: Deps) -> None:
    await kept_sessions.keep(event.payload, deps.sessions, deps.owed)
    await own_turns.keep(event.payload, "interrupted", deps.terms, deps.interactions)


async def on_chat_reply_failed(event: Event[ChatReplyFailed], deps: Deps) -> None:
    await kept_sessions.keep(event.payload, deps.sessions, deps.owed)
    await own_turns.keep(event.payload, "failed", deps.terms, deps.interactions)


async def on_embeddings_completed(event: Event[EmbeddingsCompleted], deps: Deps) -> None:
    await own_turns.keep(event.payload, "completed", deps.terms, deps.interactions)


async def on_embeddings_interrupted(event: Event[EmbeddingsInterrupted], deps: Deps) -> None:
    await own_turns.keep(event.payload, "interrupted", deps.terms, deps.interactions)


async def on_embeddings_failed(event: Event[EmbeddingsFailed], deps: Deps) -> None:
    await own_turns.keep(event.payload, "failed", deps.terms, deps.interactions)


async def on_chat_reply_spoken(event: Event[ReplySpoken], deps: Deps) -> None:
    await kept_sessions.note_spoken(event.payload, deps.sessions, deps.owed)


async def on_chat_session_extended(event: Event[SessionExtension], deps: Deps) -> None:
    await kept_sessions.extend(event.payload, deps.sessions, deps.owed)


async def on_chat_session_deleted(event: Event[SessionDeleted], deps: Deps) -> None:
    await kept_sessions.delete(event.payload, deps.sessions, deps.owed)


async def on_session_history_requested(event: Event[SessionHistoryRequested], deps: Deps) -> Reply[SessionHistory]:
    return await kept_sessions.history(event.payload, deps.sessions, deps.owed)


async def on_stored_turn_requested(event: Event[StoredTurnRequested], deps: Deps) -> Reply[TurnFound]:
    return await kept_sessions.turn_of(event.payload, deps.sessions)


async def on_session_list_requested(event: Event[SessionListRequested], deps: Deps) -> Reply[SessionList]:
    return await kept_sessions.page(event.payload, deps.sessions)


async def on_session_policy_requested(event: Event[SessionPolicyRequested], deps: Deps) -> Reply[SessionPolicy]:
    return await kept_sessions.policy(event.payload, deps.sessions)


async def on_interactions_accepted(event: Event[InteractionsAccepted], deps: Deps) -> None:
    await storing.store(event.payload, deps.terms, deps.openings, deps.interactions)


async def on_interactions_tallied(event: Event[InteractionsTallied], deps: Deps) -> None:
    await storing.tally(event.payload, deps.interactions)


async def on_usage_requested(event: Event[UsageRequested], deps: Deps) -> Reply[UsageList]:
    return await usage.answer(event.payload, deps.usage, deps.settings)


async def on_session_list(event: Event[queries.SessionListRequested], deps: Deps) -> Reply[queries.SessionList]:
    return await session_reading.list_sessions(event.payload, deps.interaction_sessions, deps.terms)


async def on_session(event: Event[queries.SessionRequested], deps: Deps) -> Reply[queries.SessionDetail]:
    return await session_reading.show_session(event.payload, deps.interaction_sessions, deps.terms)


async def on_interaction(event: Event[queries.InteractionRequested], deps: Deps) -> Reply[queries.InteractionRow]:
    return await session_reading.show_interaction(event.payload, deps.interaction_sessions)


async def on_batch_fate(event: Event[queries.BatchFateRequested], deps: Deps) -> Reply[queries.BatchFate]:
    return await hourly_ledger.fate(event.payload, deps.ledger)


async def on_ledger(event: Event[queries.LedgerRequested], deps: Deps) -> Reply[queries.Ledger]:
    return await hourly_ledger.tell(event.payload, deps.ledger)


async def on_policy(event: Event[queries.PolicyRequested], deps: Deps) -> Reply[queries.PolicyState]:
    return await policy_changes.show_policy(event.payload, deps.policies)


async def on_policy_change(event: Event[queries.PolicyChangeRequested], deps: Deps) -> Reply[queries.PolicyState]:
    return await policy_changes.change_policy(event, deps.changes, deps.terms)


async def on_price_list(event: Event[queries.PriceListRequested], deps: Deps) -> Reply[queries.PriceRows]:
    return await policy_changes.list_prices(event.payload, deps.policies)


async def on_price_change(event: Event[queries.PriceChangeRequested], deps: Deps) -> Reply[queries.PriceRow]:
    return await policy_changes.change_price(event, deps.changes, deps.terms)


async def on_export_requested(event: Event[JobRequested], deps: Deps) -> None:
    await deps.desk.accept(event.payload)


async def on_export_get(event: Event[JobGetRequested], deps: Deps) -> Reply[Job]:
    return await deps.desk.get(event.payload)


async def on_export_list(event: Event[JobListRequested], deps: Deps) -> Reply[JobList]:
    return await deps.desk.page(event.payload)


async def on_export_cancel(event: Event[JobCancelRequested], deps: Deps) -> Reply[Job]:
    return await deps.desk.cancel(event.payload)


async def on_export_retry(event: Event[JobRetryRequested], deps: Deps) -> Reply[Job]:
    return await deps.desk.retry(event)


async def on_user_deletion(event: Event[queries.UserDeletionRequested], deps: Deps) -> Reply[queries.UserDeletion]:
    return await user_deletions.request(event.payload, deps.retention)


async def on_user_deletion_get(event: Event[queries.UserDeletionGet], deps: Deps) -> Reply[queries.UserDeletion]:
    return await user_deletions.show(event.payload, deps.retention)


async def _done(deps: Deps, event: Event[Any]) -> Answer | None:
    """What a command was answered with; those about exports say the same again when they are repeated."""
    return await deps.changes.answer_to(event)


ANSWERS: Answers[Deps] = Answers(
    refusals=TELEMETRY_REFUSALS,
    unavailable=session_reading.away(),
    commands=queries.TELEMETRY_COMMANDS,
    done=_done,
)

HANDLERS: Handlers[Deps] = ANSWERS.of(
    (
        on(CHAT_REPLY_COMPLETED, on_chat_reply_completed),
        on(CHAT_REPLY_INTERRUPTED, on_chat_reply_interrupted),
        on(CHAT_REPLY_FAILED, on_chat_reply_failed),
        on(EMBEDDINGS_COMPLETED, on_embeddings_completed),
        on(EMBEDDINGS_INTERRUPTED, on_embeddings_interrupted),
        on(EMBEDDINGS_FAILED, on_embeddings_failed),
        on(CHAT_REPLY_SPOKEN, on_chat_reply_spoken),
        on(CHAT_SESSION_EXTENDED, on_chat_session_extended),
        on(CHAT_SESSION_DELETED, on_chat_session_deleted),
        answer(SESSION_HISTORY_REQUESTED, on_session_history_requested),
        answer(STORED_TURN_REQUESTED, on_stored_turn_requested),
        answer(SESSION_LIST_REQUESTED, on_session_list_requested),
        answer(SESSION_POLICY_REQUESTED, on_session_policy_requested),
        on(INTERACTIONS_ACCEPTED, on_interactions_accepted),
        on(INTERACTIONS_TALLIED, on_interactions_tallied),
        answer(USAGE_REQUESTED, on_usage_requested),
        answer(queries.SESSION_LIST_REQUESTED, on_session_list),
        answer(queries.SESSION_REQUESTED, on_session),
        answer(queries.INTERACTION_REQUESTED, on_interaction),
        answer(queries.BATCH_FATE_REQUESTED, on_batch_fate),
        answer(queries.LEDGER_REQUESTED, on_ledger),
        answer(queries.POLICY_REQUESTED, on_policy),
        answer(queries.POLICY_CHANGE_REQUESTED, on_policy_change),
        answer(queries.PRICE_LIST_REQUESTED, on_price_list),
        answer(queries.PRICE_CHANGE_REQUESTED, on_price_change),
        answer(queries.USER_DELETION_REQUESTED, on_user_deletion),
        answer(queries.USER_DELETION_GET, on_user_deletion_get),
        on(exports.EXPORT_REQUESTED, on_export_requested),
        answer(exports.EXPORT_GET_REQUESTED, on_export_get),
        answer(exports.EXPORT_LIST_REQUESTED, on_export_list),
        answer(exports.EXPORT_CANCEL_REQUESTED, on_export_cancel),
        answer(exports.EXPORT_RETRY_REQUESTED, on_export_retry),
    )
)
