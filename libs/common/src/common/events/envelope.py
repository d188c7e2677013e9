"""The envelope: what every record carries beside its payload, as headers on the log."""

import time
import uuid
from dataclasses import dataclass, field
from typing import Any, Generic

from common.events import trace
from common.events.record import Received, Record
from common.events.spec import EventSpec, P


@dataclass(frozen=True, slots=True)
class Event(Generic[P]):
    """An event in hand: payload plus identity, deadline and the way back.

    `deadline` and `time` are unix seconds. `reply_to` names the LIVE stream of the gateway instance
    that waits, `request_id` the waiting request. Without a `traceparent` of its own it belongs to the trace that is
    being worked on.
    """

    spec: EventSpec[P]
    payload: P
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    time: float = field(default_factory=time.time)
    deadline: float | None = None
    traceparent: str | None = field(default_factory=trace.current)
    reply_to: str | None = None
    request_id: str | None = None

    def record(self) -> Record:
        """The wire form: payload as JSON, envelope as headers."""
        headers = {"event-id": self.id, "event-type": self.spec.name, "event-time": repr(self.time)}
        optional = {
            "deadline": None if self.deadline is None else repr(self.deadline),
            "traceparent": self.traceparent,
            "reply-to": self.reply_to,
            "request-id": self.request_id,
        }
        headers.update({name: value for name, value in optional.items() if value is not None})
        return Record(
            topic=self.spec.topic.name,
            key=self.spec.key(self.payload),
            value=self.payload.model_dump_json(exclude_none=True).encode(),
            headers=headers,
        )


def open_event(record: Received, spec: EventSpec[Any]) -> Event[Any]:
    """Read a record back; raises `pydantic.ValidationError` on a payload that does not fit its schema."""
    headers = record.headers
    deadline = headers.get("deadline")
    return Event(
        spec=spec,
        payload=spec.payload.model_validate_json(record.value),
        id=headers["event-id"],
        time=float(headers.get("event-time", record.timestamp)),
        deadline=float(deadline) if deadline else None,
        traceparent=headers.get("traceparent"),
        reply_to=headers.get("reply-to"),
        request_id=headers.get("request-id"),
    )
