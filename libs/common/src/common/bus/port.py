"""The port of the durable log: what Kafka and the embedded log both promise.

An *offset* is an opaque string, unique and increasing inside one partition. A *committed* offset says
"everything up to and including this is finished"; after a restart reading goes on right behind it.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from common.events.record import Partition, Received, Record
from common.events.spec import Topic
from common.failures import Unavailable


class BusUnavailableError(Unavailable):
    """The log or the live channel does not answer; the caller may try again later."""


class LogRefusedError(BusUnavailableError):
    """The log answered, and does not let us in as we are; waiting helps only where somebody changes that."""


class UnconfirmedError(BusUnavailableError):
    """The log did not acknowledge what was sent to it: it may have been written, now or in a moment."""


class RecordTooLargeError(Exception):
    """A record is larger than the log takes; it will never be accepted as it is."""


class TopicMismatchError(Exception):
    """A topic exists with a shape that contradicts its declaration."""


@dataclass(frozen=True, slots=True)
class TopicStatus:
    """One topic as an operator sees it: records kept and, per group, records not finished yet."""

    name: str
    partitions: int
    length: int
    lag: Mapping[str, int]


# Called with the partitions about to be taken away: finish what is in hand and commit, then return.
Revoked = Callable[[frozenset[Partition]], Awaitable[None]]


class Subscription(Protocol):
    """One member of a consumer group. Not safe for concurrent polls; `commit` may overlap a poll."""

    async def poll(self, max_records: int, timeout: float) -> Sequence[Received]:
        """Up to `max_records` new records of about `FETCH_BYTES` together, waiting at most `timeout` seconds.

        A single larger record comes alone.

        With `max_records=0` nothing is fetched, but the membership is kept alive: a full consumer
        must go on polling. Raises BusUnavailableError while the engine is away; polling again resumes
        without loss.
        """
        ...

    async def commit(self, offsets: Mapping[Partition, str]) -> None:
        """Remember that everything up to and including each offset is finished (durable, idempotent).

        Partitions no longer owned are ignored. Raises BusUnavailableError.
        """
        ...

    async def lag(self) -> int | None:
        """Records on the owned partitions behind the last one polled; None where it cannot be told."""
        ...


class Log(Protocol):
    """A durable, partitioned, append-only log."""

    async def publish(self, *records: Record) -> None:
        """Append all records and return once every one is durable.

        Raises BusUnavailableError when that was not confirmed within `PUBLISH_TIMEOUT`: as UnconfirmedError
        where a record may still have been written, so consumers must be idempotent by event id. Raises
        RecordTooLargeError, with nothing written, when a value is longer than `MAX_VALUE_BYTES`.
        """
        ...

    def subscribe(
        self, topics: Sequence[Topic], group: str, instance: str, revoked: Revoked
    ) -> AbstractAsyncContextManager[Subscription]:
        """Join `group` as `instance` (stable over restarts); leaving the context leaves the group.

        A group that never committed starts at the oldest record.
        """
        ...

    async def ensure(self, topics: Sequence[Topic]) -> None:
        """Create missing topics and verify the others; raises TopicMismatchError, BusUnavailableError."""
        ...

    async def ping(self) -> None:
        """Return if the engine answers; raises BusUnavailableError."""
        ...

    async def status(self, topics: Sequence[Topic]) -> Sequence[TopicStatus]:
        """How long the topics are and how far their groups lag behind; missing topics are left out."""
        ...

    async def read(self, topic: Topic, *, limit: int, after: Mapping[int, str] | None = None) -> Sequence[Received]:
        """Records of a topic in order per partition, outside any group, from its oldest or behind `after`
        (partition number -> offset)."""
        ...


# One bound for both engines: a caller waits for the acknowledgement, and clients give up after a few seconds.
PUBLISH_TIMEOUT = 3.0

# A chat request may carry 4 MiB of conversation; topics are created to take this much.
MAX_RECORD_BYTES = 8 * 1024 * 1024
# What is left holds the key, the headers, and the passport of a record that is parked.
MAX_VALUE_BYTES = MAX_RECORD_BYTES - 64 * 1024


# What one poll brings in, whatever `max_records` says: a consumer that watches its memory can stop behind it.
FETCH_BYTES = 4 * 1024 * 1024


def check_sizes(records: Sequence[Record]) -> None:
    """Raise RecordTooLargeError for the first record that no engine takes."""
    for record in records:
        if len(record.value) > MAX_VALUE_BYTES:
            size = len(record.value)
            raise RecordTooLargeError(f"a record for {record.topic} has {size} bytes, at most {MAX_VALUE_BYTES} fit")
