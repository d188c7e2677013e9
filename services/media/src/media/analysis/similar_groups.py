"""Which pictures are alike: new ones join the clusters there are, and what is left over makes clusters of its own.

A cluster that is there keeps its members, so that nothing moves when items are added. An item joins the cluster whose
members are nearest to it on average, if they are near enough. The others are grouped bottom-up by the mean distance of
their members (average linkage), which needs no number of clusters, and leaves alone what is like nothing else.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import AgglomerativeClustering

from media.analysis.analysis_findings import Grouping

Floats = NDArray[np.float32]
LEAST_MEMBERS = 2


def group(items: Sequence[str], middles: Mapping[str, str], nearness: float) -> Grouping:
    """Group items by their vectors of length one, which are written as `[0.1,0.2]`.

    `middles` has the mean vector of each cluster there is. Items whose cosine is at least `nearness` on average are
    one cluster.
    """
    if not items:
        return Grouping({}, [])
    given = _vectors(items)
    joined = _joined(given, middles, nearness)
    left = [number for number in range(len(items)) if number not in joined]
    return Grouping(joined, [found for found in _grouped(given, left, nearness) if len(found) >= LEAST_MEMBERS])


def _vectors(written: Sequence[str]) -> Floats:
    return np.stack([np.array(text[1:-1].split(","), dtype=np.float32) for text in written])


def _joined(given: Floats, middles: Mapping[str, str], nearness: float) -> dict[int, str]:
    if not middles:
        return {}
    names = list(middles)
    # The mean of the cosines with all members is the product with the mean of them.
    near = given @ _vectors(list(middles.values())).T
    best = near.argmax(axis=1)
    return {number: names[at] for number, at in enumerate(best) if near[number, at] >= nearness}


def _grouped(given: Floats, left: list[int], nearness: float) -> list[list[int]]:
    if len(left) < LEAST_MEMBERS:
        return []
    grouping = AgglomerativeClustering(
        n_clusters=None, distance_threshold=1 - nearness, metric="cosine", linkage="average"
    )
    found: dict[int, list[int]] = {}
    for number, label in zip(left, grouping.fit_predict(given[left]), strict=True):
        found.setdefault(int(label), []).append(number)
    return list(found.values())
