"""Drafted tools: a model writes them, a person lets them in or takes them out."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import BaseModel, Field

from common.events.resources import TOOL_DRAFT_REQUESTED, TOOL_STATUS_REQUESTED, ToolDraftRequested, ToolStatusRequested
from gateway.http.fields import Query, ResourceId, Strict
from gateway.http.middleware import read_json, read_query, validate
from gateway.http.request_reply import command
from gateway.http.routing import Route
from gateway.ports import Scope
from gateway.resources.catalogue import Resource
from gateway.resources.request import MAX_BODY_BYTES, USER_HEADER, asked_by, end_user

# A draft and two repairs of it, each a whole answer of a model.
DRAFT_SECONDS = 90.0
MOST_NAMES = 20

Line = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]


class DraftTool(Strict):
    """What a tool is wanted for, what it is given and what it gives."""

    description: Annotated[str, Field(min_length=1, max_length=4000, pattern=r"^[^\x00]+$")]
    inputs: list[Line] = Field(default=[], max_length=MOST_NAMES)
    outputs: list[Line] = Field(default=[], max_length=MOST_NAMES)


class DraftedTool(BaseModel):
    """A drafted tool with its `status` and `provenance`."""

    tool: Resource


class _Id(Strict):
    id: ResourceId


async def draft(request: web.Request) -> web.Response:
    """`POST /api/hume/tools/dynamic`."""
    who = asked_by(request, end_user(request))
    read_query(request, Query)
    body = validate(DraftTool, await read_json(request, max_bytes=MAX_BODY_BYTES))
    wanted = ToolDraftRequested(
        **who, description=body.description, inputs=tuple(body.inputs), outputs=tuple(body.outputs)
    )
    return await command(request, TOOL_DRAFT_REQUESTED, wanted, timeout=DRAFT_SECONDS)


async def promote(request: web.Request) -> web.Response:
    """`POST /api/hume/tools/dynamic/{id}/promote`."""
    return await _become(request, "usable")


async def disable(request: web.Request) -> web.Response:
    """`POST /api/hume/tools/dynamic/{id}/disable`."""
    return await _become(request, "disabled")


async def _become(request: web.Request, status: Literal["usable", "disabled"]) -> web.Response:
    who = asked_by(request, end_user(request))
    read_query(request, Query)
    id = validate(_Id, {"id": request.match_info["id"]}).id
    return await command(request, TOOL_STATUS_REQUESTED, ToolStatusRequested(**who, id=id, status=status))


def _route(path: str, view: Any, summary: str, **fields: Any) -> Route:
    return Route(
        "POST",
        f"/api/hume/tools/dynamic{path}",
        view,
        summary,
        scope=Scope.RESOURCES,
        query=Query,
        headers={USER_HEADER: "The end user inside the organisation; without it the answer is 401."},
        response=DraftedTool,
        idempotent=True,
        tags=("tools",),
        **fields,
    )


ROUTES: Sequence[Route] = [
    _route(
        "",
        draft,
        "Have a model draft a tool",
        request=DraftTool,
        status=201,
        errors=(422, 502, 503, 504),
        description="It is checked, and kept in quarantine until it is promoted.",
    ),
    _route("/{id}/promote", promote, "Make a drafted tool usable", errors=(404, 409, 422, 502, 503, 504)),
    _route("/{id}/disable", disable, "Take a tool out everywhere at once", errors=(404, 409, 503, 504)),
]
