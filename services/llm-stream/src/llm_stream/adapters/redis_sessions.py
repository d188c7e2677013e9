"""Copies of sessions in Redis or Valkey: a hash each, and an index by when they were last used.

Fields of a hash: `t:` turns, by when they were received and their id, `s:` what was heard of one, `r:` turns that
run, `x:` turns that were deleted, `n` the bytes of all turns, `m` the summary, `whole`, `cut` and `gone`.

The bytes of all copies are bounded: those that were not used for longest go first. They are in telemetry too. The
index names keys that a script does not declare, so the live store is one server and no cluster, as for all of LIVE.
"""

import time
from typing import Any

import orjson

from common.bus.live.kept_answers import TURN_PREFIX
from common.bus.live.writer import LiveWriter
from common.bus.port import BusUnavailableError
from common.events.model_json import from_json, to_json
from common.events.session_summary import RollingSummary
from common.events.session_turns import SessionHistory, SessionTurn
from common.storage.redis import UNAVAILABLE
from common.storage.resp import Resp
from llm_stream.ports import HotSession

PREFIX = "sonant:session:"
SUMMING_PREFIX = "sonant:summing:"
USED = "sonant:sessions:used"
TOTAL = "sonant:sessions:bytes"
# What a hash takes beside its turns, about, and a turn beside its text.
SESSION_BYTES, TURN_BYTES = 400, 120
# More turns than any conversation has; without texts in them they would be bounded by nothing.
MAX_TURNS = 1_000

# Both scripts end with it: KEYS are the session, the index and the total. `grown` is by how many bytes it grew.
_SETTLE = """
local function settle(grown, now, idle, most)
  local total = redis.call('INCRBY', KEYS[3], grown)
  redis.call('ZADD', KEYS[2], now, KEYS[1])
  local function drop(key)
    if key == KEYS[1] then return end
    local size = tonumber(redis.call('HGET', key, 'n') or '0')
    redis.call('DEL', key)
    redis.call('ZREM', KEYS[2], key)
    total = redis.call('DECRBY', KEYS[3], size)
  end
  for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now - idle, 'LIMIT', 0, 16)) do drop(key) end
  local tries = 0
  while total > most and tries < 64 do
    local oldest = redis.call('ZRANGE', KEYS[2], 0, 0)[1]
    if not oldest or oldest == KEYS[1] then break end
    drop(oldest)
    tries = tries + 1
  end
end
local function born()
  if redis.call('HSETNX', KEYS[1], 'n', ARGV[4]) == 1 then return tonumber(ARGV[4]) end
  return 0
end
local function trim(most, turns)
  local freed = 0
  local n = tonumber(redis.call('HGET', KEYS[1], 'n'))
  local fields, found = redis.call('HKEYS', KEYS[1]), {}
  if n <= most and #fields <= turns then return 0 end
  for _, name in ipairs(fields) do if string.sub(name, 1, 2) == 't:' then found[#found + 1] = name end end
  table.sort(found)
  local at = 1
  while at < #found and (n - freed > most or #found - at + 1 > turns) do
    local id = string.match(found[at], '/(.*)$')
    freed = freed + redis.call('HSTRLEN', KEYS[1], found[at]) + tonumber(ARGV[5])
    redis.call('HDEL', KEYS[1], found[at], 's:' .. id)
    at = at + 1
  end
  if freed > 0 then
    redis.call('HINCRBY', KEYS[1], 'n', -freed)
    redis.call('HSET', KEYS[1], 'cut', '1')
  end
  return freed
end
local function drop_summary()
  local size = redis.call('HSTRLEN', KEYS[1], 'm')
  if size > 0 then
    redis.call('HDEL', KEYS[1], 'm')
    redis.call('HINCRBY', KEYS[1], 'n', -size)
  end
  return size
end
local function keep(name, id, received, value, anew)
  local gone = redis.call('HGET', KEYS[1], 'gone')
  if gone and tonumber(received) <= tonumber(gone) then return 0 end
  if redis.call('HEXISTS', KEYS[1], 'x:' .. id) == 1 then return 0 end
  local had = redis.call('HEXISTS', KEYS[1], name) == 1
  if had and not anew then return 0 end
  local grown = #value - redis.call('HSTRLEN', KEYS[1], name) + (had and 0 or tonumber(ARGV[5]))
  redis.call('HSET', KEYS[1], name, value)
  redis.call('HINCRBY', KEYS[1], 'n', grown)
  return grown
end
"""
# ARGV: now, idle seconds, most bytes of all, of a new hash, of a turn; then what is said below.
# 6 id of a turn that begins (or ""), 7 received, 8 until.
_OPEN = (
    _SETTLE
    + """
if ARGV[6] ~= '' then
  local grown = born()
  redis.call('HSET', KEYS[1], 'r:' .. ARGV[6], ARGV[7] .. ' ' .. ARGV[8])
  settle(grown, tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]))
end
return redis.call('HGETALL', KEYS[1])
"""
)
# 6 field, 7 id, 8 received, 9 the turn ("": it is not kept), 10 whether the session is new, 11 most bytes of it,
# 12 most turns of it.
_ENDED = (
    _SETTLE
    + """
if ARGV[9] == '' then
  redis.call('HDEL', KEYS[1], 'r:' .. ARGV[7])
  return 0
end
local grown = born()
if ARGV[10] == '1' and grown > 0 then redis.call('HSET', KEYS[1], 'whole', '1') end
redis.call('HDEL', KEYS[1], 'r:' .. ARGV[7])
grown = grown + keep(ARGV[6], ARGV[7], ARGV[8], ARGV[9], true)
grown = grown - trim(tonumber(ARGV[11]), tonumber(ARGV[12]))
settle(grown, tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]))
return 1
"""
)
# 6 the summary, 7 when it was asked for, as text in the order of time. A copy that is not there is filled from
# telemetry.
_SUMMARY = (
    _SETTLE
    + """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local asked = ARGV[7]
local gone = redis.call('HGET', KEYS[1], 'gone')
if gone and tonumber(asked) <= tonumber(gone) then return 0 end
local former = redis.call('HGET', KEYS[1], 'm')
if former and string.match(former, '^(%S+) ') >= asked then return 0 end
local fields = redis.call('HGETALL', KEYS[1])
for at = 1, #fields, 2 do
  if string.sub(fields[at], 1, 2) == 'x:' and tonumber(asked) <= tonumber(fields[at + 1]) then return 0 end
end
local written = asked .. ' ' .. ARGV[6]
local grown = #written - drop_summary()
redis.call('HSET', KEYS[1], 'm', written)
redis.call('HINCRBY', KEYS[1], 'n', #written)
settle(grown, tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]))
return 1
"""
)
# 6 deleted at (or ""), 7 whether older turns were let go, 8 most bytes, 9 most turns, then for each turn: field, id,
# received, the turn, heard (or "").
_FILL = (
    _SETTLE
    + """
local grown = born()
if ARGV[6] ~= '' and redis.call('HEXISTS', KEYS[1], 'gone') == 0 then redis.call('HSET', KEYS[1], 'gone', ARGV[6]) end
if ARGV[7] == '1' then redis.call('HSET', KEYS[1], 'cut', '1') end
for at = 10, #ARGV, 5 do
  grown = grown + keep(ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], false)
  if ARGV[at + 4] ~= '' then redis.call('HSETNX', KEYS[1], 's:' .. ARGV[at + 1], ARGV[at + 4]) end
end
redis.call('HSET', KEYS[1], 'whole', '1')
grown = grown - trim(tonumber(ARGV[8]), tonumber(ARGV[9]))
settle(grown, tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]))
return 1
"""
)
# 1 id, 2 what was heard.
_SPOKEN = """
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 's:' .. ARGV[1], ARGV[2]) end
return 1
"""
# 6 id of one turn (or "" for all), 7 deleted at.
_DELETE = (
    _SETTLE
    + """
local grown = born()
local now, idle, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if ARGV[6] ~= '' then
  redis.call('HSET', KEYS[1], 'x:' .. ARGV[6], ARGV[7])
  grown = grown - drop_summary()
  for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
    if string.sub(name, 1, 2) == 't:' and string.match(name, '/(.*)$') == ARGV[6] then
      local freed = redis.call('HSTRLEN', KEYS[1], name) + tonumber(ARGV[5])
      redis.call('HDEL', KEYS[1], name, 's:' .. ARGV[6])
      redis.call('HINCRBY', KEYS[1], 'n', -freed)
      grown = grown - freed
    end
  end
  settle(grown, now, idle, most)
  return 1
end
for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
  local kind = string.sub(name, 1, 2)
  local received, id = string.match(name, '^t:([^/]*)/(.*)$')
  if received and tonumber(received) <= tonumber(ARGV[7]) then
    local freed = redis.call('HSTRLEN', KEYS[1], name) + tonumber(ARGV[5])
    redis.call('HDEL', KEYS[1], name, 's:' .. id)
    redis.call('HINCRBY', KEYS[1], 'n', -freed)
    grown = grown - freed
  elseif kind == 'x:' then
    redis.call('HDEL', KEYS[1], name)
  end
end
local gone = redis.call('HGET', KEYS[1], 'gone')
if not gone or tonumber(gone) < tonumber(ARGV[7]) then redis.call('HSET', KEYS[1], 'gone', ARGV[7]) end
-- What was before is known to be nothing.
redis.call('HSET', KEYS[1], 'whole', '1')
redis.call('HDEL', KEYS[1], 'cut')
grown = grown - drop_summary()
settle(grown, now, idle, most)
return 1
"""
)


class RedisSessions:
    """The port `SessionCopies`. What ends with a turn goes through `live`, before the frames that are queued later.

    `session_bytes` bounds one copy, `total_bytes` all of them; one that nobody used for `idle_seconds` goes too.
    """

    def __init__(
        self, connection: Resp, live: LiveWriter, *, session_bytes: int, total_bytes: int, idle_seconds: int
    ) -> None:
        self._connection = connection
        self._live = live
        self._session_bytes = session_bytes
        self._total_bytes = total_bytes
        self._idle_seconds = idle_seconds

    async def open(self, org_id: str, session_id: str, running: tuple[str, float, float] | None) -> HotSession:
        id, received_at, until = running or ("", 0.0, 0.0)
        arguments = (*self._common(), id, repr(received_at), repr(until))
        return _read(await self._run("EVAL", _OPEN, 3, *_keys(org_id, session_id), *arguments))

    def queue_ended(self, org_id: str, turn: SessionTurn, *, fresh: bool) -> None:
        value = to_json(turn, exclude_unset=True)
        bounds = ("1" if fresh else "", self._session_bytes, MAX_TURNS)
        self._end(org_id, turn.session_id, _field(turn), turn.id, repr(turn.received_at), value, *bounds)

    def queue_left(self, org_id: str, session_id: str, request_id: str) -> None:
        self._end(org_id, session_id, "", request_id, "", "", "", 0, 0)

    def _end(self, org_id: str, session_id: str, *arguments: str | bytes | int) -> None:
        self._live.queue_command("EVAL", _ENDED, 3, *_keys(org_id, session_id), *self._common(), *arguments)

    async def fill(self, org_id: str, session_id: str, history: SessionHistory) -> None:
        gone = "" if history.deleted_at is None else repr(history.deleted_at)
        arguments: list[str | bytes | int | float] = [gone, "1" if history.cut else "", self._session_bytes, MAX_TURNS]
        for turn in history.turns:
            if turn.kept == "full":
                heard = "" if turn.spoken is None else _heard(turn.spoken, turn.spoken_by or "history")
                bare = turn.model_copy(update={"spoken": None, "spoken_by": None})
                arguments += [_field(turn), turn.id, repr(turn.received_at), to_json(bare, exclude_none=True), heard]
        keys = _keys(org_id, session_id)
        await self._run("EVAL", _FILL, 3, *keys, *self._common(), *arguments)

        if history.summary is not None:
            # Older than what a turn may have left meanwhile.
            await self._run("EVAL", _SUMMARY, 3, *keys, *self._common(), *_written(history.summary))

    def queue_summary(self, summary: RollingSummary, org_id: str) -> None:
        keys = _keys(org_id, summary.session_id)
        self._live.queue_command("EVAL", _SUMMARY, 3, *keys, *self._common(), *_written(summary))

    async def begin_summary(self, org_id: str, session_id: str, seconds: float) -> bool:
        key = f"{SUMMING_PREFIX}{org_id}/{session_id}"
        return await self._run("SET", key, "1", "NX", "PX", int(seconds * 1000)) is not None

    async def note_spoken(self, org_id: str, session_id: str, request_id: str, heard: tuple[int, str]) -> None:
        await self._run("EVAL", _SPOKEN, 1, _keys(org_id, session_id)[0], request_id, _heard(*heard))

    async def delete(self, org_id: str, session_id: str, request_id: str | None, at: float) -> None:
        arguments = (*self._common(), request_id or "", repr(at))
        await self._run("EVAL", _DELETE, 3, *_keys(org_id, session_id), *arguments)

    async def ended_turn(self, request_id: str) -> bytes | None:
        stored = await self._run("GET", TURN_PREFIX + request_id)
        fact = None if stored is None else orjson.loads(stored).get("fact")
        return None if fact is None else str(fact["value"]).encode()

    def _common(self) -> tuple[int, int, int, int, int]:
        return (int(time.time()), self._idle_seconds, self._total_bytes, SESSION_BYTES, TURN_BYTES)

    async def _run(self, *command: str | bytes | int | float) -> Any:
        try:
            return await self._connection.execute(*command)
        except UNAVAILABLE as error:
            raise BusUnavailableError(f"the live store does not answer: {error}") from error


def _keys(org_id: str, session_id: str) -> tuple[str, str, str]:
    return f"{PREFIX}{org_id}/{session_id}", USED, TOTAL


def _field(turn: SessionTurn) -> str:
    """Fields in the order of their names are turns in the order in which they were received."""
    return f"t:{turn.received_at:020.6f}/{turn.id}"


def _written(summary: RollingSummary) -> tuple[bytes, str]:
    return to_json(summary, exclude_none=True), f"{summary.asked_at:020.6f}"


def _heard(characters: int, by: str) -> bytes:
    return orjson.dumps([characters, by])


def _read(reply: list[bytes]) -> HotSession:
    fields = dict(zip(reply[::2], reply[1::2], strict=True))
    turns = []
    for name in sorted(name for name in fields if name.startswith(b"t:")):
        turn = from_json(SessionTurn, fields[name])
        if (heard := fields.get(b"s:" + turn.id.encode())) is not None:
            characters, by = orjson.loads(heard)
            turn = turn.model_copy(update={"spoken": characters, "spoken_by": by})
        turns.append(turn)
    gone = fields.get(b"gone")
    return HotSession(
        turns=tuple(turns),
        whole=b"whole" in fields,
        cut=b"cut" in fields,
        running={name[2:].decode(): _running(fields[name]) for name in fields if name.startswith(b"r:")},
        deleted_at=None if gone is None else float(gone),
        summary=None if (told := fields.get(b"m")) is None else from_json(RollingSummary, told.partition(b" ")[2]),
    )


def _running(written: bytes) -> tuple[float, float]:
    received_at, until = written.split()
    return float(received_at), float(until)
