"""Which dead letters are settled: replayed or purged ones stay on the log until their time is over, and count no more.

No log can take a record out of its middle (Kafka has no such request). So a record of its own on the same topic says
which are settled, by partition and offset. It is as durable as the letters, and the same on every engine.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import orjson

if TYPE_CHECKING:
    from common.bus.port import Log
    from common.events.record import Received
    from common.events.spec import Topic

SETTLED = "dlq-settled"
# Places named by one record: it stays far below what a log takes.
PLACES = 5_000
# Records per read: a few megabytes at most in one answer of the log.
PAGE = 500

Place = tuple[int, str]


def place(letter: "Received") -> Place:
    """Where a letter lies: partition and offset."""
    return letter.partition.number, letter.offset


async def read_open(log: "Log", topic: "Topic") -> "Sequence[Received]":
    """The letters that nobody settled, as the topic holds them now."""
    letters: list[Received] = []
    settled: set[Place] = set()
    after: dict[int, str] = {}
    while page := await log.read(topic, limit=PAGE, after=after):
        for record in page:
            if SETTLED in record.headers:
                settled |= _places(record)
            else:
                letters.append(record)
        after |= {record.partition.number: record.offset for record in page}
    return [letter for letter in letters if place(letter) not in settled]


async def settle(log: "Log", topic: "Topic", letters: "Sequence[Received]", how: Literal["replayed", "purged"]) -> None:
    """Say on the topic itself that these are settled."""
    from common.events.record import Record

    for begin in range(0, len(letters), PLACES):
        places = [place(letter) for letter in letters[begin : begin + PLACES]]
        await log.publish(Record(topic.name, SETTLED, orjson.dumps(places), {SETTLED: how}))


def _places(record: "Received") -> set[Place]:
    """What a record settles; nothing where it is not one of ours, since anybody may write to a topic."""
    try:
        found = orjson.loads(record.value)
        return {(int(partition), str(offset)) for partition, offset in found}
    except (ValueError, TypeError):
        return set()
