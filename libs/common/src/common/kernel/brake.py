"""The brake: where too much of one organisation is parked, the next of it waits for better times instead."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from common.events.record import Partition

# How long a scope that failed too often is left alone before one record of it is tried again.
OPEN_SECONDS = 30.0
# Scopes with something parked lately; the oldest is forgotten first.
MAX_SCOPES = 10_000


class Scope(NamedTuple):
    """What a brake counts by: what fails for one organisation or event says nothing about the others.

    `org_id` is empty where a payload names none, `event` is a type.
    """

    partition: Partition
    org_id: str
    event: str


@dataclass(slots=True)
class _Count:
    recent: deque[bool]
    run: int = 0
    probe_at: float | None = field(default=None)


class Brake:
    """Trips by scope, on a run of parked records or on too large a share of the last ones.

    While it is open nothing of that scope should be parked. After `open_seconds` it is half-open: `probe` lets one
    record through, and closes again with `close` if that worked.
    """

    def __init__(
        self,
        *,
        run: int = 20,
        share: float = 0.5,
        window: int = 100,
        open_seconds: float = OPEN_SECONDS,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run_limit = run
        self._share = share
        self._window = window
        self._open_seconds = open_seconds
        self._now = now
        # Only of scopes with something parked among their last records: the healthy ones cost a look-up.
        self._counts: dict[Scope, _Count] = {}

    def note(self, scope: Scope, *, parked: bool) -> None:
        """Count a finished record."""
        count = self._counts.get(scope)
        if count is None:
            if not parked:
                return
            count = self._counts[scope] = _Count(deque(maxlen=self._window))
            if len(self._counts) > MAX_SCOPES:
                del self._counts[next(iter(self._counts))]
        count.run = count.run + 1 if parked else 0
        count.recent.append(parked)
        if not parked and not any(count.recent):
            del self._counts[scope]
        elif not self._too_many(count):
            count.probe_at = None
        elif count.probe_at is None:
            count.probe_at = self._now() + self._open_seconds

    def _too_many(self, count: _Count) -> bool:
        full = len(count.recent) == self._window
        return count.run >= self._run_limit or (full and sum(count.recent) / self._window > self._share)

    def is_open(self, scope: Scope) -> bool:
        """Whether parking one more record of the scope would be too many."""
        count = self._counts.get(scope)
        return count is not None and count.probe_at is not None

    def probe(self, scope: Scope) -> bool:
        """Whether this record may be tried: once in every `open_seconds`."""
        count = self._counts.get(scope)
        if count is None or count.probe_at is None:
            return True
        if self._now() < count.probe_at:
            return False
        count.probe_at = self._now() + self._open_seconds
        return True

    def close(self, scope: Scope) -> None:
        """A probe worked: forget what was counted."""
        self._counts.pop(scope, None)

    @property
    def open_scopes(self) -> int:
        """Scopes of which something is held back: for that it is asked about them, again and again."""
        asked_since = self._now() - self._open_seconds
        return sum(count.probe_at is not None and count.probe_at > asked_since for count in self._counts.values())
