"""The log files of supervised processes: bounded in size and number, shown in part or as they grow."""

import asyncio
import fcntl
import io
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

# Enough for days of a quiet installation, small enough to open in an editor.
MAX_BYTES = 10_000_000
# Older files kept beside the one being written: `path`.1 is the youngest.
KEPT = 2
# What a process may write while the supervisor is held up, before it has to wait; Linux gives so much to anybody.
PIPE_BYTES = 1024 * 1024
READ_BYTES = 256 * 1024
# What of a log is read for its last lines.
TAIL_BYTES = 20_000


class LogFile:
    """Appends to `path`. Beyond `limit` bytes it is renamed and begun anew; at most `kept` older files stay.

    Nothing raises: what cannot be written, the disk being full or the folder gone, is lost. How much was lost stands in
    the file once it can be written again.
    """

    def __init__(self, path: Path, limit: int = MAX_BYTES, kept: int = KEPT) -> None:
        self.path = path
        self._limit = limit
        self._kept = kept
        self._file: io.FileIO | None = None
        self._size = 0
        self._lost = 0
        # What this object wrote, in bytes: everything before it is of an earlier run.
        self.written = 0

    def write(self, data: bytes) -> None:
        """Append `data`, or as much of it as there is room for."""
        try:
            self._write(data)
        except OSError:
            self._lost += len(data)
            # What is opened anew may be another file by then, such as one that somebody has put in its place.
            self.close()

    def note(self, text: str) -> None:
        """Append a line of the supervisor's own."""
        self.write(f"supervisor: {text}\n".encode())

    def close(self) -> None:
        """Let go of the file; the next write opens it again."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None

    def _write(self, data: bytes) -> None:
        file = self._opened()
        told = b""
        if self._lost:
            told = f"supervisor: {self._lost} bytes of this log could not be written and are lost\n".encode()
        missing = len(told) + len(data) - self._append(file, told + data)
        self._lost = self._lost + len(data) if missing > len(data) else missing
        if missing:
            self.close()

    def _append(self, file: io.FileIO, data: bytes) -> int:
        written = file.write(data) or 0
        self._size += written
        self.written += written
        return written

    def _opened(self) -> io.FileIO:
        if self._file is not None and self._size >= self._limit:
            self.close()
        if self._file is None:
            if _size(self.path) >= self._limit:
                self._rotate()
            self._file = io.FileIO(self.path, "ab")
            self._size = _size(self.path)
        return self._file

    def _rotate(self) -> None:
        """Rename what there is, the oldest first; renaming needs no room, and the oldest file gives its own."""
        names = [self.path, *(self.path.with_name(f"{self.path.name}.{number + 1}") for number in range(self._kept))]
        names[-1].unlink(missing_ok=True)
        for older, younger in zip(reversed(names[1:]), reversed(names[:-1]), strict=True):
            if younger.exists():
                younger.replace(older)


class OutputPipe:
    """What a process and its successors print, on its way into a log file.

    The supervisor holds both ends, so that no output is lost between two lives, and no process meets a full disk or a
    file that was renamed under it.
    """

    def __init__(self, log: LogFile) -> None:
        self._log = log
        self._read_end, self.write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        if sys.platform == "linux":
            # Refused where the account has used up what it may give to pipes; the usual size then does.
            with suppress(OSError):
                fcntl.fcntl(self.write_end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        asyncio.get_running_loop().add_reader(self._read_end, self._forward)

    def _forward(self) -> bool:
        """Write what has arrived; whether anything had."""
        try:
            data = os.read(self._read_end, READ_BYTES)
        except BlockingIOError:
            return False
        self._log.write(data)
        return bool(data)

    def drain(self) -> None:
        """Write what has been printed up to now."""
        for _ in range(PIPE_BYTES // READ_BYTES + 1):
            if not self._forward():
                break

    def close(self) -> None:
        """Write what is left, and end; whoever still prints is told so by the kernel."""
        asyncio.get_running_loop().remove_reader(self._read_end)
        os.close(self.write_end)
        self.drain()
        os.close(self._read_end)
        self._log.close()


def tail(path: Path, lines: int = 20, max_bytes: int = TAIL_BYTES) -> list[str]:
    """The last `lines` lines among the last `max_bytes` bytes of `path`; none where it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - max_bytes))
            return file.read().decode(errors="replace").splitlines()[-lines:]
    except OSError:
        return []


async def follow(paths: Mapping[str, Path], show: Callable[[str, str], None], pause: float = 0.1) -> None:
    """Pass every new line of the files to `show(name, line)`, for ever."""
    followed = {name: _Followed(path) for name, path in paths.items()}
    try:
        while True:
            for name, file in followed.items():
                for line in file.new_lines():
                    show(name, line)
            await asyncio.sleep(pause)
    finally:
        for file in followed.values():
            file.close()


class _Followed:
    """A log read as it grows, over its renames."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _opened(path)
        self._rest = b""
        if self._file is not None:
            self._file.seek(0, os.SEEK_END)

    def new_lines(self) -> list[str]:
        """The complete lines since the last call."""
        file = self._file or _opened(self._path)
        if file is None:
            return []
        found = file.read() or b""
        if self._was_renamed(file):
            # What was written between the read and the rename.
            found += file.read() or b""
            file.close()
            file = None
        self._file = file
        *lines, self._rest = (self._rest + found).split(b"\n")
        return [line.decode(errors="replace") for line in lines]

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()

    def _was_renamed(self, file: io.FileIO) -> bool:
        try:
            return not os.path.samestat(os.fstat(file.fileno()), self._path.stat())
        except OSError:
            return True


def _opened(path: Path) -> io.FileIO | None:
    try:
        return io.FileIO(path)
    except OSError:
        return None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
