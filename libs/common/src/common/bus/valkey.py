"""The embedded log: append-only streams on Valkey (or Redis), read like partitions of Kafka.

A topic is one stream, a group's position one hash field, so redelivery is simply reading again from behind
the committed offset. A lease per group and topic makes a second instance a standby; the instance that
restarts under its old name takes its lease back at once.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import orjson
import structlog
from redis.asyncio import Redis

from common.bus.port import (
    FETCH_BYTES,
    PUBLISH_TIMEOUT,
    BusUnavailableError,
    Revoked,
    Subscription,
    TopicStatus,
    UnconfirmedError,
    check_sizes,
)
from common.bus.record_batching import RecordBatcher
from common.bus.valkey_retention import FORSAKEN_MS, KEY_PREFIX, LOG_BYTES, Retention, member_seen, positions, stream
from common.events.record import Partition, Received, Record, raw, text
from common.events.spec import Topic
from common.storage.redis import NO_EVICTION, UNAVAILABLE, eviction_policy
from common.storage.resp import LARGE_BYTES, Command, NotConnectedError, Resp, all_of

log = structlog.get_logger(__name__)

# Of an entry: key, value, and headers as a JSON object of texts.
FIELDS = (b"k", b"v", b"h")
# What somebody else's entry holds beside them, as it is kept in the headers of its dead letter.
ENTRY_HEADER = "entry-"
# A standby takes over after this long without a sign of the holder.
LEASE_MS = 5_000
LEASE_RENEW_SECONDS = 1.0
# Of each topic in one read that waits: so few that their size does not matter. More are read by a script that counts
# bytes.
BLIND_RECORDS = 2
# Counting further would hold up the single-threaded engine; an operator learns enough from "10000 or more".
COUNT_CAP = 10_000

# KEYS: lease, positions, sign of life of the group. ARGV: instance, lease ms, group, ms of the sign.
# Returns the committed offset, or nil while another instance holds the lease. It works in a store that is full, as do
# commits: what is finished can be dropped then.
ACQUIRE = """#!lua flags=allow-oom
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return nil end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[3], '1', 'PX', ARGV[4])
redis.call('HSETNX', KEYS[2], ARGV[3], '0-0')
return redis.call('HGET', KEYS[2], ARGV[3])
"""

# KEYS: lease, positions. ARGV: instance, group, offset. A commit by a former holder changes nothing.
COMMIT = """#!lua flags=allow-oom
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('HSET', KEYS[2], ARGV[2], ARGV[3]) end
return -1
"""

# KEYS: lease. ARGV: instance.
RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""

# KEYS: stream. ARGV: offset, most records to count, most bytes to look at. How many records lie behind an offset; where
# they are too large to be counted, what their share of the time from the first to the last record suggests.
COUNT_BEHIND = """
local function moment(id) return tonumber(string.match(id, '^%d+')) end
local counted, room, from = 0, tonumber(ARGV[3]), ARGV[1]
while counted < tonumber(ARGV[2]) do
  local entry = redis.call('XRANGE', KEYS[1], '(' .. from, '+', 'COUNT', 1)[1]
  if not entry then return counted end
  counted, from = counted + 1, entry[1]
  for _, part in ipairs(entry[2]) do room = room - #part end
  if room < 0 then break end
end
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local all = math.max(1, moment(last[1]) - moment(first[1]))
local behind = math.min(all, moment(last[1]) - moment(ARGV[1]))
return math.max(counted, math.floor(redis.call('XLEN', KEYS[1]) * behind / all))
"""

# KEYS: streams. ARGV: most records, most bytes, then behind which offset of each. As XREAD without BLOCK, but no more
# bytes than that, unless a single record is larger.
READ = """
local left, room, found = tonumber(ARGV[1]), tonumber(ARGV[2]), {}
for i, key in ipairs(KEYS) do
  local entries, from, share = {}, ARGV[2 + i], math.ceil(left / (#KEYS - i + 1))
  while #entries < share and (room > 0 or #found + #entries == 0) do
    local entry = redis.call('XRANGE', key, '(' .. from, '+', 'COUNT', 1)[1]
    if not entry then break end
    for _, part in ipairs(entry[2]) do room = room - #part end
    if room < 0 and #found + #entries > 0 then break end
    entries[#entries + 1], from = entry, entry[1]
  end
  left = left - #entries
  if #entries > 0 then found[#found + 1] = {key, entries} end
end
return found
"""


def _lease(topic: str, group: str) -> str:
    return f"{KEY_PREFIX}{topic}:lease:{group}"


def _received(topic: str, entry_id: bytes, fields: Sequence[bytes]) -> Received:
    """An entry as the port knows it, whatever fields it has."""
    try:
        # As they were appended; anything else is sorted out one by one.
        k, key, v, value, h, headers = fields
        fault = None
        text_key, texts = key.decode(), orjson.loads(headers)
        if (k, v, h) != FIELDS:
            raise ValueError
        _only_texts(texts)
    except (ValueError, TypeError, AttributeError):
        text_key, value, texts, fault = _sorted_out(dict(zip(fields[::2], fields[1::2], strict=True)))
    offset = entry_id.decode()
    return Received(
        topic=topic,
        key=text_key,
        value=value,
        headers=texts,
        partition=Partition(topic, 0),
        offset=offset,
        timestamp=int(offset.partition("-")[0]) / 1000,
        fault=fault,
    )


def _only_texts(headers: dict[str, str]) -> None:
    """Raise TypeError or AttributeError unless every header is a text; joining them is the fastest way to know."""
    "".join(headers.values())


def _sorted_out(fields: dict[bytes, bytes]) -> tuple[str, bytes, dict[str, str], str | None]:
    """Key, value, headers and fault of an entry that looks otherwise; no byte of it gets lost."""
    missing = [name.decode() for name in FIELDS if name not in fields]
    key, value, written = (fields.pop(name, b"") for name in FIELDS)
    faults = [f"the field {name} is missing" for name in missing]
    headers = _read_headers(written)
    if headers is None:
        headers = {f"{ENTRY_HEADER}h": text(written)} if written else {}
        faults += ["its headers are no JSON object of texts"] if written else []
    elif not all(map(_is_utf_8, (text(key), *headers, *headers.values()))):
        faults.append("its key or a header is not UTF-8")
    # Fields that we do not know are no fault, as unknown headers are none, but a dead letter keeps them.
    headers |= {f"{ENTRY_HEADER}{text(name)}": text(content) for name, content in fields.items()}
    return text(key), value, headers, "; ".join(faults) or None


def _read_headers(written: bytes) -> dict[str, str] | None:
    """Headers as `_written` writes them, None where they are anything else."""
    try:
        headers: dict[str, str] = json.loads(written)
        _only_texts(headers)
        for part in (*headers, *headers.values()):
            raw(part)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    return headers


def _is_utf_8(read: str) -> bool:
    return read.encode(errors="replace") == raw(read)


def _written(headers: Mapping[str, str]) -> bytes:
    """Headers as JSON; bytes that are no UTF-8 (of a record that is parked) as escaped lone surrogates."""
    try:
        return orjson.dumps(dict(headers))
    except TypeError:
        return json.dumps(dict(headers)).encode()


class ValkeyLog:
    """The port `common.bus.port.Log` on Valkey streams.

    Appending and reading go over lean connections of their own; the rest over the shared pool.
    """

    def __init__(self, url: str, redis: Redis, *, max_bytes: int = LOG_BYTES) -> None:
        self._url = url
        self._redis = redis
        self._appending = Resp(url, timeout=PUBLISH_TIMEOUT)
        self._appends = RecordBatcher(self._append, name="log-append")
        self._retention = Retention(redis, max_bytes)

    async def publish(self, *records: Record) -> None:
        check_sizes(records)
        if self._retention.full and any("deadline" in record.headers for record in records):
            # Facts still find room: refusing them would keep what is finished from being finished.
            raise BusUnavailableError("the log is full")
        writes = [self._appends.put(record) for record in records]
        try:
            await all_of(writes)
        except NotConnectedError as error:
            raise BusUnavailableError(f"the log does not answer: {error}") from error
        except UNAVAILABLE as error:
            raise UnconfirmedError(f"the log did not acknowledge: {error}") from error

    async def _append(self, batch: Sequence[Record]) -> None:
        commands: list[Command] = [
            (
                "XADD",
                stream(record.topic),
                "*",
                "k",
                raw(record.key),
                "v",
                record.value,
                "h",
                _written(record.headers),
            )
            for record in batch
        ]
        self._retention.touch()
        await self._appending.pipeline(commands, apart=max(len(record.value) for record in batch) >= LARGE_BYTES)

    async def trim(self, topic: Topic) -> None:
        """Drop what is past the topic's retention and finished by every group; publishing does so by itself."""
        self._retention.declare([topic])
        await self._retention.trim()

    async def close(self) -> None:
        """Finish the appends in hand, then hang up."""
        await self._appends.close()
        await self._retention.close()
        self._appending.close()

    @asynccontextmanager
    async def subscribe(
        self, topics: Sequence[Topic], group: str, instance: str, revoked: Revoked
    ) -> AsyncIterator[Subscription]:
        """Join the group; `revoked` is never called, since a lease is only lost by not being renewed."""
        del revoked
        subscription = _ValkeySubscription(self._redis, self._url, [topic.name for topic in topics], group, instance)
        try:
            yield subscription
        finally:
            await subscription.release()

    async def ensure(self, topics: Sequence[Topic]) -> None:
        """Streams come into being with their first record; only the retention is taken note of.

        A store that may evict what it accepted counts as one that is away, until its setting is changed.
        """
        self._retention.declare(topics)
        try:
            policy = await eviction_policy(self._redis)
            if policy is not None:
                await self._retention.look_at_memory()
        except UNAVAILABLE as error:
            raise BusUnavailableError(f"the log does not answer: {error}") from error
        if policy is None:
            log.warning("the log's store does not tell its maxmemory-policy: it has to be noeviction")
        elif policy != NO_EVICTION:
            raise BusUnavailableError(f"the log's store may drop records: maxmemory-policy {policy}, not {NO_EVICTION}")

    async def ping(self) -> None:
        """A real write: a store that is full, or cannot write to its disk, answers everything else."""
        try:
            await self._redis.set(f"{KEY_PREFIX}probe", "1", px=LEASE_MS)
        except UNAVAILABLE as error:
            raise BusUnavailableError(f"the log takes no writes: {error}") from error
        self._retention.touch()
        if self._retention.full:
            raise BusUnavailableError("the log is full")

    async def status(self, topics: Sequence[Topic]) -> Sequence[TopicStatus]:
        return [await self._status(topic) for topic in topics if await self._redis.exists(stream(topic.name))]

    async def _status(self, topic: Topic) -> TopicStatus:
        key = stream(topic.name)
        groups = await cast("Any", self._redis.hgetall(positions(topic.name)))
        lag = {
            group.decode(): int(
                await cast("Any", self._redis.eval(COUNT_BEHIND, 1, key, offset, COUNT_CAP, FETCH_BYTES))
            )
            for group, offset in groups.items()
        }
        return TopicStatus(name=topic.name, partitions=1, length=await self._redis.xlen(key), lag=lag)

    async def read(self, topic: Topic, *, limit: int, after: Mapping[int, str] | None = None) -> Sequence[Received]:
        start = f"({after[0]}" if after and 0 in after else "-"
        entries = await cast("Any", self._redis.xrange(stream(topic.name), min=start, count=limit))
        return [
            _received(topic.name, entry_id, [part for field in fields.items() for part in field])
            for entry_id, fields in entries
        ]


class _ValkeySubscription:
    """One holder (or standby) of a group's lease on its topics."""

    def __init__(self, redis: Redis, url: str, topics: Sequence[str], group: str, instance: str) -> None:
        self._redis = redis
        self._reading = Resp(url)
        self._topics = topics
        self._group = group
        self._instance = instance
        self._read_up_to: dict[str, str] = {}
        # Whether the last read left some, as far as can be told.
        self._many = True
        self._renewed_at = float("-inf")

    async def poll(self, max_records: int, timeout: float) -> Sequence[Received]:
        try:
            await self._renew()
            if not self._read_up_to or max_records == 0:
                await asyncio.sleep(timeout)
                return []
            found = await self._read(max_records, timeout)
            if time.monotonic() - self._renewed_at > LEASE_MS / 1000:
                # This process stood still, or the engine did: another may hold the lease by now.
                await self._renew()
        except UNAVAILABLE as error:
            self._renewed_at = float("-inf")
            raise BusUnavailableError(f"the log cannot be read: {error}") from error
        return self._take(found or [])

    async def _read(self, max_records: int, timeout: float) -> Any:
        """Of many that wait, as many as `FETCH_BYTES` hold; how large a record is only a script can tell."""
        streams, behind = [stream(topic) for topic in self._read_up_to], self._read_up_to.values()
        if self._many:
            found = await self._reading.execute("EVAL", READ, len(streams), *streams, max_records, FETCH_BYTES, *behind)
            self._many = sum(len(entries) for _, entries in found) > BLIND_RECORDS
            if found:
                return found
        share = max(1, min(BLIND_RECORDS, max_records // len(streams)))
        wait = max(1, int(timeout * 1000))
        found = await self._reading.execute("XREAD", "COUNT", share, "BLOCK", wait, "STREAMS", *streams, *behind)
        self._many = any(len(entries) == share for _, entries in found or ())
        return found

    def _take(self, found: Sequence[Any]) -> list[Received]:
        records = []
        for key, entries in found:
            topic = key.decode().removeprefix(KEY_PREFIX)
            if topic not in self._read_up_to:
                continue
            records += [_received(topic, entry_id, fields) for entry_id, fields in entries]
            self._read_up_to[topic] = records[-1].offset
        return records

    async def _renew(self) -> None:
        """Hold on to the leases; those newly won start reading behind their committed offset."""
        if time.monotonic() - self._renewed_at < LEASE_RENEW_SECONDS:
            return
        for topic in self._topics:
            keys = [_lease(topic, self._group), positions(topic), member_seen(topic, self._group)]
            arguments = [self._instance, str(LEASE_MS), self._group, str(FORSAKEN_MS)]
            committed = await cast("Any", self._redis.eval(ACQUIRE, 3, *keys, *arguments))
            if committed is None:
                self._read_up_to.pop(topic, None)
            else:
                self._read_up_to.setdefault(topic, committed.decode())
        self._renewed_at = time.monotonic()

    async def commit(self, offsets: Mapping[Partition, str]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for partition, offset in offsets.items():
            keys = [_lease(partition.topic, self._group), positions(partition.topic)]
            pipeline.eval(COMMIT, 2, *keys, self._instance, self._group, offset)
        try:
            await pipeline.execute()
        except UNAVAILABLE as error:
            raise BusUnavailableError(f"the log did not take the commit: {error}") from error

    async def lag(self) -> int | None:
        try:
            counts = [
                int(await cast("Any", self._redis.eval(COUNT_BEHIND, 1, stream(topic), offset, COUNT_CAP, FETCH_BYTES)))
                for topic, offset in self._read_up_to.items()
            ]
        except UNAVAILABLE:
            return None
        return sum(counts)

    async def release(self) -> None:
        """Give the leases back, so that a standby need not wait; an engine that is away forgets them by itself."""
        self._reading.close()
        try:
            for topic in self._topics:
                await cast("Any", self._redis.eval(RELEASE, 1, _lease(topic, self._group), self._instance))
        except UNAVAILABLE:
            return
