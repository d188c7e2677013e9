"""The vectors of one organisation's songs in FAISS: looked at one by one while they are few, by a graph past that.

Small is `FLAT_MOST`: there a look at all of them takes about a millisecond, and misses nothing
(`python -m tests.bench.songs` measures both). The graph is HNSW (Malkov and Yashunin, "Efficient and robust approximate
nearest neighbor search using hierarchical navigable small world graphs", 2016); it grows by adding. What is removed
stays in it unseen, until there is so much of it that it is built again. Runs in the process of the index.
"""

import importlib
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.events.songs import DIMENSIONS
from media.song_ports import Near, Nearest, Numbered
from media.song_vectors.song_embedding import VERSION

# Its own declarations are those of C++, and say little of what Python may pass.
faiss: Any = importlib.import_module("faiss")
FLAT_MOST = 10_000
# The neighbours of a vector in the graph, and how many are looked at: when it is built, and when it is asked.
LINKS, EFFORT_BUILDING, EFFORT_ASKING = 32, 100, 48
# With fewer candidates than this a look at each is faster than the graph, and misses nothing.
FEW = 20_000
REMOVED_MOST = 0.3
Floats = NDArray[np.float32]


class VectorIndex:
    """An index as it was after the change `clock`. `numbers` are those of its vectors, in rising order."""

    def __init__(self) -> None:
        self.clock = 0
        self.unsaved = 0
        self._index: Any = faiss.IndexFlatIP(DIMENSIONS)
        self._numbers = np.empty(0, dtype=np.int64)
        self._alive = np.empty(0, dtype=bool)

    def __len__(self) -> int:
        return int(self._alive.sum())

    @property
    def flat(self) -> bool:
        """Whether every vector is looked at."""
        return isinstance(self._index, faiss.IndexFlatIP)

    # -- changes

    def apply(self, clock: int, added: Sequence[Numbered], removed: Sequence[int]) -> None:
        """Take in what changed up to `clock`; a number that is there already is not added again."""
        known = len(self._numbers)
        fresh = [each for each in added if not known or each.number > self._numbers[-1]]
        if fresh:
            vectors = np.frombuffer(b"".join(each.vector for each in fresh), dtype="<f4").reshape(-1, DIMENSIONS)
            self._add(np.ascontiguousarray(vectors), np.array([each.number for each in fresh], dtype=np.int64))
        at = self._places(removed)
        self._alive[at] = False
        self.clock, self.unsaved = clock, self.unsaved + len(fresh) + len(at)
        if len(self._alive) and self._alive.mean() < 1 - REMOVED_MOST:
            self._rebuild()

    def _add(self, vectors: Floats, numbers: NDArray[np.int64]) -> None:
        self._numbers = np.concatenate([self._numbers, numbers])
        self._alive = np.concatenate([self._alive, np.ones(len(numbers), dtype=bool)])
        if self.flat and len(self._numbers) > FLAT_MOST:
            self._index = _graph(np.concatenate([self._vectors(), vectors]))
        else:
            self._index.add(vectors)

    def _rebuild(self) -> None:
        vectors = self._vectors()[self._alive].copy()
        self._numbers = self._numbers[self._alive]
        self._alive = np.ones(len(self._numbers), dtype=bool)
        if len(self._numbers) > FLAT_MOST:
            self._index = _graph(vectors)
            return
        self._index = faiss.IndexFlatIP(DIMENSIONS)
        self._index.add(vectors)

    def _vectors(self) -> Floats:
        """All vectors, as they stand in the index; shape (n, `DIMENSIONS`)."""
        storage = self._index if self.flat else faiss.downcast_index(self._index.storage)
        if not storage.ntotal:
            return np.empty((0, DIMENSIONS), dtype=np.float32)
        view = faiss.rev_swig_ptr(storage.get_xb(), storage.ntotal * DIMENSIONS)
        return np.asarray(view.reshape(storage.ntotal, DIMENSIONS), dtype=np.float32)

    def _places(self, numbers: Sequence[int]) -> NDArray[np.int64]:
        """Where these numbers stand; those that are not there are left out."""
        wanted = np.asarray(numbers, dtype=np.int64)
        at = np.searchsorted(self._numbers, wanted)
        there = at < len(self._numbers)
        there[there] = self._numbers[at[there]] == wanted[there]
        return np.asarray(at[there], dtype=np.int64)

    # -- questions

    def nearest(self, vector: bytes, limit: int, among: Sequence[int] | None) -> Nearest:
        """The nearest to one vector by inner product."""
        query = np.frombuffer(vector, dtype="<f4").reshape(1, DIMENSIONS)
        if among is None:
            return self._searched(query, limit, self._alive)
        places = self._places(among)
        places = places[self._alive[places]]
        if len(places) <= FEW:
            return self._compared(query, limit, places)
        allowed = np.zeros(len(self._alive), dtype=bool)
        allowed[places] = True
        return self._searched(query, limit, allowed)

    def _searched(self, query: Floats, limit: int, allowed: NDArray[np.bool_]) -> Nearest:
        if not allowed.any():
            return Nearest((), exact=True)
        selector = None if allowed.all() else faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        if self.flat:
            options = faiss.SearchParameters(sel=selector)
        else:
            options = faiss.SearchParametersHNSW(sel=selector, efSearch=max(EFFORT_ASKING, 2 * limit))
        scores, places = self._index.search(query, limit, params=options)
        found = [
            Near(int(self._numbers[at]), float(score))
            for at, score in zip(places[0], scores[0], strict=True)
            if at >= 0
        ]
        return Nearest(found, exact=self.flat)

    def _compared(self, query: Floats, limit: int, places: NDArray[np.int64]) -> Nearest:
        scores = self._vectors()[places] @ query[0]
        best = np.argsort(-scores)[:limit]
        return Nearest([Near(int(self._numbers[places[at]]), float(scores[at])) for at in best], exact=True)

    # -- the file

    def save(self, path: Path) -> None:
        """Write it, as a whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with draft.open("wb") as file:
                data = faiss.serialize_index(self._index)
                np.savez(file, index=data, numbers=self._numbers, alive=self._alive, clock=self.clock, version=VERSION)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        self.unsaved = 0

    @classmethod
    def load(cls, path: Path) -> "VectorIndex":
        """As it was saved. Raises OSError, and ValueError for a file that is damaged."""
        found = cls()
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
                found._index = faiss.deserialize_index(data["index"])
                found._numbers, found._alive = data["numbers"], data["alive"]
                found.clock, version = int(data["clock"]), int(data["version"])
        except (KeyError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
            raise ValueError(f"the file of the index is damaged: {error}") from None
        if version != VERSION:
            raise ValueError(f"the vectors of the file are of version {version}")
        if found._index.d != DIMENSIONS or not found._index.ntotal == len(found._numbers) == len(found._alive):
            raise ValueError("the file of the index is of another kind")
        return found


def _graph(vectors: Floats) -> Any:
    index = faiss.IndexHNSWFlat(DIMENSIONS, LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = EFFORT_BUILDING
    index.add(np.ascontiguousarray(vectors))
    return index
