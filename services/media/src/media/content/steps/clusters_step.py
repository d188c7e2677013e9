"""The step that keeps the items, and finds which of the project are alike: clusters, and near-duplicates."""

import asyncio
import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from common.events.analyses import Cluster, ItemKind
from common.failures import Retry
from media.analysis import analysis_calls
from media.analysis.analysis_findings import Grouping
from media.content.analysis_course import Course
from media.content.cluster_labels import label_of
from media.content.steps.embeddings_step import MODEL
from media.content_ports import ClusterMade, Comparable, KeptAnalysis, Loose, ProjectState

VERSION = 1
# Cosines from which two are alike, by tests/bench/alike_pictures.py: all pairs of one shot are, and 3 in 1,000 of
# different ones. Of colours and edges it is 7 in 10, and 16 in 1,000.
NEARNESS = {MODEL: 0.75}
PLAIN_NEARNESS = 0.9
# More than this many items in no cluster are grouped a part at a time, the newest first.
MAX_LOOSE = 1000
# Others may change the project meanwhile; then it is done again.
TRIES, PAUSE = 5, 0.2
# Pictures whose hashes differ in so few of 64 bits are the same one, scaled or compressed.
DUPLICATE_BITS = 6
KINDS: tuple[ItemKind, ...] = ("shot", "image", "face")


async def run(course: Course) -> None:
    """Fill `clusters`, `clustering` and `near_duplicates`."""
    await begin(course)
    rows, org_id = course.desk.rows, course.work.job.org_id
    nearness = nearness_of(course.looks_by)
    for kind in KINDS:
        if any(item.kind == kind for item in course.items):
            await _regrouped(course, kind, nearness)
    course.clustering = method(course.looks_by, nearness)
    found = await rows.clusters_of(org_id, course.id)
    course.clusters = [
        Cluster(
            id=row.id,
            kind=row.kind,
            label=row.label,
            size=row.size,
            representative=row.representative,
            of_this=tuple(row.of_this),
        )
        for row in found
    ]
    duplicates = await rows.duplicates(org_id, course.id, DUPLICATE_BITS)
    course.near_duplicates = [{"item": own, "other": other, "bits": bits} for own, other, bits in duplicates]


def nearness_of(model: str) -> float:
    """From which cosine on two items are alike."""
    return NEARNESS.get(model, PLAIN_NEARNESS)


def method(model: str, nearness: float) -> dict[str, object]:
    """How clusters are made, for their reader."""
    return {
        "name": "average-linkage",
        "metric": "cosine",
        "least_similarity": nearness,
        "least_members": 2,
        "model": model,
        "stable": "items join clusters there are; what is in a cluster stays there",
    }


async def begin(course: Course) -> None:
    """Keep the analysis as a draft, with its items."""
    kept = KeptAnalysis(
        id=course.id,
        org_id=course.work.job.org_id,
        project=course.wish.project,
        title=course.wish.title,
        media=course.facts.kind,
        job_id=course.work.job.id,
        created_at=datetime.now(UTC),
    )
    await course.desk.rows.begin(kept, course.items)


async def _regrouped(course: Course, kind: ItemKind, nearness: float) -> None:
    rows = course.desk.rows
    of = Comparable(course.work.job.org_id, course.wish.project, kind, course.looks_by)
    for _ in range(TRIES):
        state = await rows.state(of, MAX_LOOSE)
        vectors = [item.vector for item in state.loose]
        grouping: Grouping = await course.cpu(analysis_calls.group, vectors, dict(state.middles), nearness)
        made = [*_joined(grouping, state), *_new(grouping, state.loose, kind, len(state.middles))]
        if not made or await rows.regroup(of, state.revision, made):
            return
        await asyncio.sleep(PAUSE)
    raise Retry("The project is being changed by many at once.")


def _joined(grouping: Grouping, state: ProjectState) -> list[ClusterMade]:
    members: dict[str, list[str]] = {}
    for number, name in grouping.joined.items():
        members.setdefault(name, []).append(state.loose[number].id)
    return [ClusterMade(name, ids, None) for name, ids in members.items()]


def _new(grouping: Grouping, loose: Sequence[Loose], kind: ItemKind, there: int) -> list[ClusterMade]:
    made, said = [], Counter[str]()
    for number, found in enumerate(grouping.new):
        label = label_of(kind, [loose[at].looks for at in found], there + number + 1)
        said[label] += 1
        again = f" {said[label]}" if said[label] > 1 else ""
        made.append(ClusterMade(f"cls_{uuid.uuid4().hex}", [loose[at].id for at in found], label + again))
    return made
