"""What the service has the process of the index do; FAISS is imported inside, so that only that process loads it."""

from collections.abc import Sequence
from pathlib import Path

from media.song_ports import Nearest, Numbered


def clock_of(path: Path) -> int:
    """The change up to which the index of this file is known."""
    from media.song_vectors import index_process

    return index_process.clock_of(path)


def apply(path: Path, clock: int, added: Sequence[Numbered], removed: Sequence[int]) -> int:
    """Take in what changed; returns the clock of the index."""
    from media.song_vectors import index_process

    return index_process.apply(path, clock, added, removed)


def nearest(path: Path, vector: bytes, limit: int, among: Sequence[int] | None) -> tuple[int, Nearest]:
    """The nearest vectors, behind the change up to which the index knows them."""
    from media.song_vectors import index_process

    return index_process.nearest(path, vector, limit, among)


def save(path: Path) -> None:
    """Write what is not in the file."""
    from media.song_vectors import index_process

    index_process.save(path)
