"""What the cache of resources holds: keys, values, and the scripts by which nothing old comes back.

A scope is one string: `clock`, a line of facts about the entry, the set that applies, the candidate of a rollout.
A resource is one hash: its versions under the number that readers name, and the clock below which none of them counts.
The clock is the organisation's: every write advances it, so of two entries the one with the higher clock is newer.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote

import orjson

from common.events.resource_terms import Kind
from common.storage import derived_keys
from common.storage.resp import Command

PREFIX = derived_keys.RESOURCES
# Long enough to answer from while the catalogue is away over a weekend night; memory frees itself after that.
KEEP_SECONDS = 86_400
# "Nothing here" is believed this long.
NEGATIVE_FRESH_SECONDS = 10.0
# A scope that was cleared: long enough that no fill in flight can be older, and bring back what was on.
CLEARED_KEEP_SECONDS = 3_600
# Where nothing ever was an older fill says the same, so these need not be kept for the order. They are for a while
# all the same, to answer from while nobody refreshes them, but only so many: a read of any name leaves one.
VACANT_KEEP_SECONDS = 3_600
MAX_VACANT = 10_000
MISSING_KEEP_SECONDS = 60
LATEST = "latest"
FLOOR = "floor"
# On the reply about a version: the clock it was read at.
CLOCK_HEADER = "x-sonant-clock"

# KEYS: scope. ARGV: clock, value, seconds to keep. Returns what is there if that is newer, else nil.
PUT_SCOPE = """
local there = redis.call('GETRANGE', KEYS[1], 0, 19)
local clock = string.match(there, '^%d+')
if clock and tonumber(clock) > tonumber(ARGV[1]) then return redis.call('GET', KEYS[1]) end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return false
"""

# KEYS: scope, and how many scopes without a set have come in the last `VACANT_KEEP_SECONDS`. ARGV: clock, value,
# seconds to keep, the maximum, seconds to keep the others. Returns what is there if that is newer, else nil.
PUT_VACANT = """
local there = redis.call('GETRANGE', KEYS[1], 0, 19)
local clock = string.match(there, '^%d+')
if clock and tonumber(clock) > tonumber(ARGV[1]) then return redis.call('GET', KEYS[1]) end
local keep = ARGV[3]
if redis.call('TTL', KEYS[1]) <= tonumber(ARGV[5]) then
  local vacant = redis.call('INCR', KEYS[2])
  if vacant == 1 then redis.call('EXPIRE', KEYS[2], ARGV[3]) end
  if vacant > tonumber(ARGV[4]) then keep = ARGV[5] end
end
redis.call('SET', KEYS[1], ARGV[2], 'EX', keep)
return false
"""

# KEYS: resource. ARGV: clock, field, value, seconds to keep, maximum of fields. Returns 1 where the value was taken.
PUT_VERSION = """
local function clock(value) return tonumber(string.match(value, '^%d+')) end
local floor = redis.call('HGET', KEYS[1], 'floor')
if floor and tonumber(floor) > tonumber(ARGV[1]) then return 0 end
local there = redis.call('HGET', KEYS[1], ARGV[2])
if there and clock(there) > tonumber(ARGV[1]) then return 0 end
if not there and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[5]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
if redis.call('TTL', KEYS[1]) < tonumber(ARGV[4]) then redis.call('EXPIRE', KEYS[1], ARGV[4]) end
return 1
"""

# KEYS: resource. ARGV: clock, seconds to keep. Drops every version older than the clock, and bars older ones.
RAISE_FLOOR = """
local floor = redis.call('HGET', KEYS[1], 'floor')
if floor and tonumber(floor) >= tonumber(ARGV[1]) then return 0 end
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if all[i] ~= 'floor' and tonumber(string.match(all[i + 1], '^%d+')) < tonumber(ARGV[1]) then
    redis.call('HDEL', KEYS[1], all[i])
  end
end
redis.call('HSET', KEYS[1], 'floor', ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
"""

# Of one resource. What is not cached is queried each time, and is as good.
MAX_VERSIONS = 1_000
# Longer than any id we give; a digest is shorter.
MAX_PART_CHARS = 64
# Versions that do not exist must not push out those that do.
MAX_WITH_MISSING = 100


@lru_cache(maxsize=10_000)
def _part(id: str) -> str:
    """An id as part of a key, in which nothing else ends it. Quoting is a fifth of a read, so it is remembered.

    A long one is named by its digest: quoted, 200 characters may be two kilobytes.
    """
    quoted = quote(id, safe="")
    if len(quoted) <= MAX_PART_CHARS:
        return quoted
    return f"={hashlib.blake2b(quoted.encode(), digest_size=20).hexdigest()}"


def scope_key(org_id: str, project_id: str, user_id: str) -> str:
    """The key of a scope; all keys of an organisation share a slot of a cluster."""
    return f"{PREFIX}{{{_part(org_id)}}}:set:{_part(project_id)}:{_part(user_id)}"


def scope_keys(org_id: str, project_id: str, user_id: str) -> list[str]:
    """The keys of `layers`, in that order."""
    return [scope_key(org_id, *scope) for scope in layers(project_id, user_id)]


def layers(project_id: str, user_id: str) -> list[tuple[str, str]]:
    """The scopes that apply to a user in a project, as project and user; the first that has a set wins.

    Without a user these are the defaults, without a project the organisation's alone.
    """
    scopes = [(project_id, user_id), (project_id, ""), ("", "")]
    return list(dict.fromkeys(scopes)) if project_id else scopes[2:]


def version_key(org_id: str, kind: Kind, id: str) -> str:
    """The key of a resource with its versions."""
    return f"{PREFIX}{{{_part(org_id)}}}:{kind}:{_part(id)}"


def version_field(version: int | None) -> str:
    return LATEST if version is None else str(version)


@dataclass(frozen=True, slots=True)
class Entry:
    """One scope as it stood at `clock`. Times are unix seconds; sets are JSON, ready to be sent.

    Without a `current` set the scope is empty, and the set of the next layer applies. `problem` says why a set that
    is switched on cannot be served.
    """

    clock: int
    fresh_until: float
    changed_at: float = 0.0
    revision: int | None = None
    candidate_revision: int | None = None
    percent: float = 0.0
    problem: str | None = None
    current: bytes = b""
    candidate: bytes = b""

    @property
    def empty(self) -> bool:
        return self.revision is None

    @property
    def vacant(self) -> bool:
        """Whether nothing was ever switched on here."""
        return self.empty and not self.changed_at

    def pack(self) -> bytes:
        rollout = (self.revision, self.candidate_revision, self.percent)
        facts = (self.fresh_until, self.changed_at, *rollout, self.problem)
        return b"%d\n%b\n%b\n%b" % (self.clock, orjson.dumps(facts), self.current, self.candidate)

    @classmethod
    def unpack(cls, value: bytes) -> "Entry":
        clock, facts, current, candidate = value.split(b"\n", 3)
        fresh_until, changed_at, revision, candidate_revision, percent, problem = orjson.loads(facts)
        rollout = (revision, candidate_revision, percent)
        return cls(int(clock), fresh_until, changed_at, *rollout, problem, current, candidate)

    def put(self, key: str) -> Command:
        """The command that caches this entry unless a newer one is there."""
        if self.vacant:
            vacant = key[: key.index("}") + 1] + ":vacant"
            limits = (VACANT_KEEP_SECONDS, MAX_VACANT, MISSING_KEEP_SECONDS)
            return ("EVAL", PUT_VACANT, 2, key, vacant, self.clock, self.pack(), *limits)
        keep = CLEARED_KEEP_SECONDS if self.empty else KEEP_SECONDS
        return ("EVAL", PUT_SCOPE, 1, key, self.clock, self.pack(), keep)


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a resource at `clock`, or with another status than 200 the reason why there is none."""

    clock: int
    fresh_until: float
    status: int
    body: bytes

    def pack(self) -> bytes:
        return b"%d\n%b\n%b" % (self.clock, orjson.dumps((self.fresh_until, self.status)), self.body)

    @classmethod
    def unpack(cls, value: bytes) -> "Version":
        clock, facts, body = value.split(b"\n", 2)
        fresh_until, status = orjson.loads(facts)
        return cls(int(clock), fresh_until, status, body)

    def put(self, key: str, version: int | None) -> Command:
        """The command that caches this version unless the resource has changed since its clock."""
        there = self.status == 200
        keep, maximum = (KEEP_SECONDS, MAX_VERSIONS) if there else (MISSING_KEEP_SECONDS, MAX_WITH_MISSING)
        return ("EVAL", PUT_VERSION, 1, key, self.clock, version_field(version), self.pack(), keep, maximum)


def raise_floor(key: str, clock: int) -> Command:
    """The command that drops what is cached of a resource from before its change at `clock`."""
    return ("EVAL", RAISE_FLOOR, 1, key, clock, KEEP_SECONDS)


def etag(revision: int | None, candidate_revision: int | None, percent: float) -> str:
    """What is on in a scope, unlike all else that was or will be: 0 for nothing."""
    if candidate_revision is None:
        return str(revision or 0)
    return f"{revision or 0}-{candidate_revision}-{float(percent)}"


def in_candidate(org_id: str, project_id: str, user_id: str, percent: float) -> bool:
    """Whether a rollout of `percent` (0 to 100) has reached a user.

    The same for good: a user once reached stays so while the share grows. Nobody in particular is reached last.
    """
    if percent <= 0 or percent >= 100 or not user_id:
        return percent >= 100
    named = "\0".join((org_id, project_id, user_id)).encode()
    draw = int.from_bytes(hashlib.blake2b(named, digest_size=8).digest())
    return draw < percent / 100 * 2**64
