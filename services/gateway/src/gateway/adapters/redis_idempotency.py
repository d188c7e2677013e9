"""Idempotency keys in Redis or Valkey."""

from typing import Any, cast

from redis.asyncio import Redis

from common.storage import derived_keys
from common.storage.redis import UNAVAILABLE
from gateway.adapters.availability import needing

STORE = "the store of idempotency keys"
PREFIX = derived_keys.IDEMPOTENT_ANSWERS
KEPT_PREFIX = derived_keys.IDEMPOTENT_KEPT
# Both act only for the owner: after a lapsed lease the key may be another's. An answer of megabytes takes milliseconds
# to be handed to a script, and the engine does nothing else meanwhile: it is put beside its key first, and not read
# where its length tells enough.
# KEYS: the key, and where the answer lies. ARGV: the mark, and seconds to keep it.
_STORE = """
local length = redis.call('STRLEN', KEYS[1])
if length == 0 or (length == #ARGV[1] and redis.call('GET', KEYS[1]) == ARGV[1]) then
  redis.call('RENAME', KEYS[2], KEYS[1])
  redis.call('EXPIRE', KEYS[1], ARGV[2])
else
  redis.call('DEL', KEYS[2])
end
"""
_RELEASE = """
if redis.call('STRLEN', KEYS[1]) == #ARGV[1] and redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
"""
# How long an answer lies beside its key where the gateway dies just then.
BESIDE_SECONDS = 60
# KEYS: what is kept for one API key, as a sorted set of `size:name` by the time of its end. ARGV: name, size, seconds,
# most answers, most bytes. Returns the names of those that give way, the oldest first.
_LIST = """
local t = redis.call('TIME')
local now = t[1] + t[2] / 1000000
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[2] .. ':' .. ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[3])
local kept, count, bytes, gone = redis.call('ZRANGE', KEYS[1], 0, -1), 0, 0, {}
for i = #kept, 1, -1 do
  local size, name = string.match(kept[i], '^(%d+):(.*)$')
  count, bytes = count + 1, bytes + tonumber(size)
  if count > 1 and (count > tonumber(ARGV[4]) or bytes > tonumber(ARGV[5])) then
    gone[#gone + 1] = name
    redis.call('ZREM', KEYS[1], kept[i])
  end
end
return gone
"""


class RedisIdempotency:
    """The `IdempotencyStore` on a client. Of one API key at most `answers` of `max_bytes` together are kept."""

    def __init__(self, redis: Redis, *, answers: int = 1000, max_bytes: int = 16 * 1024 * 1024) -> None:
        self._redis = redis
        self._answers = answers
        self._max_bytes = max_bytes

    async def take(self, name: str, mark: bytes, lease: float) -> bytes | None:
        milliseconds = max(1, round(lease * 1000))
        with needing(STORE, UNAVAILABLE):
            # SET with NX and GET answers with what is there, or nothing where the key is now ours.
            found = await self._redis.set(PREFIX + name, mark, nx=True, get=True, px=milliseconds)
        return cast("bytes | None", found)

    async def keep(self, name: str, owner: str, mark: bytes, record: bytes, seconds: int) -> int:
        bounds = map(str, (len(record), seconds, self._answers, self._max_bytes))
        with needing(STORE, UNAVAILABLE):
            listed = f"{KEPT_PREFIX}{{{owner}}}"
            gone = await cast("Any", self._redis.eval(_LIST, 1, listed, name, *bounds))
            key = PREFIX + name
            # In one slot of a cluster: the braces hold what counts for that.
            beside = f"{{{key}}}:beside"
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.set(beside, record, ex=BESIDE_SECONDS)
                pipeline.eval(_STORE, 2, key, beside, mark, seconds)
                await pipeline.execute()
            for old in gone:
                # One by one: on a cluster they lie on different nodes.
                await self._redis.delete(PREFIX + old.decode())
        return len(gone)

    async def release(self, name: str, mark: bytes) -> None:
        with needing(STORE, UNAVAILABLE):
            await self._redis.eval(_RELEASE, 1, PREFIX + name, mark)
