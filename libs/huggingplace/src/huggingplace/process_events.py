"""What a client has to do when its process forks or ends."""

from __future__ import annotations

import atexit
import os
import threading
from typing import Any

# Whoever is in here has `after_fork` and `at_exit`. Held strongly: a forgotten client still sends at the end.
_members: set[Any] = set()


class Guard:
    """A lock for short work in memory, which is free in a forked process whoever held it in the parent."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


# Of all sessions, steps and traces: each holds it for some microseconds, and waits for nothing meanwhile.
GUARD = Guard()


def join(member: Any) -> None:
    """From now on its `after_fork` is called in every forked process, and its `at_exit` when this one ends."""
    _members.add(member)


def leave(member: Any) -> None:
    _members.discard(member)


def _after_fork() -> None:
    GUARD.renew()
    for member in list(_members):
        member.after_fork()


def _at_exit() -> None:
    for member in list(_members):
        member.at_exit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
