"""The account of a record that a consumer works on: a line of the access log and a span, once it is over."""

import logging
import time
from types import TracebackType
from typing import Any, Self

from common.events import trace
from common.events.envelope import MAX_CORRELATION_CHARS
from common.events.record import Received
from common.events.spec import EventSpec
from common.kernel import access_log, tracing
from common.kernel.places import owner_of

# How a record ends that somebody should look at.
BAD_ENDS = frozenset({"parked", "failed", "dropped"})
# Of what a program that reaches the log may have written.
MAX_ID_CHARS = 256


class RecordAccount:
    """Used as a context around the handling; what is done within belongs to the record's trace and request.

    A handler adds to it by `access_log.note` and `tracing.current`. `outcome` is written within.
    """

    def __init__(self, group: str, record: Received, spec: EventSpec[Any]) -> None:
        self.outcome = "cancelled"
        self._record = record
        self._group = group
        self._spec = spec

    def __enter__(self) -> Self:
        self._started = time.perf_counter()
        headers = self._record.headers
        parent = trace.valid(headers.get("traceparent"))
        self._span = tracing.begin(f"process {self._record.topic}", tracing.SpanKind.CONSUMER, parent)
        correlation_id = headers.get("correlation-id")
        trace.enter(self._span.traceparent or parent, correlation_id and correlation_id[:MAX_CORRELATION_CHARS])
        self._noted = access_log.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        record, bad = self._record, self.outcome in BAD_ENDS
        line = {
            "event_type": self._spec.type,
            "event_id": record.headers.get("event-id", "")[:MAX_ID_CHARS],
            "record": f"{record.topic}/{record.partition.number}@{record.offset}",
            "org_id": owner_of(record.key)[:MAX_ID_CHARS],
            "outcome": self.outcome,
            "seconds": round(time.perf_counter() - self._started, 6),
            **self._noted,
        }
        access_log.write("event handled", line, logging.WARNING if bad else logging.INFO)
        if self._span.recorded:
            self._span.set(self._attributes())
        self._span.end(self.outcome if bad else None)

    def _attributes(self) -> tracing.Attributes:
        record = self._record
        return {
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": record.topic,
            "messaging.destination.partition.id": str(record.partition.number),
            "messaging.message.id": record.headers.get("event-id"),
            "messaging.consumer.group.name": self._group,
            "sonant.event.type": self._spec.name,
            "sonant.outcome": self.outcome,
        }
