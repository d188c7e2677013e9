"""Content analysis: what a job of this kind takes and gives, and what is asked about analyses that were kept."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from common.events.assets import ASSET_ID
from common.events.backoff import A_FEW_TIMES
from common.events.media_topics import MEDIA_COMMANDS, MEDIA_QUERIES
from common.events.reply import ReplyBody
from common.events.spec import Payload, RequestSpec, query

ANALYSIS_KIND = "analysis"
ANALYSIS_ID = r"anl_[0-9a-f]{32}"
ITEM_ID = r"itm_[0-9a-f]{32}"
PROJECT = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
MAX_TITLE = 200
MAX_URL = 8192
# Of a job's result, the facts and rows keep this many clusters and warnings; the JSON document has all.
MAX_SHOWN = 50

MediaKind = Literal["video", "image", "audio"]
ItemKind = Literal["shot", "image", "face"]
AnalysisStepName = Literal["shots", "keyframes", "faces", "quality", "embeddings", "sound", "music", "clusters"]


class AnalysisInput(Payload):
    """A file to be analysed: an asset, or whatever is at an address.

    What is found joins the items of `project`. `steps` empty is all that apply to such a file; steps that others need
    are done in any case.
    """

    asset_id: Annotated[str, Field(pattern=rf"^{ASSET_ID}$")] | None = None
    url: Annotated[str, Field(min_length=1, max_length=MAX_URL)] | None = None
    project: Annotated[str, Field(pattern=PROJECT)] = "default"
    title: Annotated[str, Field(max_length=MAX_TITLE)] = ""
    steps: tuple[AnalysisStepName, ...] = ()


class StepReport(ReplyBody):
    """How a step went. `unavailable` is one that needs what this machine has not; `reason` says what."""

    version: int
    state: Literal["done", "unavailable"]
    seconds: float
    reason: str | None = None


class Cluster(ReplyBody):
    """Items of a project that are alike; `representative` is the item in their middle.

    `members` are all of them, `of_this` those of the analysis that is shown. An item that joins changes no other.
    """

    id: str
    kind: ItemKind
    label: str
    size: int
    representative: str
    of_this: tuple[str, ...] = ()


class AnalysisResult(Payload):
    """What was found in short; `url` is the whole as JSON, `report_url` a page with pictures.

    `metadata` is what the file is, with sizes in pixels and times in seconds. `embeddings` says which model made the
    vectors, how long they are and how many there are.
    """

    analysis_id: str
    media: MediaKind
    project: str
    asset_id: str
    url: str
    report_url: str
    contact_sheet_url: str | None = None
    waveform_url: str | None = None
    metadata: Mapping[str, Any]
    shots: int = 0
    faces: int = 0
    quality: Mapping[str, Any] = Field(default_factory=dict)
    sound: Mapping[str, Any] = Field(default_factory=dict)
    embeddings: Mapping[str, Any] = Field(default_factory=dict)
    clusters: tuple[Cluster, ...] = ()
    clustering: Mapping[str, Any] = Field(default_factory=dict)
    near_duplicates: tuple[Mapping[str, Any], ...] = ()
    steps: Mapping[str, StepReport]
    warnings: tuple[str, ...] = ()
    cost_usd: float = 0.0


# -- what is asked -----------------------------------------------------------------------------------------------------


class AnalysisGetRequested(Payload):
    """One analysis of an organisation."""

    org_id: str
    id: str


class AnalysisListRequested(Payload):
    """Analyses of an organisation, newest first, behind the analysis `after`; `text` is part of their titles."""

    org_id: str
    project: str | None = None
    media: MediaKind | None = None
    text: str | None = None
    after: str | None = None
    limit: int = 20


class AnalysisDeleteRequested(Payload):
    """Take an analysis away, with its items and its files."""

    org_id: str
    key_id: str
    id: str


class SimilarItemsRequested(Payload):
    """Items of a project that look like one of them, the nearest first."""

    org_id: str
    item_id: str
    limit: int = 20


class ClusterListRequested(Payload):
    """The clusters of a project, the largest first."""

    org_id: str
    project: str
    kind: ItemKind | None = None
    limit: int = 100


# -- what is answered --------------------------------------------------------------------------------------------------


class AnalysisInfo(ReplyBody):
    """An analysis; times are unix seconds, `result` is that of its job."""

    id: str
    object: Literal["analysis"]
    project: str
    title: str
    media: MediaKind
    job_id: str
    created_at: float
    result: dict[str, Any]


class AnalysisList(ReplyBody):
    """A page; `has_more`: ask again behind the last one."""

    object: Literal["list"]
    data: tuple[AnalysisInfo, ...]
    has_more: bool


class AnalysisDeleted(ReplyBody):
    """It is gone."""

    id: str
    object: Literal["analysis"]
    deleted: bool


class SimilarItem(ReplyBody):
    """A shot, image or face; `similarity` is the cosine of the vectors, `begin` and `end` seconds of the media.

    `hash_distance` counts the bits in which the perceptual hashes differ, of 64.
    """

    id: str
    kind: ItemKind
    analysis_id: str
    begin: float
    end: float
    picture_url: str | None
    cluster_id: str | None
    similarity: float
    hash_distance: int | None


class SimilarItems(ReplyBody):
    """The nearest first; `model` made the vectors that were compared."""

    object: Literal["list"]
    model: str
    data: tuple[SimilarItem, ...]


class ClusterList(ReplyBody):
    """Clusters of a project, and how they were made."""

    object: Literal["list"]
    project: str
    method: dict[str, Any]
    data: tuple[Cluster, ...]


ANALYSIS_GET_REQUESTED = query(
    type="analysis.get.requested",
    payload=AnalysisGetRequested,
    reply=AnalysisInfo,
    topic=MEDIA_QUERIES,
    key=lambda query: query.org_id,
    summary="Answer with an analysis.",
)

ANALYSIS_LIST_REQUESTED = query(
    type="analysis.list.requested",
    payload=AnalysisListRequested,
    reply=AnalysisList,
    topic=MEDIA_QUERIES,
    key=lambda query: query.org_id,
    summary="Answer with a page of analyses.",
)

ANALYSIS_DELETE_REQUESTED = RequestSpec(
    type="analysis.delete.requested",
    version=1,
    payload=AnalysisDeleteRequested,
    reply=AnalysisDeleted,
    topic=MEDIA_COMMANDS,
    key=lambda command: f"{command.org_id}/{command.id}",
    summary="Take an analysis away, with its items and its files.",
    retry=A_FEW_TIMES,
    expires=True,
)

SIMILAR_ITEMS_REQUESTED = query(
    type="analysis.similar.requested",
    payload=SimilarItemsRequested,
    reply=SimilarItems,
    topic=MEDIA_QUERIES,
    key=lambda query: query.org_id,
    summary="Answer with the items that look like one of them.",
)

CLUSTER_LIST_REQUESTED = query(
    type="analysis.clusters.requested",
    payload=ClusterListRequested,
    reply=ClusterList,
    topic=MEDIA_QUERIES,
    key=lambda query: query.org_id,
    summary="Answer with the clusters of a project.",
)
