"""Active sets: what applies to a user in a project, how it is switched, and what it was."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import orjson
from aiohttp import web
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from common.clients.resources import entries
from common.clients.resources.client import BrokenSetError, Found, Resolved
from common.events.reply import Reply
from common.events.resources import (
    ACTIVE_AT_REQUESTED,
    ACTIVE_CLEAR_REQUESTED,
    ACTIVE_DIFF_REQUESTED,
    ACTIVE_HISTORY_REQUESTED,
    ACTIVE_ROLLBACK_REQUESTED,
    ACTIVE_ROLLOUT_REQUESTED,
    ACTIVE_SWITCH_REQUESTED,
    ACTIVE_TOOL_REQUESTED,
    DEFAULT_PROJECT,
    ActiveAtRequested,
    ActiveClearRequested,
    ActiveDiffRequested,
    ActiveHistoryRequested,
    ActiveRollbackRequested,
    ActiveRolloutRequested,
    ActiveSwitchRequested,
    ActiveToolRequested,
    Kind,
    Layer,
    Pin,
    SetScope,
)
from gateway.deps import DEPS
from gateway.http.errors import ApiError, conflict, not_found
from gateway.http.fields import LARGEST_INT, ProjectId, Query, ResourceId, Revision
from gateway.http.middleware import read_json, read_query, validate
from gateway.http.request_reply import answer, command, question
from gateway.http.routing import Route
from gateway.ports import CALLER, Scope
from gateway.resources import request as asked
from gateway.resources.request import IF_MATCH, MAX_BODY_BYTES, USER_HEADER, any_user, asked_by, end_user, place_of

IF_MATCH_MEANING = 'The ETag of the set as last seen, `"0"` for none; another one by now answers 412.'
STALE_HEADER = "x-sonant-stale"


# -- what is read through the cache ---------------------------------------------------------------------------------


async def read_active(request: web.Request) -> web.Response:
    """`GET /v1/active`: the set that applies."""
    query = read_query(request, asked.PlaceQuery)
    place = place_of(request, query.layer, query.project_id)
    found = await _resolved(request, place)
    return web.Response(body=found.body, content_type="application/json", headers=_headers(found, place.layer))


async def read_part(request: web.Request, kind: Kind, project_id: str | None) -> web.Response:
    """The config, prompt, voice or tools of the user's active set."""
    found = await _resolved(request, place_of(request, "user", project_id))
    part = part_of(found.json(), kind)
    if part == {kind: None}:
        raise not_found(f"The active set has no {kind}.", code="nothing_active")
    return web.Response(body=orjson.dumps(part), content_type="application/json", headers=_headers(found, "user"))


async def read_version(request: web.Request, kind: Kind, id: str, version: int | None) -> web.Response:
    """One version of a resource, None the latest."""
    found = await request.app[DEPS].resources.versions.get(request[CALLER].org_id, kind, id, version)
    if found.status >= 400:
        return answer(Reply(found.json(), found.status, {**found.headers, **_staleness(found)}))
    return web.Response(
        status=found.status, body=found.body, content_type="application/json", headers=_staleness(found)
    )


async def _resolved(request: web.Request, place: SetScope) -> Resolved:
    sets = request.app[DEPS].resources.sets
    try:
        found = await sets.resolve(request[CALLER].org_id, place.project_id, place.user_id)
    except BrokenSetError as error:
        raise conflict(str(error), "not_servable") from None
    if found is None:
        raise not_found("Nothing is active here.", code="nothing_active")
    return found


def part_of(told: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """What of a set is answered where one kind is asked for."""
    return {"tools": told["tools"]} if kind == "tool" else {kind: told[kind]}


def etag(told: Mapping[str, Any]) -> dict[str, str]:
    """The header by which the next write can say what it builds on."""
    return _etag(entries.etag(told["revision"], told.get("candidate_revision"), told.get("percent", 0.0)))


def _etag(name: str) -> dict[str, str]:
    return {"etag": f'"{name}"'}


def _headers(found: Resolved, layer: Layer) -> dict[str, str]:
    # Where another layer shows through, the place asked for has no revision of its own.
    own = layer in (found.layer, "organization")
    return {**_staleness(found), **_etag(found.etag if own else "0")}


def _staleness(found: Resolved | Found) -> dict[str, str]:
    return {STALE_HEADER: "true"} if found.stale else {}


# -- what changes it ------------------------------------------------------------------------------------------------


def _meant(request: web.Request, query: asked.PlaceQuery, body: str | None = None) -> dict[str, Any]:
    """The fields of every command on a place."""
    place = place_of(request, query.layer, asked.one_of(query.project_id, body, "projectId"))
    return {**asked_by(request, any_user(request)), "place": place, **asked.if_match(request)}


async def switch(request: web.Request) -> web.Response:
    """`PUT /v1/active`."""
    query = read_query(request, asked.PlaceQuery)
    body = validate(asked.SetActive, await read_json(request, max_bytes=MAX_BODY_BYTES))
    wanted = ActiveSwitchRequested(**_meant(request, query, body.project_id), pins=body.pins(), note=body.note)
    return await command(request, ACTIVE_SWITCH_REQUESTED, wanted, headers=etag)


async def clear(request: web.Request) -> web.Response:
    """`DELETE /v1/active`."""
    query = read_query(request, asked.PlaceQuery)
    return await command(request, ACTIVE_CLEAR_REQUESTED, ActiveClearRequested(**_meant(request, query)), headers=etag)


async def roll_back(request: web.Request) -> web.Response:
    """`POST /v1/active/rollback`."""
    query = read_query(request, asked.PlaceQuery)
    body = validate(asked.Rollback, await read_json(request, max_bytes=MAX_BODY_BYTES))
    wanted = ActiveRollbackRequested(**_meant(request, query, body.project_id), revision=body.revision)
    return await command(request, ACTIVE_ROLLBACK_REQUESTED, wanted, headers=etag)


async def roll_out(request: web.Request) -> web.Response:
    """`POST /v1/active/rollout`."""
    query = read_query(request, asked.PlaceQuery)
    body = validate(asked.Rollout, await read_json(request, max_bytes=MAX_BODY_BYTES))
    wanted = ActiveRolloutRequested(
        **_meant(request, query, body.project_id),
        percent=body.percent,
        pins=None if body.candidate is None else body.candidate.pins(),
    )
    return await command(request, ACTIVE_ROLLOUT_REQUESTED, wanted, headers=etag)


async def add_tool(request: web.Request) -> web.Response:
    """`POST /v1/active/tools`."""
    query = read_query(request, asked.PlaceQuery)
    body = validate(asked.AddTool, await read_json(request, max_bytes=MAX_BODY_BYTES))
    wanted = ActiveToolRequested(**_meant(request, query, body.project_id), action="add", tool=body.pin())
    return await command(request, ACTIVE_TOOL_REQUESTED, wanted, headers=etag)


async def remove_tool(request: web.Request) -> web.Response:
    """`DELETE /v1/active/tools`."""
    query = read_query(request, ToolQuery)
    wanted = ActiveToolRequested(**_meant(request, query), action="remove", tool=Pin(id=query.tool_id))
    return await command(request, ACTIVE_TOOL_REQUESTED, wanted, headers=etag)


class ToolQuery(asked.PlaceQuery):
    """Which tool to take out, and of which set."""

    tool_id: ResourceId = Field(alias="toolId")


# -- what it was ----------------------------------------------------------------------------------------------------


class HistoryQuery(asked.PlaceQuery):
    """Which revisions: newest first, behind the revision `before`."""

    limit: Annotated[int, Field(ge=1, le=200)] = 50
    before: Revision | None = None


class DiffQuery(asked.PlaceQuery):
    """Which two revisions."""

    old: Revision
    new: Revision


class AtQuery(Query):
    """When: RFC 3339, or unix seconds."""

    time: AwareDatetime
    project_id: ProjectId | None = Field(default=None, alias="projectId")


def _place(request: web.Request, query: asked.PlaceQuery) -> dict[str, Any]:
    place = place_of(request, query.layer, query.project_id)
    return {**asked_by(request, any_user(request)), "place": place}


async def history(request: web.Request) -> web.Response:
    """`GET /v1/active/history`."""
    query = read_query(request, HistoryQuery)
    wanted = ActiveHistoryRequested(**_place(request, query), limit=query.limit, before=query.before)
    return await question(request, ACTIVE_HISTORY_REQUESTED, wanted)


async def diff(request: web.Request) -> web.Response:
    """`GET /v1/active/diff`."""
    query = read_query(request, DiffQuery)
    wanted = ActiveDiffRequested(**_place(request, query), old=query.old, new=query.new)
    return await question(request, ACTIVE_DIFF_REQUESTED, wanted)


async def at(request: web.Request) -> web.Response:
    """`GET /v1/active/at`: what was live for the user at a moment."""
    who = asked_by(request, end_user(request))
    query = read_query(request, AtQuery)
    project = query.project_id or DEFAULT_PROJECT
    wanted = ActiveAtRequested(**who, project_id=project, time=_unix(query.time))
    return await question(request, ACTIVE_AT_REQUESTED, wanted)


def _unix(moment: datetime) -> float:
    """Unix seconds; a moment at either end of the calendar may lie outside it in UTC."""
    try:
        return moment.timestamp()
    except OverflowError:
        raise ApiError(400, "Invalid 'time': out of range.", code="invalid_value", param="time") from None


# -- routes ---------------------------------------------------------------------------------------------------------


class ActiveSet(BaseModel):
    """An active set with its whole resources."""

    model_config = ConfigDict(extra="allow")

    layer: Layer
    revision: Annotated[int, Field(ge=1, le=LARGEST_INT)]
    config: dict[str, Any]
    prompt: dict[str, Any]
    voice: dict[str, Any] | None
    tools: list[dict[str, Any]]


class Cleared(BaseModel):
    """There is no set any more; the next layer shows through."""

    model_config = ConfigDict(extra="allow")

    revision: None


class Entries(BaseModel):
    """Some of what happened, newest first."""

    model_config = ConfigDict(extra="allow")

    data: list[dict[str, Any]]
    has_more: bool


USER = {USER_HEADER: "The end user inside the organisation; needed (401) wherever the layer is `user`."}
WRITE_ERRORS = (404, 409, 412, 502, 503, 504)


def _route(method: str, path: str, view: Any, summary: str, **fields: Any) -> Route:
    common = {"scope": Scope.RESOURCES, "query": asked.PlaceQuery, "headers": USER, "tags": ("active",)}
    return Route(method, f"/v1/active{path}", view, summary, **{**common, "errors": (404, 409, 503, 504), **fields})


def _write(method: str, path: str, view: Any, summary: str, **fields: Any) -> Route:
    common = {
        "headers": {**USER, IF_MATCH: IF_MATCH_MEANING},
        "errors": WRITE_ERRORS,
        "response": ActiveSet,
        "sends": ("etag",),
        "idempotent": True,
    }
    return _route(method, path, view, summary, **{**common, **fields})


ROUTES: Sequence[Route] = [
    _route("GET", "", read_active, "Read the set that applies", response=ActiveSet, sends=("etag", STALE_HEADER)),
    _write("PUT", "", switch, "Switch the active set", request=asked.SetActive),
    _write("DELETE", "", clear, "Take the active set away: the next layer shows through", response=Cleared),
    _route("GET", "/history", history, "List the revisions of a set", query=HistoryQuery, response=Entries),
    _route("GET", "/diff", diff, "Compare two revisions", query=DiffQuery),
    _route("GET", "/at", at, "Tell what was live for a user at a moment", query=AtQuery),
    _write("POST", "/rollback", roll_back, "Go back to an earlier revision", request=asked.Rollback),
    _write("POST", "/rollout", roll_out, "Give a share of the users another set", request=asked.Rollout),
    _write("POST", "/tools", add_tool, "Add a tool to the active set, or move its pin", request=asked.AddTool),
    _write("DELETE", "/tools", remove_tool, "Take a tool out of the active set", query=ToolQuery),
]
