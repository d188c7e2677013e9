"""What a consumer has taken in and not finished yet: counted by organisation, weighed, and given places to work."""

from collections.abc import Mapping
from typing import Any

from common.events.record import Received
from common.kernel.handlers import Handler
from common.kernel.places import Seating, owner_of
from common.kernel.progress import Step
from common.kernel.weight import weigh

# One place in so many is for questions, which are over in a moment, in addition to those for everything else.
QUESTIONS_PART = 4


class InHand:
    """The records in hand: at most so many, and so many bytes by estimate; questions have places of their own."""

    def __init__(self, handlers: Mapping[str, Handler[Any]], concurrency: int, work_bytes: int) -> None:
        self._handlers = handlers
        self._work = Seating(concurrency)
        self._questions = Seating(max(1, concurrency // QUESTIONS_PART))
        self._work_bytes = work_bytes
        self.weight = 0

    def seating(self, record: Received) -> Seating:
        """Where a record waits and works."""
        handler = self._handlers.get(record.headers.get("event-type", ""))
        return self._questions if handler is not None and handler.spec.question else self._work

    @property
    def count(self) -> int:
        return self._work.room.in_hand + self._questions.room.in_hand

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return self._work.places.waiting + self._questions.places.waiting

    @property
    def heavy(self) -> bool:
        """Whether nothing more may come in for what is in hand."""
        return self.weight >= self._work_bytes

    @property
    def busy(self) -> bool:
        """Whether something may want the place or the memory of what only waits."""
        return self.heavy or self._work.places.full

    @property
    def room(self) -> int:
        """How many more records may be taken in."""
        return 0 if self.heavy else min(self._work.room.left, self._questions.room.left)

    def enter(self, record: Received, step: Step) -> bool:
        """Count a record in; whether its organisation was within its part."""
        step.weight, step.owner = weigh(record), owner_of(record.key)
        self.weight += step.weight
        return self.seating(record).room.enter(step.owner)

    def leave(self, record: Received, step: Step) -> None:
        """Count a record out."""
        self.weight -= step.weight
        self.seating(record).room.leave(step.owner)
