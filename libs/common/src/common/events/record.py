"""A record: what an event is on the log, whichever engine that is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Record:
    """What is published. `headers` are short texts; `value` is opaque to the log."""

    topic: str
    key: str
    value: bytes
    headers: Mapping[str, str]


class Partition(NamedTuple):
    topic: str
    number: int


@dataclass(frozen=True, slots=True)
class Received(Record):
    """A record as read back; `timestamp` is unix seconds of the append."""

    partition: Partition
    offset: str
    timestamp: float
