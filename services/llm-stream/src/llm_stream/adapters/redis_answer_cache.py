"""Answers kept for exact repeats in Redis or Valkey, bounded in all and for each organisation."""

from typing import Any

from common.storage.redis import UNAVAILABLE
from common.storage.resp import Resp
from llm_stream.ports import CacheUnavailable

# The braces put all of it on one node of a Redis cluster: one script keeps the bounds.
PREFIX = "sonant:{answers}:"
# One organisation may have so much of the whole.
SHARE = 4
# A put makes room for itself by dropping what ends soonest, 1,000 at most.
# KEYS: all that is kept by the time of its end, the same of the organisation, sizes and organisations by key, bytes by
# organisation, the entry. ARGV: prefix, organisation, key, value, seconds, most bytes in all, most of an organisation.
# Returns whether it is kept.
_DROP_FUNCTION = """
local function drop(key)
  local known = redis.call('HGET', KEYS[3], key)
  redis.call('ZREM', KEYS[1], key)
  if not known then return end
  local bytes, org = string.match(known, '^(%d+) (.*)$')
  redis.call('HDEL', KEYS[3], key)
  redis.call('ZREM', ARGV[1] .. 'of:' .. org, key)
  redis.call('DEL', ARGV[1] .. 'entry:' .. key)
  redis.call('HINCRBY', KEYS[4], '', -bytes)
  if redis.call('HINCRBY', KEYS[4], 'org:' .. org, -bytes) <= 0 then redis.call('HDEL', KEYS[4], 'org:' .. org) end
end
"""
_PUT = (
    _DROP_FUNCTION
    + """
local t = redis.call('TIME')
local now, size = t[1] + t[2] / 1000000, #ARGV[4]
for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1000)) do drop(key) end
drop(ARGV[3])
if size > tonumber(ARGV[7]) then return 0 end
local function make_room(index, field, most)
  for _ = 1, 1000 do
    if tonumber(redis.call('HGET', KEYS[4], field) or '0') + size <= most then return true end
    local first = redis.call('ZRANGE', index, 0, 0)[1]
    if not first then return true end
    drop(first)
  end
  return false
end
if not make_room(KEYS[2], 'org:' .. ARGV[2], tonumber(ARGV[7])) then return 0 end
if not make_room(KEYS[1], '', tonumber(ARGV[6])) then return 0 end
redis.call('SET', KEYS[5], ARGV[4], 'PX', math.ceil(ARGV[5] * 1000))
redis.call('ZADD', KEYS[1], now + ARGV[5], ARGV[3])
redis.call('ZADD', KEYS[2], now + ARGV[5], ARGV[3])
redis.call('HSET', KEYS[3], ARGV[3], size .. ' ' .. ARGV[2])
redis.call('HINCRBY', KEYS[4], '', size)
redis.call('HINCRBY', KEYS[4], 'org:' .. ARGV[2], size)
for _, key in ipairs({KEYS[1], KEYS[2], KEYS[3], KEYS[4]}) do
  if redis.call('TTL', key) < 700000 then redis.call('EXPIRE', key, 1400000) end
end
return 1
"""
)
# KEYS: as above, up to the bytes, without those of an organisation. ARGV: prefix, nothing, key.
_DROP = _DROP_FUNCTION + "drop(ARGV[3])"
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"


class RedisAnswerCache:
    """The port `AnswerStore` on a connection of its own: a large answer holds up no frame. `max_bytes` are of all."""

    def __init__(self, connection: Resp, max_bytes: int) -> None:
        self._connection = connection
        self._max_bytes = max_bytes

    async def get(self, key: str) -> bytes | None:
        found: bytes | None = await self._run("GET", f"{PREFIX}entry:{key}")
        return found

    async def put(self, org_id: str, key: str, value: bytes, seconds: float) -> None:
        keys = [f"{PREFIX}{name}" for name in ("all", f"of:{org_id}", "known", "bytes", f"entry:{key}")]
        bounds = (self._max_bytes, self._max_bytes // SHARE)
        await self._run("EVAL", _PUT, len(keys), *keys, PREFIX, org_id, key, value, seconds, *bounds)

    async def drop(self, key: str) -> None:
        keys = [f"{PREFIX}{name}" for name in ("all", "none", "known", "bytes")]
        await self._run("EVAL", _DROP, len(keys), *keys, PREFIX, "", key)

    async def take(self, key: str, owner: str, seconds: float) -> bool:
        milliseconds = max(1, round(seconds * 1000))
        return await self._run("SET", f"{PREFIX}flight:{key}", owner, "NX", "PX", milliseconds) is not None

    async def release(self, key: str, owner: str) -> None:
        await self._run("EVAL", _RELEASE, 1, f"{PREFIX}flight:{key}", owner)

    async def _run(self, *command: str | bytes | int | float) -> Any:
        try:
            return await self._connection.execute(*command)
        except UNAVAILABLE as error:
            raise CacheUnavailable(str(error)) from error
