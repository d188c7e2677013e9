"""Which services take requests in: each says so every second, and the gateway refuses at once what nobody would take.

One hash of the live store holds a field per instance. Its value changes with every beat, so whoever reads it judges by
its own looks whether an instance has gone silent: no clocks are compared, and a reader that was held up itself blames
nobody for it.
"""

import asyncio
import contextlib
import itertools
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, cast

from common.bus.port import BusUnavailableError
from common.events.spec import Topic
from common.storage.redis import UNAVAILABLE, Redis

KEY = "sonant:presence"
BEAT_SECONDS = 1.0
# The hash goes when the last service has gone.
KEY_MS = 60_000
# Looks in a row without a new beat after which an instance counts as gone: past any restart, whose requests wait on
# the log, and long before a caller would stop waiting for one that never comes back.
SILENT_LOOKS = 15
# After these its field is removed; one that comes back writes it anew.
FORGOTTEN_LOOKS = 900

Complaints = Callable[[], dict[str, str]]


class NotServedError(BusUnavailableError):
    """The service that takes such requests is halted or gone; it was not published."""


async def announce(
    redis: Redis, name: str, topics: Collection[str], serving: Callable[[], bool], complaints: Complaints
) -> None:
    """Say every second, for good, that `name` (`service/instance`) takes in `topics`, and what it complains of."""
    for beat in itertools.count():
        said = {"beat": beat, "topics": sorted(topics), "serving": serving(), "complaints": complaints()}
        # Some complaint may hold bytes that were no text.
        value = json.dumps(said).encode()
        with contextlib.suppress(*UNAVAILABLE):
            async with redis.pipeline(transaction=False) as pipeline:
                pipeline.hset(KEY, name, cast("Any", value))
                pipeline.pexpire(KEY, KEY_MS)
                await pipeline.execute()
        await asyncio.sleep(BEAT_SECONDS)


async def take_leave(redis: Redis, name: str) -> None:
    """Forget a service that ends in good order; as long as others have not read it, its requests wait on the log."""
    with contextlib.suppress(*UNAVAILABLE):
        await cast("Any", redis.hdel(KEY, name))


@dataclass(slots=True)
class _Seen:
    value: bytes
    topics: frozenset[str]
    trouble: str | None
    complaints: dict[str, str]
    silent: int = 0


class Presence:
    """What the services say, as of the last look."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._seen: dict[str, _Seen] = {}
        self._unserved: dict[str, str] = {}

    async def run(self) -> None:
        """Look every second, for good; while the live store is away nobody is blamed."""
        while True:
            with contextlib.suppress(*UNAVAILABLE):
                await self.look()
            await asyncio.sleep(BEAT_SECONDS)

    async def look(self) -> None:
        """Read what the services say now."""
        found = await cast("Any", self._redis.hgetall(KEY))
        for field, value in found.items():
            self._note(field.decode(errors="replace"), value)
        for name in [name for name in self._seen if name.encode() not in found]:
            # It took its leave: a successor, or its own next start, takes what waits on the log.
            del self._seen[name]
        for name in [name for name, seen in self._seen.items() if seen.silent > FORGOTTEN_LOOKS]:
            await take_leave(self._redis, name)
        self._unserved = _unserved(self._seen.values())

    def _note(self, name: str, value: bytes) -> None:
        seen = self._seen.get(name)
        if seen is not None and seen.value == value:
            seen.silent += 1
            return
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
            said = json.loads(value)
            complaints = dict(said["complaints"])
            trouble = None if said["serving"] else "; ".join(complaints.values()) or "takes nothing in"
            self._seen[name] = _Seen(value, frozenset(said["topics"]), trouble, complaints)

    def require(self, topic: Topic) -> None:
        """Raise NotServedError where every instance that takes this topic in is halted or silent.

        A topic that nobody was seen to take in is left to the log: the service may be about to start.
        """
        if (why := self._unserved.get(topic.name)) is not None:
            raise NotServedError(f"no service takes {topic.name} in: {why}")

    def details(self) -> dict[str, str]:
        """What is wrong, by instance; for an operator."""
        wrong = {}
        for name, seen in self._seen.items():
            if why := _wrong(seen) or "; ".join(f"{part}: {text}" for part, text in seen.complaints.items()):
                wrong[name] = why
        return wrong


def _wrong(seen: _Seen) -> str | None:
    return f"silent for {seen.silent} looks" if seen.silent >= SILENT_LOOKS else seen.trouble


def _unserved(instances: Collection[_Seen]) -> dict[str, str]:
    """Topics that every instance fails, with what one of them says."""
    topics = {topic for seen in instances for topic in seen.topics}
    failing = {topic: [_wrong(seen) for seen in instances if topic in seen.topics] for topic in topics}
    return {topic: str(reasons[0]) for topic, reasons in failing.items() if all(reasons)}
