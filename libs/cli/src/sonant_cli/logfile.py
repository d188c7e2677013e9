"""The log files of supervised processes: bounded in size, shown in part or as they grow."""

import asyncio
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

# Enough for days of a quiet installation, small enough to open in an editor.
MAX_BYTES = 10_000_000


def rotate(path: Path, limit: int = MAX_BYTES) -> None:
    """Move what `path` holds to `path`.1 once it exceeds `limit` bytes.

    The content is copied and the file truncated in place, because a running process keeps its file open.
    """
    if not path.exists() or path.stat().st_size <= limit:
        return
    shutil.copyfile(path, path.with_name(f"{path.name}.1"))
    with path.open("r+b") as file:
        file.truncate(0)


def tail(path: Path, lines: int = 20, max_bytes: int = 20_000) -> list[str]:
    """The last `lines` lines among the last `max_bytes` bytes of `path`; none where it does not exist."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - max_bytes))
        return file.read().decode(errors="replace").splitlines()[-lines:]


async def follow(paths: Mapping[str, Path], show: Callable[[str, str], None], pause: float = 0.1) -> None:
    """Pass every new line of the files to `show(name, line)`, for ever."""
    offsets = {name: _size(path) for name, path in paths.items()}
    while True:
        for name, path in paths.items():
            offsets[name] = _show_new(name, path, offsets[name], show)
        await asyncio.sleep(pause)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _show_new(name: str, path: Path, offset: int, show: Callable[[str, str], None]) -> int:
    """Show the complete lines after `offset`; the offset up to which all was shown."""
    size = _size(path)
    if size < offset:
        offset = 0
    if size == offset:
        return offset
    with path.open("rb") as file:
        file.seek(offset)
        complete = file.read(size - offset).rpartition(b"\n")[0]
    for line in complete.splitlines():
        show(name, line.decode(errors="replace"))
    return offset + len(complete) + 1 if complete else offset
