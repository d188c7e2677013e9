"""How much the embedded log keeps: by age, by count and by bytes, and what gives way when there is no more room.

Finished records go first. Where those that are not finished fill the log, requests are refused until there is room.
What a group has not read is dropped only where nobody has been a member of that group for an hour.
"""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import structlog
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from common.bus import metrics
from common.events.spec import Topic
from common.storage.redis import UNAVAILABLE

log = structlog.get_logger(__name__)

KEY_PREFIX = "sonant:log:"
# Of all processes that publish one trims at a time.
TRIM_EVERY_SECONDS = 1.0
TRIMMING_MS = 900
# A log that nobody looks after any more is not known to be full.
FULL_MS = 10_000
# A group without a member for this long holds up no trimming once the log is full.
FORSAKEN_MS = 3_600_000
# What one call of a script looks at: more would hold up the single-threaded engine. It is called again at once.
STEP_RECORDS = 500
STEP_BYTES = 4 * 1024 * 1024
# Within one pass; the next one goes on.
MAX_STEPS = 200
# Of the nodes of a stream, those that its size is told from while the store has room for all that the log may keep. To
# look at all of them holds the engine up for 60 ms where a stream has 900 MiB.
SAMPLES = 5
ALL_SAMPLES = 0
# The share of the engine's memory that the log may have: the rest is for frames, limits and caches.
LOG_SHARE = 2 / 3
# Past this share of its memory the store counts as full: answers under way need the rest.
FULL_SHARE = 0.95
LOG_BYTES = 1024 * 1024 * 1024

# KEYS: lock, full. ARGV: ms. Whether this process trims now, and whether the log is full.
ELECT = """#!lua flags=allow-oom
local elected = redis.call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[1]) and 1 or 0
return {elected, redis.call('EXISTS', KEYS[2])}
"""

# KEYS: full. ARGV: ms, or 0 where it is not full.
TELL = """#!lua flags=allow-oom
if ARGV[1] == '0' then return redis.call('DEL', KEYS[1]) end
return redis.call('SET', KEYS[1], '1', 'PX', ARGV[1])
"""

# KEYS: stream, positions, then a sign of life for each of the groups. ARGV: oldest unix ms to keep, records over,
# bytes over, most records and bytes to look at, whether forsaken groups give way, then the groups.
# Cuts from the oldest on. Returns records and bytes dropped, records of these that a group had not read, whether more
# is to be dropped.
TRIM = """#!lua flags=allow-oom
local function split(id)
  local ms, seq = string.match(id, '^(%d+)-?(%d*)$')
  return tonumber(ms), tonumber(seq) or 0
end
local function less(a, b)
  local am, as = split(a)
  local bm, bs = split(b)
  return am < bm or (am == bm and as < bs)
end
local over, spare = tonumber(ARGV[2]), tonumber(ARGV[3])
local slowest, limit
for i = 7, #ARGV do
  local at = redis.call('HGET', KEYS[2], ARGV[i])
  if at then
    if not slowest or less(at, slowest) then slowest = at end
    if ARGV[6] == '0' or redis.call('EXISTS', KEYS[i - 4]) == 1 then
      if not limit or less(at, limit) then limit = at end
    end
  end
end
local dropped, bytes, unread, more, cut, from = 0, 0, 0, 0, nil, '-'
while true do
  local entry = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', 1)[1]
  if not entry then break end
  local id = entry[1]
  local due = less(id, ARGV[1] .. '-0') or over > 0 or spare > 0
  if not due or (limit and less(limit, id)) then break end
  if dropped >= tonumber(ARGV[4]) or bytes >= tonumber(ARGV[5]) then more = 1 break end
  for _, part in ipairs(entry[2]) do bytes = bytes + #part; spare = spare - #part end
  spare = spare - 32
  over = over - 1
  dropped = dropped + 1
  if slowest and less(slowest, id) then unread = unread + 1 end
  cut, from = id, '(' .. id
end
if cut then
  local ms, seq = split(cut)
  redis.call('XTRIM', KEYS[1], 'MINID', string.format('%.0f-%.0f', ms, seq + 1))
end
return {dropped, bytes, unread, more}
"""


def stream(topic: str) -> str:
    return KEY_PREFIX + topic


def positions(topic: str) -> str:
    return f"{KEY_PREFIX}{topic}:groups"


def member_seen(topic: str, group: str) -> str:
    """A key that is there while the group has had a member within the last hour."""
    return f"{KEY_PREFIX}{topic}:seen:{group}"


@dataclass(slots=True)
class _Stream:
    """What a topic holds: bytes in the engine's memory, records, and the groups that read it."""

    topic: Topic
    bytes: int
    length: int
    groups: list[str]


class Retention:
    """Keeps the streams of the declared topics within their bounds; one process at a time does, once a second."""

    def __init__(self, redis: Redis, max_bytes: int = LOG_BYTES) -> None:
        self._redis = redis
        self._max_bytes = max_bytes
        self._topics: dict[str, Topic] = {}
        self._passed_at = float("-inf")
        self._passing: asyncio.Task[None] | None = None
        self.full = False

    def declare(self, topics: Iterable[Topic]) -> None:
        self._topics.update({topic.name: topic for topic in topics})

    async def look_at_memory(self) -> None:
        """Take less than was set where the engine has less; raises `UNAVAILABLE`."""
        given = await self._redis.config_get("maxmemory")
        memory = int(given.get("maxmemory") or 0)
        if not memory:
            log.warning("the log's store should have a maxmemory", at_least=int(self._max_bytes / LOG_SHARE))
        elif memory * LOG_SHARE < self._max_bytes:
            self._max_bytes = int(memory * LOG_SHARE)
            log.warning("the log keeps less, since its store has little memory", bytes=self._max_bytes)

    def touch(self) -> None:
        """Have a pass begin where one is due; for those that publish."""
        now = time.monotonic()
        if self._topics and now - self._passed_at >= TRIM_EVERY_SECONDS and self._passing is None:
            self._passed_at = now
            self._passing = asyncio.create_task(self._pass(), name="log-trim")

    async def close(self) -> None:
        if self._passing is not None:
            self._passing.cancel()
            await asyncio.wait([self._passing])

    async def _pass(self) -> None:
        try:
            keys = [f"{KEY_PREFIX}trimming", f"{KEY_PREFIX}full"]
            elected, full = await cast("Any", self._redis.eval(ELECT, 2, *keys, str(TRIMMING_MS)))
            self.full = bool(full)
            # Also where another process trims now: what this one said last would stand for good.
            metrics.LOG_FULL.set(self.full)
            if elected:
                await self.trim()
        except UNAVAILABLE as error:
            log.warning("the log was not trimmed", error=str(error))
        finally:
            self._passing = None

    async def trim(self) -> None:
        """Bring the topics within their bounds, the largest first; raises `UNAVAILABLE`."""
        used, limit = await self._memory()
        over = used - int(limit * FULL_SHARE) if limit else 0
        # The log is a part of what the store uses: sizes matter only where that is more than the log may keep.
        roomy = 0 < used <= self._max_bytes
        streams = await self._streams(SAMPLES if roomy else ALL_SAMPLES)
        held = sum(each.bytes for each in streams)
        if not roomy:
            over = max(over, held - self._max_bytes)
        for forsaken in (False, True):
            for each in streams:
                freed = await self._cut(each, max(0, over), forsaken=forsaken)
                over, held = over - freed, held - freed
            if over <= 0:
                break
        metrics.LOG_BYTES.set(max(0, held))
        await self._tell(full=over > 0)

    async def _streams(self, samples: int) -> list[_Stream]:
        """What there is of the topics, the largest first; asked for at once, since it is each second."""
        asked = self._redis.pipeline(transaction=False)
        topics = list(self._topics.values())
        for topic in topics:
            asked.memory_usage(stream(topic.name), samples=samples)
            asked.xlen(stream(topic.name))
            asked.hkeys(positions(topic.name))
        told = await asked.execute()
        found = [
            _Stream(topic, size, length, [group.decode() for group in groups])
            for topic, size, length, groups in zip(topics, told[::3], told[1::3], told[2::3], strict=True)
            if size
        ]
        return sorted(found, key=lambda each: -each.bytes)

    async def _memory(self) -> tuple[int, int]:
        """Bytes that the store uses, and may; 0 where it does not tell, or has no limit."""
        try:
            memory = await self._redis.info("memory")
        except ResponseError:
            return 0, 0
        return int(memory.get("used_memory") or 0), int(memory.get("maxmemory") or 0)

    async def _tell(self, *, full: bool) -> None:
        if full and not self.full:
            log.error("the log is full, or its store is: requests are refused", max_bytes=self._max_bytes)
        self.full = full
        metrics.LOG_FULL.set(full)
        await cast("Any", self._redis.eval(TELL, 1, f"{KEY_PREFIX}full", str(FULL_MS if full else 0)))

    async def _cut(self, held: _Stream, over: int, *, forsaken: bool) -> int:
        """Bytes dropped of a topic: what is too old or too many, and up to `over` bytes of what else is finished."""
        topic = held.topic
        keys = [stream(topic.name), positions(topic.name), *(member_seen(topic.name, group) for group in held.groups)]
        freed = 0
        for _ in range(MAX_STEPS):
            oldest = int((time.time() - topic.retention.total_seconds()) * 1000)
            beyond = max(0, held.length - topic.embedded_max_records)
            bounds = [oldest, 0 if forsaken else beyond, over - freed, STEP_RECORDS, STEP_BYTES, int(forsaken)]
            dropped, bytes_, unread, more = await cast(
                "Any", self._redis.eval(TRIM, len(keys), *keys, *map(str, bounds), *held.groups)
            )
            freed += bytes_
            held.length -= dropped
            metrics.LOG_TRIMMED.labels(topic.name).inc(dropped)
            if unread:
                metrics.LOG_LOST.labels(topic.name).inc(unread)
                log.error("records were dropped that a group without members had not read", topic=topic.name, n=unread)
            if not more:
                break
        return freed
