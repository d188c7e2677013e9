"""The brake: a consumer that parks too much is itself the problem and must stop."""

from collections import deque


class Brake:
    """Trips on a run of parked records, or on too large a share of the last ones."""

    def __init__(self, *, run: int = 20, share: float = 0.5, window: int = 100) -> None:
        self._run_limit = run
        self._share = share
        self._run = 0
        self._recent: deque[bool] = deque(maxlen=window)

    def note(self, *, parked: bool) -> None:
        self._run = self._run + 1 if parked else 0
        self._recent.append(parked)

    @property
    def tripped(self) -> bool:
        """Whether parking one more record would be too many."""
        full = len(self._recent) == self._recent.maxlen
        return self._run >= self._run_limit or (full and sum(self._recent) / len(self._recent) > self._share)
