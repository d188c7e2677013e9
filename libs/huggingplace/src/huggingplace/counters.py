"""What happened to what was logged, in numbers."""

from __future__ import annotations

import threading

NAMES = (
    "logged",  # calls of `log`, steps and scores that are to be delivered
    "sampled_out",
    "delivered",
    "refused",  # by the server, for good
    "dropped",  # no room, or larger than `max_item_bytes`
    "replayed",  # delivered or refused for a process that had ended; in none of the others
    "retries",  # items that were sent once more
    "batches",
    "failures",  # of batches
    "masking_failures",
    "callback_failures",
)


class Counters:
    """Numbers that only grow. Safe over threads.

    `logged` = `delivered` + `refused` + `dropped` + what waits.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._values = dict.fromkeys(NAMES, 0)

    def add(self, name: str, number: int = 1) -> None:
        with self._lock:
            self._values[name] += number

    def snapshot(self) -> dict[str, int]:
        with self._lock:
            return dict(self._values)
