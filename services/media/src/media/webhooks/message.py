"""What is sent: the body of a message, and the facts that become one."""

from datetime import UTC, datetime
from typing import Any, TypeVar

import orjson

from common.events.envelope import Event
from common.events.media import JobEnded

E = TypeVar("E", bound=JobEnded)
MAX_MESSAGE_BYTES = 256 * 1024
# Of an organisation's own: they say nothing about the job.
LEFT_OUT = {"org_id", "key_id", "webhook"}


def message_id(event_id: str) -> str:
    """The same for every endpoint and every repetition."""
    return "msg_" + event_id.replace("/", "-")


def message(type: str, at: float, data: dict[str, Any]) -> bytes:
    """The body, as Standard Webhooks has it."""
    timestamp = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return orjson.dumps({"type": type, "timestamp": timestamp, "data": data})


def message_of(event: Event[E]) -> bytes:
    """The end of a job; a result that is too large is left out, to be read from the job."""
    job = event.payload
    data = job.model_dump(mode="json", exclude_none=True, exclude=LEFT_OUT)
    body = message(event.spec.type, job.at, data)
    if len(body) > MAX_MESSAGE_BYTES:
        body = message(event.spec.type, job.at, {**data, "result": None, "result_left_out": True})
    return body
