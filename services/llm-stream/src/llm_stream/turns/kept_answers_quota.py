"""How much of ended answers the live store keeps: of one, of an organisation, and of all from this process."""

import time
from collections import Counter, deque

from common.metrics import labelled
from llm_stream.metrics import ANSWERS_NOT_KEPT

# One organisation may have so much of what this process has kept; the others still find room.
SHARE = 4


class KeptAnswers:
    """Counts what is kept for `seconds`: at most `max_answer` bytes each, and `max_total` together.

    Of an answer that finds no room only its end is kept.
    """

    def __init__(
        self, *, seconds: float = 120.0, max_answer: int = 1024 * 1024, max_total: int = 64 * 1024 * 1024
    ) -> None:
        self._seconds = seconds
        self._max_answer = max_answer
        self._max_total = max_total
        self._kept: deque[tuple[float, str, int]] = deque()  # until when, whose, how much
        self._total = 0
        self._by_org: Counter[str] = Counter()

    def admits(self, org_id: str, size: int) -> bool:
        """Whether an answer of so many bytes is kept; it counts from now on."""
        now = time.monotonic()
        while self._kept and self._kept[0][0] <= now:
            self._drop(*self._kept.popleft()[1:])
        if why := self._full(org_id, size):
            labelled(ANSWERS_NOT_KEPT, why).inc()
            return False
        self._kept.append((now + self._seconds, org_id, size))
        self._total += size
        self._by_org[org_id] += size
        return True

    def _full(self, org_id: str, size: int) -> str:
        if size > self._max_answer:
            return "large"
        if self._total + size > self._max_total:
            return "full"
        return "share" if self._by_org[org_id] + size > self._max_total // SHARE else ""

    def _drop(self, org_id: str, size: int) -> None:
        self._total -= size
        self._by_org[org_id] -= size
        if self._by_org[org_id] <= 0:
            del self._by_org[org_id]
