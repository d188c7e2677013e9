"""All that can happen: the index of every event, and the topics they travel on."""

from typing import Any

from common.events import chat, telemetry
from common.events.spec import EventSpec, Topic

EVENTS: tuple[EventSpec[Any], ...] = (
    chat.CHAT_REPLY_REQUESTED,
    chat.CHAT_MODELS_REQUESTED,
    chat.CHAT_REPLY_COMPLETED,
    chat.CHAT_REPLY_INTERRUPTED,
    chat.CHAT_REPLY_FAILED,
    telemetry.USAGE_REQUESTED,
)

BY_NAME = {spec.name: spec for spec in EVENTS}


def topics(*, dead_letters: bool = True) -> list[Topic]:
    """Every declared topic, each with its dead-letter twin where an event of it may be parked."""
    parents = list(dict.fromkeys(spec.topic for spec in EVENTS))
    parked = {spec.topic for spec in EVENTS if spec.park}
    twins = [topic.dead_letters for topic in parents if topic in parked] if dead_letters else []
    return [*parents, *twins]
