"""Budgets of API keys in Redis or Valkey: what is spent in a day or a month, and what running answers have leased.

A lease is counted as spent from the moment it is taken, so that any number of processes together never give away more
than there is. At its end an answer settles: its lease is replaced by what it really cost. One that died leaves its
lease counted, until its request is answered anew or the period is over.
"""

import calendar
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from redis.exceptions import NoScriptError, ResponseError

from common.events.keys import KeyBudget
from common.failures import StoreUnavailableError
from common.storage.redis import UNAVAILABLE
from common.storage.resp import Resp

PREFIX = "sonant:budget:"
# Beyond the end of its period: an answer that began in it may settle late, and people look back.
KEEP_SECONDS = 7 * 86_400
# Money is counted in whole numbers, fine enough for a token of the cheapest model.
NANOS = 1_000_000_000
NO_LIMIT = -1
# KEYS: what a key has spent. ARGV: request, whether it begins anew (1: what it had leased before is given back), tokens
# and nanos to take in any case, tokens to take at most and at least, nanos a token, tokens of which less are a last
# lease (one request at a time has such), limits of tokens and of nanos (-1: none), when to forget (unix seconds).
# Returns the tokens taken beside the fixed ones, or -1 where nothing is taken; then tokens and nanos spent by now.
_LEASE = """
local function count(name) return tonumber(redis.call('HGET', KEYS[1], name) or '0') end
local arg = {}
for i = 2, #ARGV do arg[i] = tonumber(ARGV[i]) end
local tokens, nanos, leased, lent = count('tokens'), count('nanos'), 0, 0
local kept = redis.call('HGET', KEYS[1], 'lease:' .. ARGV[1])
if kept then
  local before_tokens, before_nanos = string.match(kept, '^(%d+) (%d+)$')
  if arg[2] == 1 then
    tokens, nanos = tokens - before_tokens, nanos - before_nanos
  else
    leased, lent = tonumber(before_tokens), tonumber(before_nanos)
  end
end
local left = arg[5]
if arg[9] >= 0 then left = math.min(left, arg[9] - tokens - arg[3]) end
if arg[10] >= 0 then
  local money = arg[10] - nanos - arg[4]
  if money < 0 then
    left = -1
  elseif arg[7] > 0 then
    left = math.min(left, math.floor(money / arg[7]))
  end
end
if left >= arg[6] and left < arg[8] then
  local last = redis.call('HGET', KEYS[1], 'last')
  if last and last ~= ARGV[1] and redis.call('HEXISTS', KEYS[1], 'lease:' .. last) == 1 then
    left = -1
  else
    redis.call('HSET', KEYS[1], 'last', ARGV[1])
  end
end
if left < arg[6] then return {-1, string.format('%.0f', tokens), string.format('%.0f', nanos)} end
local cost = arg[4] + math.ceil(left * arg[7])
tokens, nanos = tokens + arg[3] + left, nanos + cost
redis.call('HSET', KEYS[1], 'tokens', string.format('%.0f', tokens), 'nanos', string.format('%.0f', nanos),
  'lease:' .. ARGV[1], string.format('%.0f %.0f', leased + arg[3] + left, lent + cost))
redis.call('EXPIREAT', KEYS[1], ARGV[11])
return {left, string.format('%.0f', tokens), string.format('%.0f', nanos)}
"""
# KEYS: the same. ARGV: request, tokens and nanos that it cost. A lease is settled once.
_SETTLE = """
local kept = redis.call('HGET', KEYS[1], 'lease:' .. ARGV[1])
if not kept then return 0 end
local leased = {string.match(kept, '^(%d+) (%d+)$')}
for i, name in ipairs({'tokens', 'nanos'}) do
  local spent = tonumber(redis.call('HGET', KEYS[1], name) or '0') - leased[i] + ARGV[i + 1]
  redis.call('HSET', KEYS[1], name, string.format('%.0f', math.max(0, spent)))
end
return redis.call('HDEL', KEYS[1], 'lease:' .. ARGV[1])
"""


class Spent(NamedTuple):
    """What a key has spent in a period, running answers included."""

    tokens: int
    nanos: int

    def exhausts(self, budget: KeyBudget) -> bool:
        """Whether nothing of the budget is left."""
        tokens = budget.tokens is not None and self.tokens >= budget.tokens
        return tokens or (budget.usd is not None and self.nanos >= nanos_of(budget.usd))


class Wanted(NamedTuple):
    """What a lease is to cover: fixed tokens and nanos, and up to `most` tokens (at `per_token` nanos) beside them.

    A lease of less than `whole` is a last one: one request at a time has such.
    """

    fixed_tokens: int = 0
    fixed_nanos: int = 0
    most: int = 0
    least: int = 0
    per_token: float = 0.0
    whole: int = 0


class Period(NamedTuple):
    """A day or a month of UTC by its name, and its end (unix seconds)."""

    name: str
    end: int

    @property
    def told(self) -> str:
        """When it ends, as people read it."""
        return datetime.fromtimestamp(self.end, UTC).strftime("%Y-%m-%d %H:%M UTC")


class BudgetedTurn(NamedTuple):
    """Which request leases of which budget; it stays in the period in which it began."""

    org_id: str
    budget: KeyBudget
    period: Period
    request_id: str


def period_of(budget: KeyBudget, at: float) -> Period:
    """The period of a budget that a moment (unix seconds) is in."""
    day = datetime.fromtimestamp(at, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if budget.period == "day":
        return Period(day.strftime("%Y-%m-%d"), int((day + timedelta(days=1)).timestamp()))
    first = day.replace(day=1)
    days = calendar.monthrange(day.year, day.month)[1]
    return Period(day.strftime("%Y-%m"), int((first + timedelta(days=days)).timestamp()))


def nanos_of(usd: float) -> int:
    """USD as they are counted."""
    return round(usd * NANOS)


class KeyBudgets:
    """The budgets of all keys. Every method raises StoreUnavailableError while the store does not answer."""

    def __init__(self, connection: Resp) -> None:
        self._connection = connection

    async def spent(self, org_id: str, budget: KeyBudget, period: Period) -> Spent:
        """What is spent, running answers included."""
        tokens, nanos = await self._run("HMGET", _key(org_id, budget, period), "tokens", "nanos")
        return Spent(int(tokens or 0), int(nanos or 0))

    async def lease(self, turn: BudgetedTurn, wanted: Wanted, *, anew: bool) -> tuple[int | None, Spent]:
        """The tokens leased beside the fixed ones, None where there is too little; and what is spent then.

        With `anew` what the request had leased before is given back: its former answerer died.
        """
        budget, period = turn.budget, turn.period
        taken, tokens, nanos = await self._evaluate(
            _LEASE,
            _key(turn.org_id, budget, period),
            turn.request_id,
            int(anew),
            *wanted,
            NO_LIMIT if budget.tokens is None else budget.tokens,
            NO_LIMIT if budget.usd is None else nanos_of(budget.usd),
            period.end + KEEP_SECONDS,
        )
        return (None if taken < 0 else int(taken)), Spent(int(tokens), int(nanos))

    async def settle(self, turn: BudgetedTurn, tokens: int, nanos: int) -> bool:
        """Replace the lease of a request by what it cost; False where it has none any more."""
        key = _key(turn.org_id, turn.budget, turn.period)
        return bool(await self._evaluate(_SETTLE, key, turn.request_id, tokens, nanos))

    async def _evaluate(self, script: str, key: str, *arguments: str | int | float) -> Any:
        sha = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
        try:
            return await self._run("EVALSHA", sha, 1, key, *arguments)
        except ResponseError as error:
            if not isinstance(error, NoScriptError) and not str(error).startswith("NOSCRIPT"):
                raise StoreUnavailableError(f"the store of the budgets: {error}") from error
        try:
            return await self._run("EVAL", script, 1, key, *arguments)
        except ResponseError as error:
            raise StoreUnavailableError(f"the store of the budgets: {error}") from error

    async def _run(self, *command: str | int | float) -> Any:
        try:
            return await self._connection.execute(*command)
        except ResponseError:
            raise
        except UNAVAILABLE as error:
            raise StoreUnavailableError(f"the store of the budgets does not answer: {error}") from error


def _key(org_id: str, budget: KeyBudget, period: Period) -> str:
    return f"{PREFIX}{{{org_id}/{budget.id}}}:{period.name}"
