"""Which pictures are alike: new ones join the clusters there are, and what is left over makes clusters of its own.

A cluster that is there keeps its members, so that nothing moves when items are added. An item joins the cluster whose
middle it is nearest to, if it is near enough. The others are grouped bottom-up by the mean distance of their members
(average linkage), which needs no number of clusters and leaves alone what is like nothing else.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import AgglomerativeClustering

from media.analysis.analysis_findings import Grouping

Floats = NDArray[np.float32]
# All distances of so many items are some 36 MB; of more the newest are grouped, and the rest later.
MOST = 3000
METHOD = "average-linkage"


def group(
    vectors: Sequence[Sequence[float]], clusters: Sequence[str | None], *, nearness: float, least: int = 2
) -> Grouping:
    """Group items by their vectors, oldest first; `clusters` names the cluster that each is in already.

    Items whose cosine is at least `nearness` (on average) are one cluster, of at least `least`.
    """
    given = np.asarray(vectors, dtype=np.float32).reshape(len(vectors), -1)
    given = given / np.maximum(np.linalg.norm(given, axis=1, keepdims=True), 1e-9)
    members: dict[str, list[int]] = {}
    for number, name in enumerate(clusters):
        if name is not None:
            members.setdefault(name, []).append(number)
    joined = _joined(given, clusters, members, nearness)
    for number, name in joined.items():
        members[name].append(number)
    left = [number for number, name in enumerate(clusters) if name is None and number not in joined][-MOST:]
    new = [found for found in _grouped(given, left, nearness) if len(found) >= least]
    named: Mapping[str, list[int]] = {**members, **{f"new-{at}": found for at, found in enumerate(new)}}
    method = {"name": METHOD, "metric": "cosine", "least_similarity": nearness, "least_members": least}
    return Grouping(joined, new, {name: _middle(given, found) for name, found in named.items()}, method)


def _joined(
    given: Floats, clusters: Sequence[str | None], members: Mapping[str, list[int]], nearness: float
) -> dict[int, str]:
    if not members:
        return {}
    names = list(members)
    middles = np.stack([given[members[name]].mean(axis=0) for name in names])
    left = [number for number, name in enumerate(clusters) if name is None]
    # The mean of cosines with all members is the product with their mean.
    near = given[left] @ middles.T
    best = near.argmax(axis=1) if len(left) else []
    return {number: names[at] for row, (number, at) in enumerate(zip(left, best, strict=True)) if near[row, at] >= nearness}


def _grouped(given: Floats, left: list[int], nearness: float) -> list[list[int]]:
    if len(left) < 2:
        return []
    linkage = AgglomerativeClustering(
        n_clusters=None, distance_threshold=1 - nearness, metric="cosine", linkage="average"
    )
    found: dict[int, list[int]] = {}
    for number, label in zip(left, linkage.fit_predict(given[left]), strict=True):
        found.setdefault(int(label), []).append(number)
    return list(found.values())


def _middle(given: Floats, found: list[int]) -> int:
    """The member that is nearest to the mean of all."""
    some = given[found]
    return found[int(np.argmax(some @ some.mean(axis=0)))]
