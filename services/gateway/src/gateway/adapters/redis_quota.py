"""Bytes of organisations in Redis or Valkey: a bucket each, which fills evenly over a minute."""

from common.storage.redis import UNAVAILABLE
from common.storage.resp import Resp
from gateway.adapters.availability import needing

PREFIX = "sonant:limit-bytes:"
# KEYS: bucket. ARGV: bytes per minute, least and most to grant. Returns bytes granted, and ms to wait where none were.
# A request larger than the bucket passes where the bucket is full, and leaves a debt.
_GRANT = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local capacity, least, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local kept = redis.call('HMGET', KEYS[1], 'level', 'at')
local level = capacity
if kept[1] then level = math.min(capacity, kept[1] + math.max(0, now - kept[2]) * capacity / 60000) end
local needed = math.min(least, capacity)
if level < needed then return {0, math.ceil((needed - level) * 60000 / capacity)} end
local granted = math.max(least, math.min(most, math.floor(level)))
redis.call('HSET', KEYS[1], 'level', level - granted, 'at', now)
redis.call('PEXPIRE', KEYS[1], 180000)
return {granted, 0}
"""


class RedisQuota:
    """The `QuotaStore` on a connection."""

    def __init__(self, connection: Resp) -> None:
        self._connection = connection

    async def grant(self, org_id: str, capacity: int, least: int, most: int) -> tuple[int, int]:
        with needing("the store of the limits", UNAVAILABLE):
            key = f"{PREFIX}{{{org_id}}}"
            granted, wait = await self._connection.execute("EVAL", _GRANT, 1, key, capacity, least, most)
        return granted, wait
