"""What content analysis needs from outside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from common.events.analyses import ItemKind, MediaKind


@dataclass(frozen=True, slots=True)
class KeptAnalysis:
    """An analysis as it is kept; `result` is None while it is being made."""

    id: str
    org_id: str
    project: str
    title: str
    media: MediaKind
    job_id: str
    created_at: datetime
    result: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """A shot, an image or a face, with what it looks like.

    `picture` is the asset that shows it, `hash` its perceptual hash as 16 hex digits; `looks` is what a label of its
    cluster is made from: `names`, pairs of what it may show and how sure that is, and `colour`, red, green and blue.
    """

    id: str
    kind: ItemKind
    begin: float
    end: float
    picture: str | None
    model: str
    vector: Sequence[float]
    hash: str
    looks: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Comparable:
    """Which items are compared with one another: those of one project and kind, whose vectors one model made."""

    org_id: str
    project: str
    kind: ItemKind
    model: str


@dataclass(frozen=True, slots=True)
class Loose:
    """An item that is in no cluster; `vector` as the database writes it."""

    id: str
    vector: str
    looks: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ProjectState:
    """The items of a project that are to be grouped: the mean vector of each cluster, and the items in none.

    `revision` is the project's clock as it was then.
    """

    revision: int
    middles: Mapping[str, str]
    loose: Sequence[Loose]


@dataclass(frozen=True, slots=True)
class ClusterMade:
    """A new cluster, or one that items join (`label` None)."""

    id: str
    members: Sequence[str]
    label: str | None


@dataclass(frozen=True, slots=True)
class ClusterRow:
    """A cluster as it is kept, with those of its members that belong to the analysis asked about."""

    id: str
    kind: ItemKind
    label: str
    size: int
    representative: str
    of_this: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Near:
    """An item and how near it is."""

    id: str
    kind: ItemKind
    analysis_id: str
    begin: float
    end: float
    picture: str | None
    cluster_id: str | None
    similarity: float
    hash_distance: int


class AnalysisRows(Protocol):
    """Analyses, items and clusters of all organisations. Every method raises StoreUnavailableError."""

    async def begin(self, analysis: KeptAnalysis, items: Sequence[Item]) -> None:
        """Keep an analysis that is being made, in place of earlier drafts of its job."""

    async def state(self, of: Comparable, limit: int) -> ProjectState:
        """What is to be grouped: at most `limit` loose items, the newest, oldest first."""

    async def regroup(self, of: Comparable, revision: int, made: Sequence[ClusterMade]) -> bool:
        """Keep the clusters; False, and nothing done, where the project's clock has moved on."""

    async def clusters_of(self, org_id: str, analysis_id: str) -> Sequence[ClusterRow]:
        """The clusters that items of an analysis are in, the largest first."""

    async def duplicates(self, org_id: str, analysis_id: str, most_bits: int) -> Sequence[tuple[str, str, int]]:
        """Pairs of an item of the analysis and another of its project whose hashes differ little, and by how much."""

    async def finish(self, analysis: KeptAnalysis, assets: Sequence[str]) -> None:
        """Give it its result, and its files their own life beside the job's."""

    async def get(self, org_id: str, analysis_id: str) -> KeptAnalysis | None:
        """A finished analysis."""

    async def page(
        self, org_id: str, limit: int, after: str | None, *, project: str | None, media: str | None, text: str | None
    ) -> Sequence[KeptAnalysis]:
        """Finished analyses, newest first."""

    async def remove(self, org_id: str, analysis_id: str) -> bool:
        """Forget it with its items, and have its files expire; whether it was there."""

    async def drop_drafts(self, org_id: str, job_id: str) -> None:
        """Forget what a job left unfinished."""

    async def item_model(self, org_id: str, item_id: str) -> str | None:
        """Which model made the vector of an item; None where the organisation has no such item."""

    async def similar(self, org_id: str, item_id: str, limit: int) -> Sequence[Near]:
        """The nearest items of its project, of its kind and model, without itself."""

    async def clusters(self, org_id: str, project: str, kind: str | None, limit: int) -> Sequence[ClusterRow]:
        """Clusters of a project, the largest first."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Files of models, each None where it is not installed; `missing` says for each of those what to do."""

    faces: Path | None
    looks: Path | None
    names: Path | None
    missing: Mapping[str, str]


class AnalysisModels(Protocol):
    """Where the files of models are now."""

    def __call__(self) -> ModelFiles:
        """Look for them; they are read whole, so not in the event loop."""


@dataclass(frozen=True, slots=True)
class AnalysisDesk:
    """What analyses are made with; at most `max_seconds` of media, in pieces of `cpu_seconds` of the processor."""

    rows: AnalysisRows
    models: AnalysisModels
    max_seconds: float
    cpu_seconds: float
