"""Writes of records, in which small ones do not wait for all the large ones before them."""

from common.bus.batching import Batcher, Waiting
from common.events.record import Record

# Beside its first record, which may be as large as any. A write of so many bytes takes a few milliseconds.
WRITE_BYTES = 1024 * 1024


class RecordBatcher(Batcher[Record]):
    """Gathers records into writes of about `WRITE_BYTES`: the one that waits longest, and what fits beside it.

    A record that does not fit is overtaken, but never by one of its topic and key, and only until it is the first.
    """

    def _next(self) -> list[Waiting[Record]]:
        first, *others = self._items
        if len(others) < self._limit and sum([len(record.value) for record, _ in others]) <= WRITE_BYTES:
            self._items = []
            return [first, *others]
        taken, left, overtaken, room = [first], [], set(), WRITE_BYTES
        for position, waiting in enumerate(others):
            if len(taken) == self._limit:
                left += others[position:]
                break
            record = waiting[0]
            place = record.topic, record.key
            if len(record.value) > room or place in overtaken:
                left.append(waiting)
                overtaken.add(place)
            else:
                taken.append(waiting)
                room -= len(record.value)
        self._items = left
        return taken
