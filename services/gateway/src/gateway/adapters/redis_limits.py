"""Limits of keys in Redis or Valkey: one atomic script reserves, another settles.

Requests and tokens per minute are token buckets (one each, filling evenly over the minute), answers in flight a
set of request ids that end by themselves, so that a gateway that dies frees its slots.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

from redis.exceptions import NoScriptError, ResponseError

from common.storage.redis import UNAVAILABLE
from common.storage.resp import Resp
from gateway.adapters.availability import needing
from gateway.ports import SLOT_RETRY_MS, Admission, Bucket, Caller, SlotState

PREFIX = "sonant:limit:"
# The engine's clock counts, so that gateways need not agree on the time.
_CLOCK = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local function level_of(key, capacity)
  local kept = redis.call('HMGET', key, 'level', 'at')
  if not kept[1] then return capacity end
  return math.min(capacity, kept[1] + math.max(0, now - kept[2]) * capacity / 60000)
end
local function keep(key, level, capacity)
  redis.call('HSET', key, 'level', level, 'at', now)
  -- A debt is kept until it is paid.
  redis.call('PEXPIRE', key, math.ceil(math.max(180000, (capacity - level) * 60000 / capacity + 60000)))
end
"""
# KEYS: requests, tokens, streams. ARGV: their limits (0: none), tokens asked for, request id, time to live in ms,
# the wait to name when no slot is free, requests to take (0: one was taken, to be given back where it is refused),
# tokens to take at most: what goes beyond those asked for is at most a quarter of what there is.
# Returns milliseconds to wait for each of the three (0: admitted, all consumed), then remaining and ms until full
# for requests and for tokens, and the tokens taken.
_ADMIT = (
    _CLOCK
    + """
local capacity, cost = {tonumber(ARGV[1]), tonumber(ARGV[2])}, {tonumber(ARGV[8]), tonumber(ARGV[4])}
local level, wait = {0, 0}, {0, 0, 0}
local streams, ttl = tonumber(ARGV[3]), tonumber(ARGV[6])
for i = 1, 2 do
  if capacity[i] > 0 then
    level[i] = level_of(KEYS[i], capacity[i])
    if level[i] < cost[i] then wait[i] = math.ceil((cost[i] - level[i]) * 60000 / capacity[i]) end
  end
end
if streams > 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
  if redis.call('ZCARD', KEYS[3]) >= streams then wait[3] = tonumber(ARGV[7]) end
end
if wait[1] + wait[2] + wait[3] == 0 then
  cost[2] = math.max(cost[2], math.min(tonumber(ARGV[9]), math.floor(level[2] / 4)))
  for i = 1, 2 do
    if capacity[i] > 0 then
      level[i] = level[i] - cost[i]
      keep(KEYS[i], level[i], capacity[i])
    end
  end
  if streams > 0 then
    redis.call('ZADD', KEYS[3], now + ttl, ARGV[5])
    if redis.call('PTTL', KEYS[3]) < ttl then redis.call('PEXPIRE', KEYS[3], ttl) end
  end
elseif cost[1] == 0 and capacity[1] > 0 then
  level[1] = math.min(capacity[1], level[1] + 1)
  keep(KEYS[1], level[1], capacity[1])
end
local answer = {wait[1], wait[2], wait[3]}
for i = 1, 2 do
  answer[#answer + 1] = math.max(0, math.floor(level[i]))
  answer[#answer + 1] = capacity[i] > 0 and math.ceil((capacity[i] - level[i]) * 60000 / capacity[i]) or 0
end
answer[#answer + 1] = cost[2]
return answer
"""
)
# KEYS: requests. ARGV: their limit. Returns milliseconds to wait (0: one is taken), what remains, and ms until full.
_COUNT = (
    _CLOCK
    + """
local capacity, wait = tonumber(ARGV[1]), 0
local level = level_of(KEYS[1], capacity)
if level < 1 then
  wait = math.ceil((1 - level) * 60000 / capacity)
else
  level = level - 1
  keep(KEYS[1], level, capacity)
end
return {wait, math.floor(level), math.ceil((capacity - level) * 60000 / capacity)}
"""
)
# KEYS: tokens, streams. ARGV: limit of tokens (0: none), tokens to take in addition (negative: to give back), id.
# A debt is carried until the minutes have paid it; an hour's worth at most, whatever an upstream says that it took.
_SETTLE = (
    _CLOCK
    + """
local capacity = tonumber(ARGV[1])
if capacity > 0 then
  local level = level_of(KEYS[1], capacity) - ARGV[2]
  keep(KEYS[1], math.max(-60 * capacity, math.min(capacity, level)), capacity)
end
return redis.call('ZREM', KEYS[2], ARGV[3])
"""
)
# KEYS: streams. ARGV: their limit, request id, time to live in ms. Returns whether there was room.
# An answer that dropped holds its slot, and whoever takes it up shares that.
_RESUME = (
    _CLOCK
    + """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZSCORE', KEYS[1], ARGV[2]) then return 'held' end
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) then return 'full' end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[2])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return 'taken'
"""
)


class RedisLimits:
    """The `LimitStore` on a connection."""

    def __init__(self, connection: Resp) -> None:
        self._connection = connection

    async def count(self, caller: Caller) -> Bucket:
        return Bucket(*await self._run(_COUNT, [_key(caller, "requests")], caller.limits.requests_per_minute or 0))

    async def admit(
        self, caller: Caller, request_id: str, tokens: int, most: int, ttl: float, *, counted: bool
    ) -> Admission:
        limits = caller.limits
        capacities = (limits.requests_per_minute or 0, limits.tokens_per_minute or 0, limits.concurrent_streams or 0)
        keys = [_key(caller, name) for name in ("requests", "tokens", "streams")]
        requests = 0 if counted else 1
        lease = _milliseconds(ttl)
        answer = await self._run(_ADMIT, keys, *capacities, tokens, request_id, lease, SLOT_RETRY_MS, requests, most)
        buckets = Bucket(answer[0], answer[3], answer[4]), Bucket(answer[1], answer[5], answer[6])
        return Admission(*buckets, slot_wait=answer[2], taken=answer[7])

    async def resume(self, caller: Caller, request_id: str, ttl: float) -> SlotState:
        limit = caller.limits.concurrent_streams or 0
        room = await self._run(_RESUME, [_key(caller, "streams")], limit, request_id, _milliseconds(ttl))
        return SlotState(room.decode())

    async def settle(self, caller: Caller, request_id: str, tokens: int) -> None:
        keys = [_key(caller, name) for name in ("tokens", "streams")]
        await self._run(_SETTLE, keys, caller.limits.tokens_per_minute or 0, tokens, request_id)

    async def _run(self, script: str, keys: Sequence[str], *arguments: str | int) -> Any:
        with needing("the store of the limits", UNAVAILABLE):
            return await self._evaluate(script, keys, *arguments)

    async def _evaluate(self, script: str, keys: Sequence[str], *arguments: str | int) -> Any:
        sha = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
        try:
            return await self._connection.execute("EVALSHA", sha, len(keys), *keys, *arguments)
        except ResponseError as error:
            if not isinstance(error, NoScriptError) and not str(error).startswith("NOSCRIPT"):
                raise
        return await self._connection.execute("EVAL", script, len(keys), *keys, *arguments)


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _key(caller: Caller, name: str) -> str:
    # The braces put all keys of a caller on one node of a Redis cluster.
    return f"{PREFIX}{{{caller.org_id}/{caller.key_id}}}:{name}"
