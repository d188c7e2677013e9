"""What is asked about analyses over the log: one, a page of them, what is similar, clusters, and the end of one."""

from common.events.analyses import (
    AnalysisDeleted,
    AnalysisDeleteRequested,
    AnalysisGetRequested,
    AnalysisInfo,
    AnalysisList,
    AnalysisListRequested,
    Cluster,
    ClusterList,
    ClusterListRequested,
    SimilarItem,
    SimilarItems,
    SimilarItemsRequested,
)
from common.events.envelope import Event
from common.events.reply import Reply
from common.failures import Refused
from media.content.steps import clusters_step
from media.content.steps.embeddings_step import MODEL, PLAIN
from media.content_ports import KeptAnalysis
from media.deps import Deps


async def get(event: Event[AnalysisGetRequested], deps: Deps) -> Reply[AnalysisInfo]:
    """200, or Refused 404."""
    found = await deps.analyses.rows.get(event.payload.org_id, event.payload.id)
    if found is None:
        raise _no_analysis(event.payload.id)
    return Reply(_info(found))


async def page(event: Event[AnalysisListRequested], deps: Deps) -> Reply[AnalysisList]:
    """200 with a page, newest first."""
    asked = event.payload
    filters = {"project": asked.project, "media": asked.media, "text": asked.text}
    found = await deps.analyses.rows.page(asked.org_id, asked.limit + 1, asked.after, **filters)
    data = tuple(_info(each) for each in found[: asked.limit])
    return Reply(AnalysisList(object="list", data=data, has_more=len(found) > asked.limit))


async def delete(event: Event[AnalysisDeleteRequested], deps: Deps) -> Reply[AnalysisDeleted]:
    """200, or Refused 404. The file that was analysed stays."""
    asked = event.payload
    if not await deps.analyses.rows.remove(asked.org_id, asked.id):
        raise _no_analysis(asked.id)
    return Reply(AnalysisDeleted(id=asked.id, object="analysis", deleted=True))


async def similar(event: Event[SimilarItemsRequested], deps: Deps) -> Reply[SimilarItems]:
    """200 with the nearest first, or Refused 404."""
    asked, rows = event.payload, deps.analyses.rows
    model = await rows.item_model(asked.org_id, asked.item_id)
    if model is None:
        raise Refused(404, f"There is no item {asked.item_id!r}.", "item_not_found", "item_id")
    data = tuple(
        SimilarItem(
            id=near.id,
            kind=near.kind,
            analysis_id=near.analysis_id,
            begin=near.begin,
            end=near.end,
            picture_url=None if near.picture is None else f"/v1/assets/{near.picture}",
            cluster_id=near.cluster_id,
            similarity=round(near.similarity, 4),
            hash_distance=near.hash_distance,
        )
        for near in await rows.similar(asked.org_id, asked.item_id, asked.limit)
    )
    return Reply(SimilarItems(object="list", model=model, data=data))


async def clusters(event: Event[ClusterListRequested], deps: Deps) -> Reply[ClusterList]:
    """200 with the largest first; none for a project that nobody analysed anything for."""
    asked = event.payload
    found = await deps.analyses.rows.clusters(asked.org_id, asked.project, asked.kind, asked.limit)
    data = tuple(
        Cluster(id=row.id, kind=row.kind, label=row.label, size=row.size, representative=row.representative)
        for row in found
    )
    made_by = {model: clusters_step.method(model, clusters_step.nearness_of(model)) for model in (MODEL, PLAIN)}
    return Reply(ClusterList(object="list", project=asked.project, method=made_by, data=data))


def _info(found: KeptAnalysis) -> AnalysisInfo:
    return AnalysisInfo(
        id=found.id,
        object="analysis",
        project=found.project,
        title=found.title,
        media=found.media,
        job_id=found.job_id,
        created_at=found.created_at.timestamp(),
        result=found.result or {},
    )


def _no_analysis(analysis_id: str) -> Refused:
    return Refused(404, f"There is no analysis {analysis_id!r}.", "analysis_not_found", "id")
