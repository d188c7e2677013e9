"""The routes of resources: active sets, the four kinds, drafted tools, the audit trail, access tokens."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from pydantic import BaseModel, RootModel, create_model

from common.events.resource_replies import RESOURCE_PAGES, RESOURCE_REPLIES, ActiveSet, Resource
from common.events.resource_terms import Kind
from common.events.resources import (
    ACTIVE_AT_REQUESTED,
    ACTIVE_CLEAR_REQUESTED,
    ACTIVE_DIFF_REQUESTED,
    ACTIVE_HISTORY_REQUESTED,
    ACTIVE_ROLLBACK_REQUESTED,
    ACTIVE_ROLLOUT_REQUESTED,
    ACTIVE_SWITCH_REQUESTED,
    ACTIVE_TOOL_REQUESTED,
    AUDIT_LIST_REQUESTED,
    HUME_TOKEN_REQUESTED,
    RESOURCE_DELETE_REQUESTED,
    TOOL_DRAFT_REQUESTED,
    TOOL_STATUS_REQUESTED,
)
from gateway.http.end_user import USER_HEADER
from gateway.http.fields import Query
from gateway.http.routing import Handler, Route
from gateway.ports import Scope, Work
from gateway.resources import active_bodies, active_sets, audit_trail, drafted_tools, hume_token, resource_bodies
from gateway.resources.catalogue import Catalogue
from gateway.resources.request_context import IF_MATCH
from gateway.resources.resource_views import (
    DescribedVersion,
    RenamedResource,
    ResourcePageQuery,
    ResourceViews,
    VersionPageQuery,
)

USER = {USER_HEADER: "The end user inside the organisation; without it the answer is 401."}
BY_USER = {USER_HEADER: "The end user inside the organisation, for the audit trail."}
USER_OF_LAYER = {USER_HEADER: "The end user inside the organisation; needed (401) wherever the layer is `user`."}
SEEN_LAST = {IF_MATCH: 'The ETag of the set as last seen, `"0"` for none; another one by now answers 412.'}


def work_of(method: str) -> Work:
    """What a route of this method has others do."""
    return Work.READ if method == "GET" else Work.WRITE


# -- active sets ----------------------------------------------------------------------------------------------------


def _active(method: str, path: str, handler: Handler, summary: str, **fields: Any) -> Route:
    common = {
        "scope": Scope.RESOURCES,
        "work": work_of(method),
        "query": active_bodies.ScopeQuery,
        "headers": USER_OF_LAYER,
        "errors": (404, 409, 503, 504),
        "tags": ("active",),
    }
    return Route(method, f"/v1/active{path}", handler, summary, **{**common, **fields})


def _active_write(method: str, path: str, handler: Handler, summary: str, **fields: Any) -> Route:
    common = {
        "headers": {**USER_OF_LAYER, **SEEN_LAST},
        "errors": (404, 409, 412, 502, 503, 504),
        "sends": ("etag",),
        "idempotent": True,
    }
    return _active(method, path, handler, summary, **{**common, **fields})


ACTIVE_ROUTES: Sequence[Route] = [
    _active(
        "GET",
        "",
        active_sets.read_active,
        "Read the set that applies",
        name="get_active",
        response=ActiveSet,
        sends=("etag", active_sets.STALE_HEADER),
    ),
    _active_write(
        "PUT",
        "",
        active_sets.switch,
        "Switch the active set",
        name="set_active",
        request=active_bodies.SetActive,
        response=ACTIVE_SWITCH_REQUESTED,
    ),
    _active_write(
        "DELETE",
        "",
        active_sets.clear,
        "Take the active set away: the next layer shows through",
        name="clear_active",
        response=ACTIVE_CLEAR_REQUESTED,
    ),
    _active(
        "GET",
        "/history",
        active_sets.history,
        "List the revisions of a set",
        name="list_active_history",
        query=active_bodies.HistoryQuery,
        response=ACTIVE_HISTORY_REQUESTED,
    ),
    _active(
        "GET",
        "/diff",
        active_sets.diff,
        "Compare two revisions",
        name="diff_active",
        query=active_bodies.DiffQuery,
        response=ACTIVE_DIFF_REQUESTED,
    ),
    _active(
        "GET",
        "/at",
        active_sets.at,
        "Tell what was live for a user at a moment",
        name="get_active_at",
        query=active_bodies.AtQuery,
        response=ACTIVE_AT_REQUESTED,
    ),
    _active_write(
        "POST",
        "/rollback",
        active_sets.roll_back,
        "Go back to an earlier revision",
        name="roll_back_active",
        request=active_bodies.Rollback,
        response=ACTIVE_ROLLBACK_REQUESTED,
    ),
    _active_write(
        "POST",
        "/rollout",
        active_sets.roll_out,
        "Give a share of the users another set",
        name="roll_out_active",
        request=active_bodies.Rollout,
        response=ACTIVE_ROLLOUT_REQUESTED,
    ),
    _active_write(
        "POST",
        "/tools",
        active_sets.add_tool,
        "Add a tool to the active set, or move its pin",
        name="add_active_tool",
        request=active_bodies.AddTool,
        response=ACTIVE_TOOL_REQUESTED,
    ),
    _active_write(
        "DELETE",
        "/tools",
        active_sets.remove_tool,
        "Take a tool out of the active set",
        name="remove_active_tool",
        query=active_bodies.ToolQuery,
        response=ACTIVE_TOOL_REQUESTED,
    ),
]


# -- prompts, configs, tools and voices -----------------------------------------------------------------------------


class ActiveTools(BaseModel):
    """The active tools."""

    tools: list[Resource]


def _either(name: str, doc: str, *models: type[BaseModel]) -> type[BaseModel]:
    """A body that is one of these models."""
    union: Any = models[0]
    for model in models[1:]:
        union |= model
    return create_model(name, __base__=RootModel, __doc__=doc, root=(union, ...))


CATALOGUE_VERBS = {"GET": "read", "POST": "create", "PUT": "add_version_to", "PATCH": "edit", "DELETE": "delete"}


def _catalogue_route(kind: Kind, method: str, handler: Handler, summary: str, **fields: Any) -> Route:
    common = {
        "scope": Scope.RESOURCES,
        "headers": USER,
        "tags": (f"{kind}s",),
        "errors": (404, 409, 502, 503, 504),
        "work": work_of(method),
        "name": f"{CATALOGUE_VERBS[method]}_catalogue_{kind}",
    }
    return Route(method, f"/api/hume/{kind}s", handler, summary, **{**common, **fields})


def catalogue_routes(kind: Kind) -> Sequence[Route]:
    """The routes of one kind."""
    catalogue, title, plural = Catalogue(kind), kind.title(), f"{kind}s"
    body, one, page = resource_bodies.CONTENTS[kind], RESOURCE_REPLIES[kind], RESOURCE_PAGES[kind]
    # There is any number of tools in an active set.
    active = (ActiveTools,) if kind == "tool" else ()
    route = partial(_catalogue_route, kind)

    return [
        route(
            "GET",
            catalogue.read,
            f"Read {plural}: all, one, its versions, or what is active",
            query=resource_bodies.ReadResources,
            response=_either(f"{title}Read", "What was asked for.", one, page, *active),
            sends=(active_sets.STALE_HEADER,),
        ),
        route(
            "POST",
            catalogue.create,
            f"Create a {kind}; with `setActive=true` activate it, or what the body names",
            query=resource_bodies.CreateResource,
            request=_either(f"{title}Post", f"A new {kind}, or what is to be active.", body, active_bodies.SetActive),
            response=_either(f"{title}Made", "What was made or is active now.", one, *active),
            status=201,
            also=(200,),
            errors=(404, 409, 412, 502, 503, 504),
            headers={**USER, **SEEN_LAST},
            idempotent=True,
        ),
        route(
            "PUT",
            catalogue.add_version,
            f"Add a version to a {kind}",
            query=resource_bodies.NameResource,
            request=body,
            response=one,
            idempotent=True,
        ),
        route(
            "PATCH",
            catalogue.edit,
            f"Rename a {kind}, or describe a version of it",
            query=resource_bodies.NameResource,
            request=resource_bodies.EditResource,
            response=one,
            idempotent=True,
        ),
        route(
            "DELETE",
            catalogue.delete,
            f"Delete a {kind}, or a version of it that no active set uses",
            query=resource_bodies.DeleteResource,
            response=RESOURCE_DELETE_REQUESTED,
            idempotent=True,
        ),
    ]


# -- the same with a path for each thing ------------------------------------------------------------------------------


def resource_routes(kind: Kind) -> Sequence[Route]:
    """The routes of one kind below `/v1`, each with an answer of one shape."""
    views, plural = ResourceViews(kind), f"{kind}s"
    body, one, page = resource_bodies.CONTENTS[kind], RESOURCE_REPLIES[kind], RESOURCE_PAGES[kind]
    resource, version = "/{id}", "/{id}/versions/{version}"

    def route(method: str, path: str, handler: Handler, summary: str, **fields: Any) -> Route:
        common: dict[str, Any] = {
            "headers": BY_USER,
            "tags": (plural,),
            "errors": (400, 404, 409, 502, 503, 504),
            "response": one,
        }
        common |= {"scope": Scope.RESOURCES, "work": work_of(method), "idempotent": method != "GET"}
        return Route(method, f"/v1/{plural}{path}", handler, summary, **{**common, **fields})

    versions, stale = f"{resource}/versions", {"sends": (active_sets.STALE_HEADER,)}
    paged, gone = {"response": page}, {"response": RESOURCE_DELETE_REQUESTED}
    made = {"request": body, "status": 201}
    table: list[tuple[str, str, Handler, str, str, dict[str, Any]]] = [
        ("GET", "", views.page, f"List {plural}", f"list_{plural}", {"query": ResourcePageQuery, **paged}),
        ("POST", "", views.create, f"Create a {kind}", f"create_{kind}", made),
        ("GET", resource, views.latest, f"Read a {kind}", f"get_{kind}", stale),
        ("PATCH", resource, views.rename, f"Rename a {kind}", f"rename_{kind}", {"request": RenamedResource}),
        ("DELETE", resource, views.delete, f"Delete a {kind}", f"delete_{kind}", gone),
        (
            "GET",
            versions,
            views.versions,
            "List versions",
            f"list_{kind}_versions",
            {"query": VersionPageQuery, **paged},
        ),
        ("POST", versions, views.add_version, "Add a version", f"create_{kind}_version", {"request": body}),
        ("GET", version, views.version, "Read a version", f"get_{kind}_version", stale),
        (
            "PATCH",
            version,
            views.describe,
            "Describe a version",
            f"describe_{kind}_version",
            {"request": DescribedVersion},
        ),
        ("DELETE", version, views.delete_version, "Delete an unused version", f"delete_{kind}_version", gone),
    ]
    return [route(*row[:4], name=row[4], **row[5]) for row in table]


# -- drafted tools, the audit trail, access tokens --------------------------------------------------------------------


def _drafted(path: str, handler: Handler, summary: str, *, work: Work = Work.WRITE, **fields: Any) -> Route:
    return Route(
        "POST",
        f"/api/hume/tools/dynamic{path}",
        handler,
        summary,
        scope=Scope.RESOURCES,
        work=work,
        query=Query,
        headers=USER,
        idempotent=True,
        tags=("tools",),
        **fields,
    )


DRAFTED_TOOL_ROUTES: Sequence[Route] = [
    _drafted(
        "",
        drafted_tools.draft,
        "Have a model draft a tool",
        name="draft_tool",
        work=Work.DRAFT,
        request=drafted_tools.DraftTool,
        response=TOOL_DRAFT_REQUESTED,
        status=201,
        errors=(422, 502, 503, 504),
        description="It is checked, and kept in quarantine until it is promoted.",
    ),
    _drafted(
        "/{id}/promote",
        drafted_tools.promote,
        "Make a drafted tool usable",
        name="promote_tool",
        response=TOOL_STATUS_REQUESTED,
        errors=(404, 409, 422, 502, 503, 504),
    ),
    _drafted(
        "/{id}/disable",
        drafted_tools.disable,
        "Take a tool out everywhere at once",
        name="disable_tool",
        response=TOOL_STATUS_REQUESTED,
        errors=(404, 409, 503, 504),
    ),
]
AUDIT_ROUTE = Route(
    "GET",
    "/v1/audit",
    audit_trail.list_audit,
    "List what was done, newest first",
    scope=Scope.RESOURCES,
    work=Work.READ,
    query=audit_trail.AuditQuery,
    response=AUDIT_LIST_REQUESTED,
    errors=(503, 504),
    tags=("audit",),
)
TOKEN_ROUTE = Route(
    "GET",
    "/api/hume/auth",
    hume_token.get_token,
    "Get a short-lived access token of the voice provider",
    name="get_access_token",
    scope=Scope.RESOURCES,
    work=Work.READ,
    query=Query,
    headers=USER,
    response=HUME_TOKEN_REQUESTED,
    errors=(502, 503, 504),
    sends=("x-sonant-provider",),
    tags=("auth",),
)

ROUTES: Sequence[Route] = [
    *(route for kind in resource_bodies.CONTENTS for route in catalogue_routes(kind)),
    *(route for kind in resource_bodies.CONTENTS for route in resource_routes(kind)),
    *DRAFTED_TOOL_ROUTES,
    TOKEN_ROUTE,
    *ACTIVE_ROUTES,
    AUDIT_ROUTE,
]
