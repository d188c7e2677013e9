"""What the process of the index does: keeps the indexes of the organisations that are asked for, each with its file.

The rows in PostgreSQL are what counts. An index that is lost, damaged or behind is brought up from them; its file only
saves that work.
"""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from media.song_ports import Nearest, Numbered
from media.song_vectors.faiss_index import VectorIndex, faiss

# Vectors kept in memory over all organisations: about a gigabyte. Whoever was asked least lately goes first.
MOST_VECTORS = 500_000
# So many changes, or that share of it, are worth another file.
SAVE_CHANGES, SAVE_SHARE = 1_000, 0.1
_open: OrderedDict[Path, VectorIndex] = OrderedDict()
# The other core is for voice turns.
faiss.omp_set_num_threads(1)


def clock_of(path: Path) -> int:
    """The change up to which the index of this file is known; 0 for one that is not there."""
    return _index(path).clock


def apply(path: Path, clock: int, added: Sequence[Numbered], removed: Sequence[int]) -> int:
    """Take in what changed behind the index's clock; returns the new clock."""
    index = _index(path)
    if clock > index.clock:
        index.apply(clock, added, removed)
        if index.unsaved >= max(SAVE_CHANGES, SAVE_SHARE * len(index)):
            index.save(path)
    return index.clock


def nearest(path: Path, vector: bytes, limit: int, among: Sequence[int] | None) -> tuple[int, Nearest]:
    """The nearest vectors, behind the change up to which the index knows them."""
    index = _index(path)
    return index.clock, index.nearest(vector, limit, among)


def save(path: Path) -> None:
    """Write what is not in the file."""
    index = _index(path)
    if index.unsaved:
        index.save(path)


def _index(path: Path) -> VectorIndex:
    if path not in _open:
        _open[path] = _loaded(path)
    _open.move_to_end(path)
    while len(_open) > 1 and sum(len(each) for each in _open.values()) > MOST_VECTORS:
        gone, index = _open.popitem(last=False)
        if index.unsaved:
            index.save(gone)
    return _open[path]


def _loaded(path: Path) -> VectorIndex:
    try:
        return VectorIndex.load(path)
    except FileNotFoundError:
        return VectorIndex()
    except (OSError, ValueError):
        # The rows have all that was in it.
        path.unlink(missing_ok=True)
        return VectorIndex()
