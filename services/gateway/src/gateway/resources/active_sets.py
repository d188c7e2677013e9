"""Active sets: what applies to a user in a project, how it is switched, and what it was."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson
from aiohttp import web

from common.bus.request_reply import read_refusal
from common.clients.resources import entries
from common.clients.resources.client import BrokenSetError, Found, Resolved
from common.events.resource_replies import ActiveCleared, ActiveSet
from common.events.resource_terms import DEFAULT_PROJECT, Kind, Layer, Pin, SetScope
from common.events.resources import (
    ACTIVE_AT_REQUESTED,
    ACTIVE_CLEAR_REQUESTED,
    ACTIVE_DIFF_REQUESTED,
    ACTIVE_HISTORY_REQUESTED,
    ACTIVE_ROLLBACK_REQUESTED,
    ACTIVE_ROLLOUT_REQUESTED,
    ACTIVE_SWITCH_REQUESTED,
    ACTIVE_TOOL_REQUESTED,
    ActiveAtRequested,
    ActiveClearRequested,
    ActiveDiffRequested,
    ActiveHistoryRequested,
    ActiveRollbackRequested,
    ActiveRolloutRequested,
    ActiveSwitchRequested,
    ActiveToolRequested,
)
from gateway.deps import DEPS
from gateway.http.body import read_json
from gateway.http.context import CALLER
from gateway.http.end_user import any_user, end_user
from gateway.http.errors import bad_request, conflict, not_found
from gateway.http.request_reply import with_retry_headers
from gateway.http.validation import read_query, validate
from gateway.resources import active_bodies as bodies
from gateway.resources.request_context import MAX_BODY_BYTES, if_match, one_of, requested_by, scope_of

STALE_HEADER = "x-sonant-stale"


# -- what is read through the cache ---------------------------------------------------------------------------------


async def read_active(request: web.Request) -> web.Response:
    """`GET /v1/active`: the set that applies."""
    query = read_query(request, bodies.ScopeQuery)
    scope = scope_of(request, query.layer, query.project_id)
    found = await _resolved(request, scope)
    return web.Response(body=found.body, content_type="application/json", headers=_headers(found, scope.layer))


async def read_part(request: web.Request, kind: Kind, project_id: str | None) -> web.Response:
    """The config, prompt, voice or tools of the user's active set."""
    found = await _resolved(request, scope_of(request, "user", project_id))
    part = part_of(found.json(), kind)
    if part == {kind: None}:
        raise not_found(f"The active set has no {kind}.", code="nothing_active")
    return web.Response(body=orjson.dumps(part), content_type="application/json", headers=_headers(found, "user"))


async def read_version(request: web.Request, kind: Kind, id: str, version: int | None) -> web.Response:
    """One version of a resource, None the latest."""
    found = await request.app[DEPS].resources.versions.get(request[CALLER].org_id, kind, id, version)
    if found.status >= 400:
        headers = {**found.headers, **_staleness(found)}
        raise with_retry_headers(read_refusal({"status": found.status, "body": found.json(), "headers": headers}))
    return web.Response(
        status=found.status, body=found.body, content_type="application/json", headers=_staleness(found)
    )


async def _resolved(request: web.Request, scope: SetScope) -> Resolved:
    sets = request.app[DEPS].resources.sets
    try:
        found = await sets.resolve(request[CALLER].org_id, scope.project_id, scope.user_id)
    except BrokenSetError as error:
        raise conflict(str(error), "not_servable") from None
    if found is None:
        raise not_found("Nothing is active here.", code="nothing_active")
    return found


def part_of(active: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """The part of a set that is the answer to a request for one kind."""
    return {"tools": active["tools"]} if kind == "tool" else {kind: active[kind]}


def etag(active: ActiveSet | ActiveCleared) -> dict[str, str]:
    """The header by which the next write can say what it builds on."""
    if isinstance(active, ActiveCleared):
        return _etag(entries.etag(None, None, 0.0))
    return _etag(entries.etag(active.revision, active.candidate_revision, active.percent))


def _etag(name: str) -> dict[str, str]:
    return {"etag": f'"{name}"'}


def _headers(found: Resolved, layer: Layer) -> dict[str, str]:
    # Where the set of another layer applies, the scope asked for has no revision of its own.
    own = layer in (found.layer, "organization")
    return {**_staleness(found), **_etag(found.etag if own else "0")}


def _staleness(found: Resolved | Found) -> dict[str, str]:
    return {STALE_HEADER: "true"} if found.stale else {}


# -- what changes it ------------------------------------------------------------------------------------------------


def _write(request: web.Request, query: bodies.ScopeQuery, project_id: str | None = None) -> dict[str, Any]:
    """The fields of every command on a scope; the project may stand in the body."""
    scope = scope_of(request, query.layer, one_of(query.project_id, project_id, "projectId"))
    return {**requested_by(request, any_user(request) or ""), "place": scope, **if_match(request)}


async def switch(request: web.Request) -> web.Response:
    """`PUT /v1/active`."""
    query = read_query(request, bodies.ScopeQuery)
    body = validate(bodies.SetActive, await read_json(request, max_bytes=MAX_BODY_BYTES))
    wanted = ActiveSwitchRequested(**_write(request, query, body.project_id), pins=body.pins(), note=body.note)
    return await request.app[DEPS].request_reply.command(request, ACTIVE_SWITCH_REQUESTED, wanted, headers=etag)


async def clear(request: web.Request) -> web.Response:
    """`DELETE /v1/active`."""
    query = read_query(request, bodies.ScopeQuery)
    wanted = ActiveClearRequested(**_write(request, query))
    return await request.app[DEPS].request_reply.command(request, ACTIVE_CLEAR_REQUESTED, wanted, headers=etag)


async def roll_back(request: web.Request) -> web.Response:
    """`POST /v1/active/rollback`."""
    query = read_query(request, bodies.ScopeQuery)
    body = validate(bodies.Rollback, await read_json(request, max_bytes=MAX_BODY_BYTES))
    wanted = ActiveRollbackRequested(**_write(request, query, body.project_id), revision=body.revision)
    return await request.app[DEPS].request_reply.command(request, ACTIVE_ROLLBACK_REQUESTED, wanted, headers=etag)


async def roll_out(request: web.Request) -> web.Response:
    """`POST /v1/active/rollout`."""
    query = read_query(request, bodies.ScopeQuery)
    body = validate(bodies.Rollout, await read_json(request, max_bytes=MAX_BODY_BYTES))
    wanted = ActiveRolloutRequested(
        **_write(request, query, body.project_id),
        percent=body.percent,
        pins=None if body.candidate is None else body.candidate.pins(),
    )
    return await request.app[DEPS].request_reply.command(request, ACTIVE_ROLLOUT_REQUESTED, wanted, headers=etag)


async def add_tool(request: web.Request) -> web.Response:
    """`POST /v1/active/tools`."""
    query = read_query(request, bodies.ScopeQuery)
    body = validate(bodies.AddTool, await read_json(request, max_bytes=MAX_BODY_BYTES))
    wanted = ActiveToolRequested(**_write(request, query, body.project_id), action="add", tool=body.pin())
    return await request.app[DEPS].request_reply.command(request, ACTIVE_TOOL_REQUESTED, wanted, headers=etag)


async def remove_tool(request: web.Request) -> web.Response:
    """`DELETE /v1/active/tools`."""
    query = read_query(request, bodies.ToolQuery)
    wanted = ActiveToolRequested(**_write(request, query), action="remove", tool=Pin(id=query.tool_id))
    return await request.app[DEPS].request_reply.command(request, ACTIVE_TOOL_REQUESTED, wanted, headers=etag)


# -- what it was ----------------------------------------------------------------------------------------------------


def _read(request: web.Request, query: bodies.ScopeQuery) -> dict[str, Any]:
    """The fields of every query about a scope."""
    scope = scope_of(request, query.layer, query.project_id)
    return {**requested_by(request, any_user(request) or ""), "place": scope}


async def history(request: web.Request) -> web.Response:
    """`GET /v1/active/history`."""
    query = read_query(request, bodies.HistoryQuery)
    wanted = ActiveHistoryRequested(**_read(request, query), limit=query.limit, before=query.before)
    return await request.app[DEPS].request_reply.query(ACTIVE_HISTORY_REQUESTED, wanted)


async def diff(request: web.Request) -> web.Response:
    """`GET /v1/active/diff`."""
    query = read_query(request, bodies.DiffQuery)
    wanted = ActiveDiffRequested(**_read(request, query), old=query.old, new=query.new)
    return await request.app[DEPS].request_reply.query(ACTIVE_DIFF_REQUESTED, wanted)


async def at(request: web.Request) -> web.Response:
    """`GET /v1/active/at`: what was live for the user at a moment."""
    who = requested_by(request, end_user(request))
    query = read_query(request, bodies.AtQuery)
    project = query.project_id or DEFAULT_PROJECT
    wanted = ActiveAtRequested(**who, project_id=project, time=_unix(query.time))
    return await request.app[DEPS].request_reply.query(ACTIVE_AT_REQUESTED, wanted)


def _unix(moment: datetime) -> float:
    """Unix seconds; a moment at either end of the calendar may lie outside it in UTC."""
    try:
        return moment.timestamp()
    except OverflowError:
        raise bad_request("Invalid 'time': out of range.", "time", "invalid_value") from None
