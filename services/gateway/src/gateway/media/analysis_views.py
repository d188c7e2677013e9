"""Analyses as data: one, a page of them, what is similar, clusters, and the end of one."""

import re
from typing import Annotated

from aiohttp import web
from pydantic import Field

from common.events.analyses import (
    ANALYSIS_DELETE_REQUESTED,
    ANALYSIS_GET_REQUESTED,
    ANALYSIS_ID,
    ANALYSIS_LIST_REQUESTED,
    CLUSTER_LIST_REQUESTED,
    ITEM_ID,
    SIMILAR_ITEMS_REQUESTED,
    AnalysisDeleteRequested,
    AnalysisGetRequested,
    AnalysisListRequested,
    ClusterListRequested,
    ItemKind,
    MediaKind,
    SimilarItemsRequested,
)
from gateway.deps import DEPS
from gateway.http.context import CALLER
from gateway.http.errors import not_found
from gateway.http.fields import ProjectId, Query
from gateway.http.validation import read_query

ID = re.compile(ANALYSIS_ID)


class AnalysisListQuery(Query):
    """A page, newest first, behind the analysis `after`; `text` is part of their titles."""

    project: ProjectId | None = None
    media: MediaKind | None = None
    text: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]+$")] | None = None
    after: Annotated[str, Field(pattern=rf"^{ANALYSIS_ID}$")] | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20


class SimilarQuery(Query):
    """Which item others are to be like."""

    item_id: Annotated[str, Field(pattern=rf"^{ITEM_ID}$")]
    limit: Annotated[int, Field(ge=1, le=100)] = 20


class ClusterQuery(Query):
    """Of which project, and of which kind of item."""

    project: ProjectId = "default"
    kind: ItemKind | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 100


async def list_analyses(request: web.Request) -> web.Response:
    """`GET /v1/media/analyses`."""
    query = read_query(request, AnalysisListQuery)
    wanted = AnalysisListRequested(org_id=request[CALLER].org_id, **query.model_dump())
    return await request.app[DEPS].request_reply.query(ANALYSIS_LIST_REQUESTED, wanted)


async def show_analysis(request: web.Request) -> web.Response:
    """`GET /v1/media/analyses/{id}`."""
    wanted = AnalysisGetRequested(org_id=request[CALLER].org_id, id=_id_of(request))
    return await request.app[DEPS].request_reply.query(ANALYSIS_GET_REQUESTED, wanted)


async def delete_analysis(request: web.Request) -> web.Response:
    """`DELETE /v1/media/analyses/{id}`: its items and files; what was analysed stays."""
    caller = request[CALLER]
    wanted = AnalysisDeleteRequested(org_id=caller.org_id, key_id=caller.key_id, id=_id_of(request))
    return await request.app[DEPS].request_reply.command(request, ANALYSIS_DELETE_REQUESTED, wanted)


async def list_similar(request: web.Request) -> web.Response:
    """`GET /v1/media/similar`."""
    query = read_query(request, SimilarQuery)
    wanted = SimilarItemsRequested(org_id=request[CALLER].org_id, **query.model_dump())
    return await request.app[DEPS].request_reply.query(SIMILAR_ITEMS_REQUESTED, wanted)


async def list_clusters(request: web.Request) -> web.Response:
    """`GET /v1/media/clusters`."""
    query = read_query(request, ClusterQuery)
    wanted = ClusterListRequested(org_id=request[CALLER].org_id, **query.model_dump())
    return await request.app[DEPS].request_reply.query(CLUSTER_LIST_REQUESTED, wanted)


def _id_of(request: web.Request) -> str:
    """The id in the path; raises Refused 404 for what is none, like for one that is not there."""
    analysis_id = request.match_info["id"]
    if not ID.fullmatch(analysis_id):
        raise not_found("There is no such analysis.", "id", "analysis_not_found")
    return analysis_id
