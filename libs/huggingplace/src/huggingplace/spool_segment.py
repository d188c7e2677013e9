"""One file of the spool: a header that says how far it was sent, and a line with a checksum per record.

    HPSPOOL1 00000000000004d2 8f3a1c22\\n        how far (hexadecimal offset), and the CRC-32 of what stands before
    1c291ca3 {"id":"0198..."}\\n                 CRC-32 of what follows, JSON

A line that its checksum does not fit is skipped, and reading goes on behind it. So a torn write costs itself alone. The
file is locked for as long as its process lives: whoever gets the lock knows that the owner is gone.
"""

from __future__ import annotations

import contextlib
import os
import stat
import zlib
from pathlib import Path
from typing import NamedTuple

from huggingplace.errors import SpoolError
from huggingplace.uuid7 import uuid7

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None  # type: ignore[assignment]

SUFFIX = ".segment"
_MAGIC = b"HPSPOOL1"
HEADER_BYTES = 35
_READ_BYTES = 256 * 1024
# No line of ours is longer. What is longer in a damaged file is read in pieces, and each fails its checksum.
_MAX_LINE_BYTES = 16 * 1024 * 1024


class Record(NamedTuple):
    """The JSON of what was logged, and where it stands; `segment` is None for what waits in memory."""

    body: bytes
    segment: Segment | None
    start: int

    @property
    def is_adopted(self) -> bool:
        """Whether another process logged it."""
        return self.segment is not None and self.segment.is_adopted


class Segment:
    """An open, locked file. Not safe over threads: the spool holds its lock around every call."""

    def __init__(self, path: Path, fd: int, size: int) -> None:
        self.path = path
        self.size = size
        self.damaged = 0
        self.is_adopted = False
        self._fd: int | None = fd
        self._read_to = HEADER_BYTES
        # Records that were taken and are not finished, by where they start, in that order.
        self._open: dict[int, None] = {}
        self._carry = b""

    @classmethod
    def create(cls, directory: Path) -> Segment:
        """A new file of this process; raises OSError."""
        while True:
            path = directory / f"{uuid7()}{SUFFIX}"
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            # Another process may have seen it before it was locked, taken it for an orphan, and deleted it.
            if _locked(fd) and os.fstat(fd).st_nlink > 0:
                break
            os.close(fd)
        segment = cls(path, fd, HEADER_BYTES)
        try:
            segment._write_header(HEADER_BYTES)
        except OSError:
            segment.remove()
            raise
        return segment

    @classmethod
    def adopt(cls, path: Path) -> Segment | None:
        """A file whose process is gone, from where it stopped; None where it is in use or was removed meanwhile."""
        try:
            fd = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
        except OSError:
            return None
        try:
            # Looked at once it is ours: its owner may have written up to its end.
            if _locked(fd) and stat.S_ISREG((status := os.fstat(fd)).st_mode) and status.st_nlink > 0:
                segment = cls(path, fd, max(status.st_size, HEADER_BYTES))
                segment.is_adopted = True
                segment._read_to = segment._read_header()
                return segment
        except OSError:
            pass  # what cannot be read now may be read at the next start
        os.close(fd)
        return None

    def append(self, line: bytes) -> None:
        """Add one line (see `line_of`). Raises OSError, and then holds nothing of it."""
        fd, at, written = self._descriptor(), self.size, 0
        try:
            # Its place is taken first: a handler of a signal may add a line before this one is written.
            self.size += len(line)
            while written < len(line):
                written += os.pwrite(fd, line[written:] if written else line, at + written)
        except BaseException:
            # A full disk, or a handler that raised. Where a line was added behind it, what is left here ends as a line.
            if self.size <= at + len(line):
                self.size = at
                _cut(fd, at)
            else:
                os.pwrite(fd, b"\n", at + len(line) - 1)
            raise

    def take(self, max_items: int, max_bytes: int) -> list[Record]:
        """The next records that nobody took, at least one where there is one; raises OSError."""
        taken: list[Record] = []
        room = max_bytes
        while len(taken) < max_items and (line := self._line()) is not None:
            start = self._read_to
            if taken and len(line) > room:
                self._carry = line + self._carry
                break
            self._read_to += len(line)
            room -= len(line)
            record = _record(line, self, start)
            if record is None:
                self.damaged += 1
            else:
                self._open[start] = None
                taken.append(record)
        return taken

    def finish(self, start: int) -> None:
        """A record needs no sending any more."""
        self._open.pop(start, None)

    def note_progress(self) -> None:
        """Write down what is finished, so that the next process begins behind it; raises OSError."""
        self._write_header(next(iter(self._open), self._read_to))

    @property
    def is_finished(self) -> bool:
        """Whether nothing in it has to be sent any more."""
        return not self._open and self._read_to >= self.size

    @property
    def is_open(self) -> bool:
        return self._fd is not None

    def sync(self) -> None:
        """Wait until it is on the disk; raises OSError."""
        os.fsync(self._descriptor())

    def remove(self) -> None:
        """Delete it; one that is gone already is no fault."""
        with contextlib.suppress(OSError):
            os.unlink(self.path)
        self.close()

    def close(self) -> None:
        """Give up the lock, and keep the file for whoever comes next."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _line(self) -> bytes | None:
        """The next line as it stands; without a newline where a writer was cut off; None at the end."""
        while (end := self._carry.find(b"\n")) < 0:
            at = self._read_to + len(self._carry)
            more = os.pread(self._descriptor(), min(_READ_BYTES, self.size - at), at) if at < self.size else b""
            if not more or len(self._carry) > _MAX_LINE_BYTES:
                line, self._carry = self._carry, b""
                return line or None
            self._carry += more
        line, self._carry = self._carry[: end + 1], self._carry[end + 1 :]
        return line

    def _write_header(self, done: int) -> None:
        text = b"%s %016x" % (_MAGIC, done)
        os.pwrite(self._descriptor(), b"%s %08x\n" % (text, zlib.crc32(text)), 0)

    def _read_header(self) -> int:
        header = os.pread(self._descriptor(), HEADER_BYTES, 0)
        text, _, checksum = header.rstrip(b"\n").rpartition(b" ")
        if not text.startswith(_MAGIC) or checksum != b"%08x" % zlib.crc32(text):
            return HEADER_BYTES
        return min(max(int(text.split()[1], 16), HEADER_BYTES), self.size)

    def _descriptor(self) -> int:
        if self._fd is None:
            raise OSError(f"The segment is closed: {self.path.name}")
        return self._fd


def line_of(body: bytes) -> bytes:
    """A record as it stands in the file."""
    return b"".join((b"%08x " % zlib.crc32(body), body, b"\n"))


def require_locks() -> None:
    """Raises SpoolError where the system has no locks that end with their process."""
    if fcntl is None:
        raise SpoolError("This system has no flock: interactions wait in memory alone.")


def _record(line: bytes, segment: Segment, start: int) -> Record | None:
    # A gap in a file reads as zeros, and has no end of its own.
    whole = line.lstrip(b"\0")
    checksum, body = whole[:8], whole[9:-1]
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(body):
        return None
    return Record(body, segment, start)


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _cut(fd: int, size: int) -> None:
    # What cannot be cut off is overwritten by the next line, or skipped for its checksum.
    with contextlib.suppress(OSError):
        os.ftruncate(fd, size)
