"""A real file system that is small enough to be filled up."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BLOCK = 64 * 1024


class SmallDisk:
    """A mounted file system; `fill` takes all room on it, `make_room` gives it back."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._ballast = root / "ballast"

    def fill(self) -> None:
        """Write until not one more byte fits; files that grow meanwhile lose the race."""
        for size in (BLOCK, 1):
            with self._ballast.open("ab", buffering=0) as file:
                while _fits(file.fileno(), b"x" * size):
                    pass

    def make_room(self) -> None:
        """Give back what `fill` took."""
        self._ballast.unlink()


def _fits(descriptor: int, data: bytes) -> bool:
    try:
        return os.write(descriptor, data) == len(data)
    except OSError:
        return False


@contextmanager
def small_disk(root: Path, megabytes: int) -> Iterator[SmallDisk]:
    """A tmpfs at `root`, which it creates; skips the test where this account may not mount."""
    root.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(root)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield SmallDisk(root)
    finally:
        subprocess.run(["umount", "--lazy", str(root)], check=True)
