"""What was logged and is not delivered: in the spool, and in a bounded memory where there is no disk to be had."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from huggingplace.counters import Counters
from huggingplace.errors import QueueFullError, SpoolError
from huggingplace.spool import Spool
from huggingplace.spool_segment import Record
from huggingplace.teller import Teller

# After so many batches of new records one of old ones goes out, so that both get on.
NEW_BATCHES_PER_OLD = 4


class Unsent:
    """Safe over threads. `append` never raises: what does not fit is told, and dropped."""

    def __init__(self, spool: Spool | None, *, max_memory_bytes: int, counters: Counters, teller: Teller) -> None:
        self.spool = spool
        # Of this process's records, since it began.
        self.appended = 0
        self.finished = 0
        self._max_memory_bytes = max_memory_bytes
        self._counters = counters
        self._tell = teller.tell
        self._damaged = 0
        self._lock = threading.RLock()
        self._memory: deque[Record] = deque()
        self._memory_bytes = 0
        self._batches = 0
        self._disk_fails = False

    def append(self, body: bytes) -> bool:
        """Keep one record; False where it had to be dropped."""
        kept = self._kept(body)
        if kept:
            with self._lock:
                self.appended += 1
        else:
            self._counters.add("dropped")
        return kept

    def take(self, max_items: int, max_bytes: int) -> list[Record]:
        """The next records that nobody took."""
        with self._lock:
            self._batches += 1
            old_first = self._batches % (NEW_BATCHES_PER_OLD + 1) == 0
            taken: list[Record] = []
            while self._memory and len(taken) < max_items and (not taken or len(self._memory[0].body) <= max_bytes):
                max_bytes -= len(self._memory[0].body)
                taken.append(self._memory.popleft())
        if taken or self.spool is None:
            return taken
        try:
            taken = self.spool.take_adopted(max_items, max_bytes) if old_first else []
            taken = taken or self.spool.take(max_items, max_bytes)
        except OSError as error:
            self._tell(SpoolError(f"The spool cannot be read: {error}"))
        self._note_damage(self.spool)
        return taken

    def finish(self, records: Sequence[Record]) -> None:
        """These need no sending any more."""
        if not records:
            return
        own = 0 if records[0].is_adopted else len(records)  # a batch never mixes the two
        with self._lock:
            self.finished += own
            self._memory_bytes -= sum(len(record.body) for record in records if record.segment is None)
        if self.spool is not None:
            try:
                self.spool.finish(records)
            except OSError as error:
                self._tell(SpoolError(f"Progress cannot be noted, and something will be sent twice: {error}"))

    def tend(self, *, sync: bool) -> None:
        """What is due now and then: to count what others have in the directory, and to sync the disk."""
        if self.spool is None:
            return
        self.spool.count_foreign()
        if not sync:
            return
        try:
            self.spool.sync()
        except OSError as error:
            self._tell(SpoolError(f"The spool cannot be synced to the disk: {error}"))

    def close(self) -> None:
        """Give the spool's files up; what waits in memory alone is lost, and told."""
        if self.spool is not None:
            self.spool.close()
        with self._lock:
            lost = len(self._memory)
            self._memory.clear()
            self.finished += lost
        if lost:
            self._counters.add("dropped", lost)
            self._tell(QueueFullError(f"{lost} interactions waited in memory alone, and are lost."))

    def adopt(self) -> int:
        """Take over what processes that are gone left; returns the number of files."""
        return self.spool.adopt() if self.spool is not None else 0

    @property
    def unfinished(self) -> int:
        """How many records of this process need to be sent."""
        return max(self.appended - self.finished, 0)

    @property
    def waits(self) -> bool:
        """Whether there is something to deliver."""
        return self.unfinished > 0 or (self.spool is not None and self.spool.has_adopted)

    @property
    def memory_bytes(self) -> int:
        """Of the records that wait in memory."""
        return self._memory_bytes

    def _note_damage(self, spool: Spool) -> None:
        """Records of this process that its disk spoiled will never be finished."""
        lost = spool.own_damaged - self._damaged
        if lost:
            self._damaged += lost
            self._counters.add("dropped", lost)
            with self._lock:
                self.finished += lost
            self._tell(SpoolError(f"{lost} records in the spool are damaged."))

    def _kept(self, body: bytes) -> bool:
        if self.spool is None:
            return self._remembered(body)
        try:
            self.spool.append(body)
        except QueueFullError as error:
            # The disk holds what it may: more in memory would only be lost later.
            self._tell(error)
            return False
        except (OSError, SpoolError) as error:
            if not self._disk_fails:
                self._tell(SpoolError(f"The spool cannot be written to, and memory is used: {error}"))
            self._disk_fails = True
            return self._remembered(body)
        self._disk_fails = False
        return True

    def _remembered(self, body: bytes) -> bool:
        with self._lock:
            fits = self._memory_bytes + len(body) <= self._max_memory_bytes
            if fits:
                self._memory.append(Record(body, None, 0))
                self._memory_bytes += len(body)
        if not fits:
            self._tell(QueueFullError(f"{self._max_memory_bytes} bytes wait in memory, and one more was dropped."))
        return fits
