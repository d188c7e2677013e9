"""Where the time of an answer goes: between the times its fact carries, read from the log."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import uvloop

from common.bus.connect import open_log
from common.events.chat import CHAT_EVENTS, CHAT_REPLY_COMPLETED, ChatReplyCompleted
from common.events.envelope import open_event
from common.kernel.settings import CommonSettings
from common.storage.redis import open_redis
from tests.bench.load import percentile
from tests.bench.system import engine_urls

MOST_FACTS = 100_000

# Each in unix seconds; a stage lies between two that follow each other.
MOMENTS: dict[str, Callable[[ChatReplyCompleted], float]] = {
    "received": lambda fact: fact.received_at,
    "taken from the log": lambda fact: fact.started_at,
    "upstream asked": lambda fact: fact.attempts[0].started_at,
    "first token": lambda fact: fact.first_token_at or 0.0,
    "finished": lambda fact: fact.finished_at,
}


def stages_of(facts: Sequence[ChatReplyCompleted]) -> dict[str, tuple[float, float]]:
    """p50 and p99 of each stage in ms, by the name of the moment it ends with."""
    spread = {}
    for begin, end in pairwise(MOMENTS):
        took = [(MOMENTS[end](fact) - MOMENTS[begin](fact)) * 1000 for fact in facts]
        spread[end] = (percentile(took, 0.5), percentile(took, 0.99))
    return spread


def completed_since(data_dir: Path, since: float) -> list[ChatReplyCompleted]:
    """The facts of the answers received after `since` (unix seconds), as far as they are published."""
    return uvloop.run(_read(data_dir, since))


async def _read(data_dir: Path, since: float) -> list[ChatReplyCompleted]:
    urls = engine_urls(data_dir)
    settings = CommonSettings(log_url=urls["log"], redis_url=urls["redis"])
    async with open_redis(settings.redis_url) as redis, open_log(settings, redis) as log:
        records = await log.read(CHAT_EVENTS, limit=MOST_FACTS)
    ended = [record for record in records if record.headers["event-type"] == CHAT_REPLY_COMPLETED.name]
    facts = [open_event(record, CHAT_REPLY_COMPLETED).payload for record in ended]
    return [fact for fact in facts if fact.received_at >= since]
