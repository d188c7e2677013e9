"""What a webhook of the voice provider is about, and which deliveries are the same one."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.http.errors import bad_request
from gateway.http.json_bounds import parse_json

# Of any other kind a chat may have several, so the chat says nothing about which one it is.
ONCE_PER_CHAT = frozenset({"chat_started", "chat_ended"})
KNOWN_EVENTS = ONCE_PER_CHAT | {"tool_call"}


@dataclass(frozen=True, slots=True)
class Delivery:
    """A genuine webhook, read loosely: the provider may send what we do not know yet."""

    event_name: str
    key: str
    body: dict[str, Any]

    @property
    def known(self) -> bool:
        return self.event_name in KNOWN_EVENTS


def read_delivery(raw: bytes) -> Delivery:
    """The delivery in a body; raises Refused 400 where it is none."""
    body = parse_json(raw)
    name = body.get("event_name")
    if not isinstance(name, str) or not 0 < len(name) <= 100:
        raise bad_request("Missing 'event_name'.", "event_name", "missing_required_parameter")
    return Delivery(name, f"{name}:{_subject(name, body) or hashlib.sha256(raw).hexdigest()}", body)


def _subject(name: str, body: Mapping[str, Any]) -> str | None:
    """What repeated deliveries of one event have in common; None where the event does not say."""
    call = body.get("tool_call_message")
    subject = None
    if name in ONCE_PER_CHAT:
        subject = body.get("chat_id")
    elif name == "tool_call" and isinstance(call, dict):
        subject = call.get("tool_call_id")
    return subject if isinstance(subject, str) and subject else None
