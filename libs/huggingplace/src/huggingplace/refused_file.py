"""What the server will never take is kept on disk for whoever wants to know why."""

from __future__ import annotations

import os
import time
from pathlib import Path

from huggingplace.errors import RefusedError
from huggingplace.json_text import encode

NAME = "refused.jsonl"
OLD_NAME = "refused.old.jsonl"
# Of each of the two files.
MAX_BYTES = 8 * 1024 * 1024


def keep(directory: Path, body: bytes, error: RefusedError) -> None:
    """Add a line with the reason and the item. A full file becomes the old one. Raises OSError."""
    path = directory / NAME
    about = {"at": time.time(), "status": error.status, "code": error.code, "message": str(error)}
    line = encode(about)[:-1] + b',"item":' + body + b"}\n"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        if os.fstat(fd).st_size + len(line) > MAX_BYTES:
            os.replace(path, directory / OLD_NAME)
            os.close(fd)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(fd, line)
    finally:
        os.close(fd)
