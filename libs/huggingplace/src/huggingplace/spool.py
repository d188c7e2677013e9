"""The spool: what is logged lies in files on this machine until it is delivered.

What `append` has returned for is with the operating system: it survives the end of the process, `kill -9` included,
and is sent at the next start of any client with the same directory. Whether it survives the end of the machine depends
on `fsync`.

Several processes share a directory. Each writes segments of its own, and takes over those whose owner is gone.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from huggingplace.errors import QueueFullError, SpoolError
from huggingplace.spool_segment import SUFFIX, Record, Segment, line_of, require_locks

SEGMENT_BYTES = 4 * 1024 * 1024
# How old the count of other processes' bytes may be.
COUNT_SECONDS = 5.0


class Spool:
    """The segments of this process, and those it took over. Safe over threads."""

    def __init__(self, directory: Path, *, max_bytes: int, fsync: str) -> None:
        """Opens the directory, and makes it where it is missing; raises SpoolError."""
        require_locks()
        self.directory = _private(directory)
        self._max_bytes = max_bytes
        self._fsync = fsync
        # A handler of a signal may log while the code that it interrupts does so too.
        self._lock = threading.RLock()
        # Own segments, oldest first; only the last one is written to.
        self._own: list[Segment] = []
        self._adopted: list[Segment] = []
        self._foreign_bytes = 0
        self._counted_at = float("-inf")
        self._unsynced = False
        self._damaged = 0
        self.count_foreign()

    def append(self, body: bytes) -> None:
        """Keep one record.

        Raises QueueFullError: the directory has no room left. Raises OSError or SpoolError: the disk does not take it.
        """
        line = line_of(body)
        with self._lock:
            if self._bytes() + len(line) > self._max_bytes:
                raise QueueFullError(f"The spool holds {self._bytes()} bytes, and may hold {self._max_bytes}.")
            if not self._own or self._own[-1].size + len(line) > SEGMENT_BYTES:
                self._own.append(self._new_segment())
            segment = self._own[-1]
            segment.append(line)
            self._unsynced = True
            if self._fsync == "always":
                segment.sync()

    def take(self, max_items: int, max_bytes: int) -> list[Record]:
        """The next records that nobody took: this process's, or those of a process that is gone; raises OSError.

        A batch never mixes the two, so that old ones hold up no new ones.
        """
        with self._lock:
            taken = _taken(self._own, max_items, max_bytes) or _taken(self._adopted, max_items, max_bytes)
            if not taken:
                # A file whose rest cannot be read is through without a record.
                self._remove_finished()
            return taken

    def take_adopted(self, max_items: int, max_bytes: int) -> list[Record]:
        """The next records of processes that are gone; raises OSError."""
        with self._lock:
            return _taken(self._adopted, max_items, max_bytes)

    def finish(self, records: Sequence[Record]) -> None:
        """These need no sending any more. Raises OSError where that cannot be noted: they are sent again then."""
        with self._lock:
            touched = []
            for record in records:
                if record.segment is not None:
                    record.segment.finish(record.start)
                    if record.segment not in touched:
                        touched.append(record.segment)
            self._remove_finished()
            for segment in touched:
                if segment.is_open:
                    segment.note_progress()

    def adopt(self) -> int:
        """Take over the segments of processes that are gone; returns how many there were."""
        with self._lock:
            known = {segment.path.name for segment in (*self._own, *self._adopted)}
            found = 0
            for path in self._segments():
                if path.name not in known and (segment := Segment.adopt(path)) is not None:
                    self._adopted.append(segment)
                    found += 1
            self._remove_finished()
            return found

    def sync(self) -> None:
        """Wait until what was appended is on the disk, where that was not done; raises OSError."""
        if self._fsync != "interval" or not self._unsynced:
            return
        with self._lock:
            self._unsynced = False
            segments = list(self._own)
        # Not under the lock: a disk may take seconds, and `append` waits for nobody.
        for segment in segments:
            segment.sync()

    def count_foreign(self) -> None:
        """Count the bytes of other processes in the directory, at most every few seconds."""
        now = time.monotonic()
        if now - self._counted_at < COUNT_SECONDS:
            return
        self._counted_at = now
        with self._lock:
            known = {segment.path.name for segment in (*self._own, *self._adopted)}
            self._foreign_bytes = sum(_size(path) for path in self._segments() if path.name not in known)

    @property
    def has_adopted(self) -> bool:
        """Whether records of processes that are gone wait."""
        return bool(self._adopted)

    @property
    def bytes(self) -> int:
        """What lies in the directory, of every process; that of others as last counted."""
        with self._lock:
            return self._bytes()

    @property
    def own_damaged(self) -> int:
        """Records of this process that could not be read back, so far."""
        return self._damaged + sum(segment.damaged for segment in self._own)

    def close(self) -> None:
        """Give everything up; what is not finished stays for the next one."""
        with self._lock:
            self._remove_finished(also_written=True)
            for segment in (*self._own, *self._adopted):
                segment.close()
            self._own, self._adopted = [], []

    def abandon(self) -> None:
        """Forget the segments in a fork, whose parent has them; the lock may be held by a thread that is not here."""
        for segment in (*self._own, *self._adopted):
            segment.close()

    def _new_segment(self) -> Segment:
        try:
            return Segment.create(self.directory)
        except FileNotFoundError:
            # Somebody tidied up.
            _private(self.directory)
            return Segment.create(self.directory)

    def _bytes(self) -> int:
        return sum(segment.size for segment in (*self._own, *self._adopted)) + self._foreign_bytes

    def _segments(self) -> list[Path]:
        try:
            return sorted(path for path in self.directory.iterdir() if path.suffix == SUFFIX)
        except OSError:
            return []

    def _remove_finished(self, *, also_written: bool = False) -> None:
        """Delete what is sent; the segment that is written to only when it is full, or when nobody writes any more."""
        written = None if also_written or not self._own else self._own[-1]
        for segments in (self._own, self._adopted):
            for segment in [each for each in segments if each.is_finished and each is not written]:
                self._damaged += 0 if segment.is_adopted else segment.damaged
                segments.remove(segment)
                segment.remove()


def _taken(segments: Sequence[Segment], max_items: int, max_bytes: int) -> list[Record]:
    for segment in segments:
        if taken := segment.take(max_items, max_bytes):
            return taken
    return []


def _private(directory: Path) -> Path:
    """The directory, ours alone: what people said to a model is in it."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.lstat()
    except OSError as error:
        raise SpoolError(f"The spool's directory cannot be used: {error}") from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise SpoolError(f"The spool's directory is not this user's: {directory}")
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        raise SpoolError(f"The spool's directory cannot be written to: {directory}")
    return directory


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
