"""A record: what an event is on the log, whichever engine that is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Record:
    """What is published. `headers` are short texts; `value` is opaque to the log.

    A text that was read from bytes that are no UTF-8 holds these as `surrogateescape` does: see `text` and `raw`.
    """

    topic: str
    key: str
    value: bytes
    headers: Mapping[str, str]


class Partition(NamedTuple):
    topic: str
    number: int


@dataclass(frozen=True, slots=True)
class Received(Record):
    """A record as read back; `timestamp` is unix seconds of the append.

    Anybody may write to a log. `fault` says why this is no record as we write them, None for one that is; what it
    holds is then kept byte by byte in key, value and headers, and is to be parked, not read.
    """

    partition: Partition
    offset: str
    timestamp: float
    fault: str | None = None


def text(given: bytes) -> str:
    """The bytes as text, whatever they are; `raw` gives them back."""
    return given.decode(errors="surrogateescape")


def raw(given: str) -> bytes:
    """The bytes of a text that was published, or read by `text`."""
    return given.encode(errors="surrogateescape")
