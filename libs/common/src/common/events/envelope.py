"""The envelope: what every record carries beside its payload, as headers on the log."""

import contextlib
import math
import time
import uuid
from dataclasses import dataclass, field
from typing import Any, Generic

from common.events import trace
from common.events.model_json import from_json, to_json
from common.events.record import Received, Record
from common.events.spec import EventSpec, P

# A frame of the reply has one byte for the length of it in UTF-8, where a character takes up to four.
MAX_REQUEST_ID_CHARS = 63
# What the gateway takes as an `x-request-id`.
MAX_CORRELATION_CHARS = 128


@dataclass(frozen=True, slots=True)
class Event(Generic[P]):
    """An event in hand: payload plus identity, deadline and the way back.

    `deadline` and `time` are unix seconds. `reply_to` names the LIVE stream of the gateway instance
    that waits, `request_id` the waiting request. Without a `traceparent` of its own it belongs to the trace that is
    being worked on. `correlation_id` is the `x-request-id` of the HTTP request that led to it: for log lines only.
    """

    spec: EventSpec[P]
    payload: P
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    time: float = field(default_factory=time.time)
    deadline: float | None = None
    traceparent: str | None = field(default_factory=trace.current)
    reply_to: str | None = None
    request_id: str | None = None
    correlation_id: str | None = field(default_factory=trace.correlation_id)

    def record(self) -> Record:
        """The wire form: payload as JSON, envelope as headers."""
        headers = {"event-id": self.id, "event-type": self.spec.name, "event-time": repr(self.time)}
        optional = {
            "deadline": None if self.deadline is None else repr(self.deadline),
            "traceparent": self.traceparent,
            "reply-to": self.reply_to,
            "request-id": self.request_id,
            "correlation-id": self.correlation_id,
        }
        headers.update({name: value for name, value in optional.items() if value is not None})
        return Record(
            topic=self.spec.topic.name,
            key=self.spec.key(self.payload),
            value=to_json(self.payload, exclude_none=True),
            headers=headers,
        )


class UnreadableError(ValueError):
    """Bytes on the log that are no record as we write them."""


def is_overdue(record: Received) -> bool:
    """Whether nobody waits for what a record asks any more; one that cannot be read is not judged here."""
    given = record.headers.get("deadline")
    if not given or record.fault is not None:
        return False
    try:
        return float(given) < time.time()
    except ValueError:
        return False


def open_event(record: Received, spec: EventSpec[Any]) -> Event[Any]:
    """Read a record back. Past its deadline the field that `spec.bulk` names is read as empty.

    Raises:
        ValueError: it is no record as we write them, or its payload does not fit its schema.
        KeyError: it has no event id.
    """
    if record.fault is not None:
        raise UnreadableError(record.fault)
    headers = record.headers
    deadline, request_id = headers.get("deadline"), headers.get("request-id")
    if request_id is not None and len(request_id) > MAX_REQUEST_ID_CHARS:
        raise ValueError("its request id is too long")
    return Event(
        spec=spec,
        payload=_payload(record, spec),
        id=headers["event-id"],
        time=_moment(headers.get("event-time", record.timestamp)),
        deadline=_moment(deadline) if deadline else None,
        traceparent=headers.get("traceparent"),
        reply_to=headers.get("reply-to"),
        request_id=request_id,
        correlation_id=_short(headers.get("correlation-id")),
    )


def _short(correlation_id: str | None) -> str | None:
    """As it is for log lines alone, one that nobody of ours can have written is no reason to refuse a record."""
    return None if correlation_id is None else correlation_id[:MAX_CORRELATION_CHARS]


def _payload(record: Received, spec: EventSpec[Any]) -> Any:
    if spec.bulk is not None and is_overdue(record):
        # The name with its quotes stands in no text: those have theirs escaped.
        head, found, _ = record.value.partition(f',"{spec.bulk}":'.encode())
        if found:
            with contextlib.suppress(ValueError):
                return from_json(spec.payload, head + found + b"{}}")
    return from_json(spec.payload, record.value)


def _moment(given: str | float) -> float:
    moment = float(given)
    if not math.isfinite(moment):
        raise ValueError(f"no moment in time: {given}")
    return moment
