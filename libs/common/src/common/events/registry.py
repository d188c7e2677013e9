"""All that can happen: the index of every event, the topics they travel on, and the signals beside them."""

from typing import Any

from common.events import (
    audit,
    chat,
    embeddings,
    interaction_queries,
    interactions,
    keys,
    resources,
    session_turns,
    telemetry,
    webhooks,
)
from common.events.spec import EventSpec, SignalSpec, Topic

EVENTS: tuple[EventSpec[Any], ...] = (
    chat.CHAT_REPLY_REQUESTED,
    chat.CHAT_MODELS_REQUESTED,
    chat.CHAT_REPLY_COMPLETED,
    chat.CHAT_REPLY_INTERRUPTED,
    chat.CHAT_REPLY_FAILED,
    session_turns.SESSION_REQUESTED,
    session_turns.TURN_REQUESTED,
    session_turns.SPOKEN_REPORTED,
    session_turns.SESSION_DELETE_REQUESTED,
    session_turns.CHAT_REPLY_SPOKEN,
    session_turns.CHAT_SESSION_DELETED,
    embeddings.EMBEDDINGS_REQUESTED,
    embeddings.EMBEDDINGS_COMPLETED,
    embeddings.EMBEDDINGS_INTERRUPTED,
    embeddings.EMBEDDINGS_FAILED,
    telemetry.USAGE_REQUESTED,
    session_turns.SESSION_HISTORY_REQUESTED,
    session_turns.STORED_TURN_REQUESTED,
    session_turns.SESSION_LIST_REQUESTED,
    session_turns.SESSION_POLICY_REQUESTED,
    interactions.INTERACTIONS_ACCEPTED,
    interactions.INTERACTIONS_TALLIED,
    *interaction_queries.INTERACTION_REQUESTS,
    resources.RESOURCE_CREATE_REQUESTED,
    resources.RESOURCE_VERSION_REQUESTED,
    resources.RESOURCE_EDIT_REQUESTED,
    resources.RESOURCE_DELETE_REQUESTED,
    resources.ACTIVE_SWITCH_REQUESTED,
    resources.ACTIVE_TOOL_REQUESTED,
    resources.ACTIVE_ROLLBACK_REQUESTED,
    resources.ACTIVE_ROLLOUT_REQUESTED,
    resources.ACTIVE_CLEAR_REQUESTED,
    resources.TOOL_DRAFT_REQUESTED,
    resources.TOOL_STATUS_REQUESTED,
    resources.RESOURCE_IMPORT_REQUESTED,
    resources.PROJECT_IMPORT_REQUESTED,
    resources.RESOURCE_LIST_REQUESTED,
    resources.RESOURCE_VERSIONS_REQUESTED,
    resources.RESOURCE_GET_REQUESTED,
    resources.ACTIVE_RESOLVE_REQUESTED,
    resources.ACTIVE_HISTORY_REQUESTED,
    resources.ACTIVE_DIFF_REQUESTED,
    resources.ACTIVE_AT_REQUESTED,
    resources.AUDIT_LIST_REQUESTED,
    resources.PROJECT_EXPORT_REQUESTED,
    resources.HUME_TOKEN_REQUESTED,
    resources.RESOURCE_CHANGED,
    resources.ACTIVE_SWITCHED,
    audit.AUDIT_RECORDED,
    webhooks.WEBHOOK_RECEIVED,
)

SIGNALS: tuple[SignalSpec[Any], ...] = (
    chat.ANSWER_STOP,
    chat.SESSION_INTERRUPT,
    chat.ANSWER_ATTACH,
    chat.ANSWER_READ,
    chat.ANSWER_ABANDONED,
    keys.KEY_CHANGED,
)

BY_NAME = {spec.name: spec for spec in EVENTS}


def topics(*, dead_letters: bool = True) -> list[Topic]:
    """Every declared topic, each with its dead-letter twin where an event of it may be parked."""
    parents = list(dict.fromkeys(spec.topic for spec in EVENTS))
    parked = {spec.topic for spec in EVENTS if spec.park}
    twins = [topic.dead_letters for topic in parents if topic in parked] if dead_letters else []
    return [*parents, *twins]
