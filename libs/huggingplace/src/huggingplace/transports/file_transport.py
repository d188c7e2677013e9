"""Interactions as lines of JSON: to a file, or to the standard output."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from huggingplace.errors import NetworkError
from huggingplace.transports.transport import Batch, Transport


class FileTransport(Transport):
    """Appends to a file, which several processes may share: a batch is one write."""

    name = "file"

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._fd: int | None = None
        self._torn = False
        self._lock = threading.Lock()
        self.name = f"file:{self._path}"

    def send(self, batch: Batch) -> None:
        lines = b"".join(body + b"\n" for body in batch.bodies)
        with self._lock:
            try:
                self._write(lines)
            except OSError as error:
                raise NetworkError(f"{self._path} cannot be written to: {error}") from error

    def close(self) -> None:
        with self._lock:
            fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def forget(self) -> None:
        # The lock may be held by a thread that is not in this process.
        self._lock = threading.Lock()
        self.close()

    def _write(self, lines: bytes) -> None:
        if self._fd is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        # Half a line, as a full disk leaves it, is ended before the next one begins.
        lines = b"\n" + lines if self._torn else lines
        self._torn = True
        while lines:
            lines = lines[os.write(self._fd, lines) :]
        self._torn = False


class StdoutTransport(Transport):
    """Prints, for development and for collectors that read what a container says."""

    name = "stdout"

    def send(self, batch: Batch) -> None:
        stream = getattr(sys.stdout, "buffer", None)
        try:
            if stream is None:
                sys.stdout.write("".join(body.decode() + "\n" for body in batch.bodies))
            else:
                stream.write(b"".join(body + b"\n" for body in batch.bodies))
            sys.stdout.flush()
        except (OSError, ValueError) as error:
            raise NetworkError(f"The standard output cannot be written to: {error}") from error
