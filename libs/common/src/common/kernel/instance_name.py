"""One process for each name: it holds its name by a token in the live store, and ends where another has taken it.

Consumers, mailboxes and leases go by the name of their instance, so two processes of one name would do the same work.
"""

import asyncio
import contextlib
import os
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import structlog

from common.storage.redis import UNAVAILABLE, Redis, eval_now

log = structlog.get_logger(__name__)

KEY_PREFIX = "sonant:instance:"
# The name of a process that was killed is free after this long, and at once for a process on the same machine.
HOLD_SECONDS = 3.0
RENEW_SECONDS = 1.0
# Who lives renews within this time, and is then not taken for one that was killed.
CLAIM_SECONDS = HOLD_SECONDS + 1.5
CLAIM_PAUSE = 0.1
# The one wait that holds up the process: nothing else may run before it is known whether the name is still ours.
CHECK_SECONDS = 1.0

# KEYS: name. ARGV: token, ms. Takes a free name or holds on to our own; 0 where another has it.
HOLD = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

# KEYS: name. ARGV: token, ms, token of a process that is dead. 0 where the name is not that one's any more.
TAKE_OVER = """
if redis.call('GET', KEYS[1]) ~= ARGV[3] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

# KEYS: name. ARGV: token.
RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class NameTakenError(Exception):
    """A process that lives has this name."""


@asynccontextmanager
async def holding(redis: Redis, url: str, name: str) -> AsyncIterator[None]:
    """Hold `name` (`service/instance`) inside the block, and end the process where that fails.

    Raises NameTakenError where a living process has it. While the live store is away nobody can take it.
    """
    held = _Name(redis, url, name)
    await held.claim()
    held.start()
    try:
        yield
    finally:
        await held.release()


def _token() -> str:
    """A token of this process alone, which says where it runs and since when."""
    return "|".join((uuid.uuid4().hex, _here(), str(os.getpid()), _begun(os.getpid())))


def _here() -> str:
    """This machine since it started, and which of its containers; empty where that cannot be told."""
    with contextlib.suppress(OSError):
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    return ""


def _begun(pid: int) -> str:
    """When a process began, by its machine's clock; empty where that cannot be told. A zombie has ended."""
    with contextlib.suppress(OSError):
        state, *numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "ended" if state in "ZX" else numbers[18]
    return ""


def _is_dead(token: str) -> bool:
    """Whether the process of a token ran on this machine and is no more; False where that cannot be told."""
    _, *where = token.split("|")
    if len(where) != 3 or not where[0] or where[0] != _here() or not where[1].isdecimal():
        return False
    try:
        os.kill(int(where[1]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return _begun(int(where[1])) not in ("", where[2])


class _Name:
    def __init__(self, redis: Redis, url: str, name: str) -> None:
        self._redis = redis
        self._url = url
        self._name = name
        self._hold = (1, KEY_PREFIX + name, _token(), str(int(HOLD_SECONDS * 1000)))
        self._loop = asyncio.get_running_loop()
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._renewing: asyncio.Task[None] | None = None

    async def claim(self) -> None:
        until = self._loop.time() + CLAIM_SECONDS
        while not await self._held() and not await self._taken_over():
            if self._loop.time() > until:
                raise NameTakenError(f"another process runs as {self._name}: give each a SONANT_INSTANCE of its own")
            await asyncio.sleep(CLAIM_PAUSE)

    async def _held(self) -> bool:
        """Whether it is ours, or cannot be another's."""
        try:
            return bool(await cast("Any", self._redis.eval(HOLD, *self._hold)))
        except UNAVAILABLE:
            return True

    async def _taken_over(self) -> bool:
        """Whether the holder was killed on this machine, and its name is ours by now."""
        with contextlib.suppress(*UNAVAILABLE):
            holder: Any = await self._redis.get(self._hold[1])
            if holder is not None and _is_dead(holder.decode()):
                return bool(await cast("Any", self._redis.eval(TAKE_OVER, *self._hold, holder)))
        return False

    def start(self) -> None:
        self._due = self._loop.time() + RENEW_SECONDS
        self._timer = self._loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        if self._loop.time() - self._due > HOLD_SECONDS - RENEW_SECONDS:
            # This process stood still. Its tasks would go on with work that another may have taken over.
            self._check_now()
        if self._renewing is None or self._renewing.done():
            self._renewing = self._loop.create_task(self._renew(), name="hold-name")
        self.start()

    def _check_now(self) -> None:
        with contextlib.suppress(*UNAVAILABLE):
            if not eval_now(self._url, HOLD, *self._hold, timeout=CHECK_SECONDS):
                self._end()

    async def _renew(self) -> None:
        if not await self._held():
            self._end()

    def _end(self) -> None:
        """End as if killed: to finish what is in flight would be to do it twice."""
        log.error(f"another process runs as {self._name} by now: this one ends at once")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)

    async def release(self) -> None:
        """Give the name up, so that the next start need not wait."""
        if self._timer is not None:
            self._timer.cancel()
        if self._renewing is not None:
            await asyncio.wait({self._renewing})
        with contextlib.suppress(*UNAVAILABLE):
            await cast("Any", self._redis.eval(RELEASE, *self._hold[:3]))
