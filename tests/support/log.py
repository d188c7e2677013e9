"""The log of a running system, read from outside as any other team may: the facts, and whether work is left over.

The one place where system tests touch what serves: `common.bus`, which internal teams install to read the log.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from common.bus.connect import open_log
from common.bus.port import BusUnavailableError, Log, TopicStatus
from common.events.chat import CHAT_EVENTS, CHAT_REQUESTS
from common.events.record import Received
from common.kernel.settings import CommonSettings
from common.storage.redis import UNAVAILABLE, open_redis
from tests.support.sonant import Sonant
from tests.support.waiting import eventually

# How long a system that nobody asks anything may take to finish what it has.
QUIET_SECONDS = 45.0
PAGE = 1000
# How turns end. What else becomes known of sessions stands on the same topic.
ENDS = frozenset({"completed", "interrupted", "failed"})


@dataclass(frozen=True)
class Fact:
    """One fact on the log: how a turn ended."""

    id: str
    kind: str
    marker: str
    payload: dict[str, Any]


@asynccontextmanager
async def log_of(system: Sonant) -> AsyncIterator[Log]:
    """The log of a running system, read from outside."""
    urls = system.urls()
    settings = CommonSettings(log_url=urls["log"], redis_url=urls["redis"])
    async with open_redis(settings.redis_url) as redis, open_log(settings, redis) as log:
        yield log


async def facts(log: Log, org_id: str) -> list[Fact]:
    """Every fact about turns of an organisation, in the order of the log."""
    found: list[Fact] = []
    after: dict[int, str] = {}
    while records := await log.read(CHAT_EVENTS, limit=PAGE, after=after):
        found += [_fact(record) for record in records if _kind(record) in ENDS]
        after |= {record.partition.number: record.offset for record in records}
    return [fact for fact in found if fact.payload["org_id"] == org_id]


def _kind(record: Received) -> str:
    return record.headers["event-type"].partition("/")[0].rpartition(".")[2]


def _fact(record: Received) -> Fact:
    payload = orjson.loads(record.value)
    # Embeddings have no session.
    marker = payload.get("session_id") or payload["request_id"]
    return Fact(record.headers["event-id"], _kind(record), marker, payload)


async def quiet(log: Log) -> None:
    """Wait until every request was handled and every fact stored."""
    seen: Sequence[TopicStatus] | Exception = []

    async def nothing_waits() -> bool:
        nonlocal seen
        try:
            seen = await log.status([CHAT_REQUESTS, CHAT_EVENTS])
        except (BusUnavailableError, *UNAVAILABLE) as error:
            seen = error
            return False
        # A group that has not committed anything is not listed: both must be there.
        return len(seen) == 2 and all(topic.lag and not any(topic.lag.values()) for topic in seen)

    try:
        await eventually(nothing_waits, timeout=QUIET_SECONDS, interval=0.1)
    except AssertionError as error:
        raise AssertionError(f"work is left over: {seen}") from error
