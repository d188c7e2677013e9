"""The index of songs in FAISS: what it finds, how it grows and shrinks, and what its file is worth."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from common.events.songs import DIMENSIONS
from media.song_ports import Nearest, Numbered
from media.song_vectors import faiss_index, index_process
from media.song_vectors.faiss_index import VectorIndex

Floats = NDArray[np.float32]


def vectors(count: int, seed: int = 1) -> Floats:
    made = np.random.default_rng(seed).normal(size=(count, DIMENSIONS)).astype("<f4")
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), dtype="<f4")


def numbered(data: Floats, first: int = 1) -> list[Numbered]:
    return [Numbered(first + at, vector.tobytes()) for at, vector in enumerate(data)]


def numbers(index: VectorIndex, query: Floats, limit: int = 3, among: Sequence[int] | None = None) -> list[int]:
    return [near.number for near in index.nearest(query.tobytes(), limit, among).found]


def test_the_nearest_are_those_of_the_largest_product() -> None:
    data = vectors(500)
    index = VectorIndex()
    index.apply(1, numbered(data, first=10), [])
    truth = np.argsort(-(data @ data[7]))[:5] + 10
    assert numbers(index, data[7], 5) == truth.tolist()
    found = index.nearest(data[7].tobytes(), 1, None)
    assert found.exact
    assert found.found[0].score == pytest.approx(1.0, abs=1e-5)
    assert index.clock == 1


def test_only_candidates_are_found_and_unknown_numbers_are_passed_over() -> None:
    data = vectors(100)
    index = VectorIndex()
    index.apply(1, numbered(data), [])
    assert numbers(index, data[0], 5, among=[4, 9, 5000]) in ([4, 9], [9, 4])
    assert numbers(index, data[0], 5, among=[]) == []
    assert VectorIndex().nearest(data[0].tobytes(), 3, None).found == ()


def test_what_is_removed_is_found_no_more_and_makes_room() -> None:
    data = vectors(100)
    index = VectorIndex()
    index.apply(1, numbered(data), [])
    index.apply(2, [], [1, 2, 999])
    assert len(index) == 98
    assert numbers(index, data[0], 98).count(1) == 0
    index.apply(3, numbered(data[:1], first=200), list(range(3, 60)))
    assert len(index) == 42
    assert numbers(index, data[0], 1) == [200]
    # The same change once more changes nothing.
    index.apply(3, numbered(data[:1], first=200), [])
    assert len(index) == 42


def test_it_becomes_a_graph_that_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faiss_index, "FLAT_MOST", 1000)
    data = vectors(3000)
    index = VectorIndex()
    for at in range(0, 3000, 500):
        index.apply(at + 1, numbered(data[at : at + 500], first=at + 1), [])
    assert not index.flat
    index.apply(4000, [], [1, 2, 3])
    hits = 0.0
    for query in data[100:150]:
        truth = set((np.argsort(-(data @ query))[:10] + 1).tolist()) - {1, 2, 3}
        hits += len(truth & set(numbers(index, query, 10))) / len(truth)
    assert hits / 50 >= 0.95
    monkeypatch.setattr(faiss_index, "FEW", 10)
    few = list(range(500, 1500))
    found = numbers(index, data[700], 10, among=few)
    assert found[0] == 701
    assert set(found) <= set(few)


def test_a_file_holds_all_of_it_and_a_damaged_or_older_one_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, path = vectors(50), tmp_path / "org" / "vectors.npz"
    index = VectorIndex()
    index.apply(7, numbered(data), [3])
    index.save(path)
    again = VectorIndex.load(path)
    assert (again.clock, len(again)) == (7, 49)
    assert numbers(again, data[4], 1) == [5]
    assert [each.name for each in path.parent.iterdir()] == ["vectors.npz"]
    with monkeypatch.context() as other:
        other.setattr("media.song_vectors.faiss_index.VERSION", 1)
        with pytest.raises(ValueError, match="version"):
            VectorIndex.load(path)
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(ValueError, match="damaged"):
        VectorIndex.load(path)
    assert index_process.clock_of(path) == 0
    assert index_process.nearest(path, data[0].tobytes(), 3, None) == (0, Nearest((), exact=True))
    assert index_process.apply(path, 1, numbered(data), []) == 1
    clock, nearest = index_process.nearest(path, data[0].tobytes(), 1, None)
    assert (clock, nearest.found[0].number) == (1, 1)
