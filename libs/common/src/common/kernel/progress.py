"""Which records of a partition are finished, and how far the offset may be committed."""

from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class Step:
    """One record in flight; `weight` is what it takes in memory, by estimate, `owner` whose it is."""

    offset: str
    done: bool = False
    weight: int = 0
    owner: str = ""


@dataclass(slots=True)
class Progress:
    """Records of one partition in the order they were read.

    The committable offset is the last one before the first unfinished record, so a crash redelivers
    everything unfinished and nothing is skipped.
    """

    _steps: deque[Step] = field(default_factory=deque)

    def start(self, offset: str) -> Step:
        step = Step(offset)
        self._steps.append(step)
        return step

    def advance(self) -> str | None:
        """Forget the finished head; returns the newest offset that may be committed, if any."""
        offset = None
        while self._steps and self._steps[0].done:
            offset = self._steps.popleft().offset
        return offset

    @property
    def length(self) -> int:
        """Records since the last committable one, finished or not."""
        return len(self._steps)

    @property
    def in_flight(self) -> int:
        return sum(not step.done for step in self._steps)
