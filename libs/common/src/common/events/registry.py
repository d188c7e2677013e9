"""All that can happen: the index of every event, and the topics they travel on."""

from typing import Any

from common.events import audit, chat, resources, telemetry, webhooks
from common.events.spec import EventSpec, Topic

EVENTS: tuple[EventSpec[Any], ...] = (
    chat.CHAT_REPLY_REQUESTED,
    chat.CHAT_MODELS_REQUESTED,
    chat.CHAT_REPLY_COMPLETED,
    chat.CHAT_REPLY_INTERRUPTED,
    chat.CHAT_REPLY_FAILED,
    telemetry.USAGE_REQUESTED,
    resources.RESOURCE_CREATE,
    resources.RESOURCE_VERSION,
    resources.RESOURCE_EDIT,
    resources.RESOURCE_DELETE,
    resources.ACTIVE_SWITCH,
    resources.ACTIVE_TOOL,
    resources.ACTIVE_ROLLBACK,
    resources.ACTIVE_ROLLOUT,
    resources.ACTIVE_CLEAR,
    resources.TOOL_DRAFT,
    resources.TOOL_STATUS,
    resources.RESOURCE_IMPORT,
    resources.PROJECT_IMPORT,
    resources.RESOURCE_LIST,
    resources.RESOURCE_VERSIONS,
    resources.RESOURCE_GET,
    resources.ACTIVE_RESOLVE,
    resources.ACTIVE_HISTORY,
    resources.ACTIVE_DIFF,
    resources.ACTIVE_AT,
    resources.AUDIT_LIST,
    resources.PROJECT_EXPORT,
    resources.HUME_TOKEN,
    resources.RESOURCE_CHANGED,
    resources.ACTIVE_SWITCHED,
    audit.AUDIT_RECORDED,
    webhooks.WEBHOOK_RECEIVED,
)

BY_NAME = {spec.name: spec for spec in EVENTS}


def topics(*, dead_letters: bool = True) -> list[Topic]:
    """Every declared topic, each with its dead-letter twin where an event of it may be parked."""
    parents = list(dict.fromkeys(spec.topic for spec in EVENTS))
    parked = {spec.topic for spec in EVENTS if spec.park}
    twins = [topic.dead_letters for topic in parents if topic in parked] if dead_letters else []
    return [*parents, *twins]
