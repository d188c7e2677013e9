"""Dead letters: what can never be handled, kept as it is, with where it came from and what went wrong."""

import asyncio
import time
from dataclasses import dataclass, replace

import structlog

from common.bus.port import BusUnavailableError, Log, RecordTooLargeError
from common.events.record import Received, Record
from common.events.spec import Topic
from common.kernel import metrics

log = structlog.get_logger(__name__)

# While the engine is away: often enough to be back within a second, seldom enough not to spin.
AWAY_SECONDS = 0.2
MESSAGE_CHARS = 500
# What is kept of a record that its dead letter has no room for: foreign producers may fill a topic's limit.
CUT_BYTES = 64 * 1024
# Of the headers of such a record, those that name it.
KEPT_HEADERS = ("event-id", "event-type", "event-time")


@dataclass(frozen=True, slots=True)
class Failures:
    """How often a record was tried, and when it failed first (unix seconds)."""

    attempts: int
    first_at: float


class DeadLetters:
    """Parks records on the twins of their topics."""

    def __init__(self, log: Log) -> None:
        self._log = log

    async def park(self, record: Received, handler: str, error: Exception, failures: Failures) -> None:
        """Return once its twin is durable, however long the log is away."""
        passport = {
            "dlq-topic": record.topic,
            "dlq-partition": str(record.partition.number),
            "dlq-offset": record.offset,
            "dlq-handler": handler,
            "dlq-error": type(error).__name__,
            "dlq-message": str(error)[:MESSAGE_CHARS].encode(errors="backslashreplace").decode(),
            "dlq-attempts": str(failures.attempts),
            "dlq-first-failure": repr(failures.first_at),
            "dlq-last-failure": repr(time.time()),
        }
        topic = Topic(record.topic).dead_letters.name
        twin = Record(topic, record.key, record.value, {**record.headers, **passport})
        try:
            await self._publish_for_sure(twin)
        except RecordTooLargeError:
            kept = {name: record.headers[name][:MESSAGE_CHARS] for name in KEPT_HEADERS if name in record.headers}
            cut = {**kept, **passport, "dlq-cut-from-bytes": str(len(record.value))}
            await self._publish_for_sure(
                replace(twin, key=record.key[:MESSAGE_CHARS], value=record.value[:CUT_BYTES], headers=cut)
            )
        log.warning("record parked", topic=record.topic, offset=record.offset, error=type(error).__name__)

    async def _publish_for_sure(self, record: Record) -> None:
        while True:
            try:
                return await self._log.publish(record)
            except BusUnavailableError:
                metrics.LOG_UNAVAILABLE.labels("park").inc()
                await asyncio.sleep(AWAY_SECONDS)
