"""Limits of a key, held across gateway instances: one atomic script reserves, another settles.

Requests and tokens per minute are token buckets (one each, filling evenly over the minute), answers in flight a
set of request ids that end by themselves, so that a gateway that dies frees its slots.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from redis.exceptions import NoScriptError, ResponseError

from common.storage.redis import UNAVAILABLE
from common.storage.resp import Resp
from gateway.http import errors
from gateway.http.errors import ApiError
from gateway.metrics import LIMITS_REFUSED, LIMITS_UNAVAILABLE
from gateway.ports import Caller

log = structlog.get_logger(__name__)

MINUTE_MS = 60_000
# When a slot becomes free cannot be foreseen.
SLOT_RETRY_MS = 1_000
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
local function keep(key, level)
  redis.call('HSET', key, 'level', level, 'at', now)
  redis.call('PEXPIRE', key, 180000)
end
"""
# KEYS: requests, tokens, streams. ARGV: their limits (0: none), tokens asked for, request id, time to live in ms,
# the wait to name when no slot is free.
# Returns milliseconds to wait for each of the three (0: admitted, all consumed), then remaining and ms until full
# for requests and for tokens.
_ADMIT = (
    _CLOCK
    + """
local capacity, cost, level, wait = {tonumber(ARGV[1]), tonumber(ARGV[2])}, {1, tonumber(ARGV[4])}, {0, 0}, {0, 0, 0}
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
  for i = 1, 2 do
    if capacity[i] > 0 then
      level[i] = level[i] - cost[i]
      keep(KEYS[i], level[i])
    end
  end
  if streams > 0 then
    redis.call('ZADD', KEYS[3], now + ttl, ARGV[5])
    if redis.call('PTTL', KEYS[3]) < ttl then redis.call('PEXPIRE', KEYS[3], ttl) end
  end
end
local answer = {wait[1], wait[2], wait[3]}
for i = 1, 2 do
  answer[#answer + 1] = math.max(0, math.floor(level[i]))
  answer[#answer + 1] = capacity[i] > 0 and math.ceil((capacity[i] - level[i]) * 60000 / capacity[i]) or 0
end
return answer
"""
)
# KEYS: tokens, streams. ARGV: limit of tokens (0: none), tokens to take in addition (negative: to give back), id.
# A debt is at most the bucket once over: the longest answer holds its key up for two minutes at worst.
_SETTLE = (
    _CLOCK
    + """
local capacity = tonumber(ARGV[1])
if capacity > 0 then
  local level = level_of(KEYS[1], capacity) - ARGV[2]
  keep(KEYS[1], math.max(-capacity, math.min(capacity, level)))
end
return redis.call('ZREM', KEYS[2], ARGV[3])
"""
)


@dataclass(frozen=True, slots=True)
class _Bucket:
    """One of the two buckets after a decision; times in ms."""

    name: str
    limit: int | None
    wait: int
    remaining: int
    reset: int

    def headers(self) -> dict[str, str]:
        if self.limit is None:
            return {}
        return {
            f"x-ratelimit-limit-{self.name}": str(self.limit),
            f"x-ratelimit-remaining-{self.name}": str(self.remaining),
            f"x-ratelimit-reset-{self.name}": duration(self.reset),
        }


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


class Limits:
    """Admits requests of limited keys and settles them. A key without limits costs nothing."""

    def __init__(self, connection: Resp) -> None:
        self._connection = connection

    async def admit(self, caller: Caller, request_id: str, tokens: int, ttl: float) -> dict[str, str]:
        """Reserve one request, `tokens` and a slot for at most `ttl` seconds; returns the `x-ratelimit-*` headers.

        Raises ApiError and reserves nothing: 429 when a limit is reached, 400 when `tokens` can never fit, 503
        while the store does not answer.
        """
        limits = caller.limits
        if not limits.any:
            return {}
        if limits.tokens_per_minute is not None and tokens > limits.tokens_per_minute:
            raise _too_many_tokens(tokens, limits.tokens_per_minute)
        capacities = (limits.requests_per_minute or 0, limits.tokens_per_minute or 0, limits.concurrent_streams or 0)
        keys = [_key(caller, name) for name in ("requests", "tokens", "streams")]
        answer = await self._decide(
            _ADMIT, keys, *capacities, tokens, request_id, max(1, round(ttl * 1000)), SLOT_RETRY_MS
        )
        requests = _Bucket("requests", limits.requests_per_minute, answer[0], answer[3], answer[4])
        spent = _Bucket("tokens", limits.tokens_per_minute, answer[1], answer[5], answer[6])
        headers = requests.headers() | spent.headers()
        if any(answer[:3]):
            raise _refusal(requests, spent, answer[2], limits.concurrent_streams, headers)
        return headers

    async def resume(self, caller: Caller, request_id: str, ttl: float) -> bool:
        """Whether an answer that is taken up got a slot, to be settled, for at most `ttl` seconds: it may have one yet.

        Raises ApiError: 429 when there is none free, 503 while the store does not answer.
        """
        limit = caller.limits.concurrent_streams
        if limit is None:
            return False
        # The slot of a caller who leaves while this is decided ends by itself, like that of a gateway that died.
        room = await self._decide(_RESUME, [_key(caller, "streams")], limit, request_id, max(1, round(ttl * 1000)))
        if room == b"full":
            raise _refuse("streams", _no_slot(limit), SLOT_RETRY_MS, {})
        return bool(room == b"taken")

    async def settle(self, caller: Caller, request_id: str, reserved: int, used: int) -> None:
        """Free the slot and correct the tokens from `reserved` to `used`; to be called once per admission.

        While the store is away nothing is corrected: the slot ends by itself, the bucket fills by itself.
        """
        if not caller.limits.any:
            return
        keys = [_key(caller, name) for name in ("tokens", "streams")]
        try:
            await self._run(_SETTLE, keys, caller.limits.tokens_per_minute or 0, used - reserved, request_id)
        except UNAVAILABLE as error:
            LIMITS_UNAVAILABLE.inc()
            log.warning("limits not settled", error=str(error))

    async def _decide(self, script: str, keys: Sequence[str], *arguments: str | int) -> Any:
        try:
            return await self._run(script, keys, *arguments)
        except UNAVAILABLE as error:
            LIMITS_UNAVAILABLE.inc()
            raise errors.unavailable("The limits of this API key cannot be checked right now.") from error

    async def _run(self, script: str, keys: Sequence[str], *arguments: str | int) -> Any:
        sha = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
        try:
            return await self._connection.execute("EVALSHA", sha, len(keys), *keys, *arguments)
        except ResponseError as error:
            if not isinstance(error, NoScriptError) and not str(error).startswith("NOSCRIPT"):
                raise
        return await self._connection.execute("EVAL", script, len(keys), *keys, *arguments)


def _key(caller: Caller, name: str) -> str:
    # The braces put all keys of a caller on one node of a Redis cluster.
    return f"{PREFIX}{{{caller.org_id}/{caller.key_id}}}:{name}"


def _too_many_tokens(tokens: int, limit: int) -> ApiError:
    LIMITS_REFUSED.labels("tokens").inc()
    message = (
        f"This request needs about {tokens} tokens, more than the {limit} tokens per minute of this API key: "
        "it can never be admitted. Shorten it or ask for a shorter answer."
    )
    return errors.bad_request(message, code="tokens_exceed_limit")


def _refusal(
    requests: _Bucket, tokens: _Bucket, slot_wait: int, streams: int | None, headers: dict[str, str]
) -> ApiError:
    """429 for the limit that takes longest to let the request through."""
    worst = max((requests, tokens), key=lambda bucket: bucket.wait)
    wait = max(worst.wait, slot_wait)
    if worst.wait >= slot_wait:
        name, text = worst.name, f"{worst.limit} {worst.name} per minute"
    else:
        name, text = "streams", _no_slot(streams)
    return _refuse(name, text, wait, headers)


def _no_slot(streams: int | None) -> str:
    return f"{streams} answers at the same time"


def _refuse(name: str, text: str, wait: int, headers: dict[str, str]) -> ApiError:
    LIMITS_REFUSED.labels(name).inc()
    message = f"Rate limit of this API key reached: {text}. Try again in {duration(wait)}."
    kind = "tokens" if name == "tokens" else "requests"
    return errors.rate_limited(message, type=kind, retry=wait / 1000, headers=headers)


def duration(milliseconds: int) -> str:
    """A time as OpenAI writes it in its headers: `12ms`, `1.5s`, `6m0s`."""
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, MINUTE_MS)
    seconds = f"{rest / 1000:g}s"
    return f"{minutes}m{seconds}" if minutes else seconds
