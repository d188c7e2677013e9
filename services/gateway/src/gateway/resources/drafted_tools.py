"""Drafted tools: a model writes them, and they are usable once somebody approves them."""

from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field

from common.events.resources import TOOL_DRAFT_REQUESTED, TOOL_STATUS_REQUESTED, ToolDraftRequested, ToolStatusRequested
from gateway.deps import DEPS
from gateway.http.body import read_json
from gateway.http.end_user import end_user
from gateway.http.fields import Query, ResourceId, Strict
from gateway.http.validation import read_query, validate
from gateway.resources.request_context import MAX_BODY_BYTES, requested_by

# A draft and two repairs of it, each a whole answer of a model.
DRAFT_SECONDS = 90.0
MAX_NAMES = 20

Line = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]


class DraftTool(Strict):
    """What a tool is wanted for, what it is given and what it gives."""

    description: Annotated[str, Field(min_length=1, max_length=4000, pattern=r"^[^\x00]+$")]
    inputs: Annotated[list[Line], Field(fail_fast=True)] = Field(default=[], max_length=MAX_NAMES)
    outputs: Annotated[list[Line], Field(fail_fast=True)] = Field(default=[], max_length=MAX_NAMES)


class _Id(Strict):
    id: ResourceId


async def draft(request: web.Request) -> web.Response:
    """`POST /api/hume/tools/dynamic`."""
    who = requested_by(request, end_user(request))
    read_query(request, Query)
    body = validate(DraftTool, await read_json(request, max_bytes=MAX_BODY_BYTES))
    wanted = ToolDraftRequested(
        **who, description=body.description, inputs=tuple(body.inputs), outputs=tuple(body.outputs)
    )
    return await request.app[DEPS].request_reply.command(request, TOOL_DRAFT_REQUESTED, wanted, timeout=DRAFT_SECONDS)


async def promote(request: web.Request) -> web.Response:
    """`POST /api/hume/tools/dynamic/{id}/promote`."""
    return await _become(request, "usable")


async def disable(request: web.Request) -> web.Response:
    """`POST /api/hume/tools/dynamic/{id}/disable`."""
    return await _become(request, "disabled")


async def _become(request: web.Request, status: Literal["usable", "disabled"]) -> web.Response:
    who = requested_by(request, end_user(request))
    read_query(request, Query)
    id = validate(_Id, {"id": request.match_info["id"]}).id
    return await request.app[DEPS].request_reply.command(
        request, TOOL_STATUS_REQUESTED, ToolStatusRequested(**who, id=id, status=status)
    )
