"""Prompts, configs, tools and voices: one set of operations for the four kinds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, RootModel, create_model

from common.events.resources import (
    ACTIVE_SWITCH_REQUESTED,
    DEFAULT_PROJECT,
    RESOURCE_CREATE_REQUESTED,
    RESOURCE_DELETE_REQUESTED,
    RESOURCE_EDIT_REQUESTED,
    RESOURCE_LIST_REQUESTED,
    RESOURCE_VERSION_REQUESTED,
    RESOURCE_VERSIONS_REQUESTED,
    ActiveSwitchRequested,
    Kind,
    ResourceCreateRequested,
    ResourceDeleteRequested,
    ResourceEditRequested,
    ResourceListRequested,
    ResourceVersionRequested,
    ResourceVersionsRequested,
    SetScope,
)
from gateway.http.errors import bad_request
from gateway.http.fields import ProjectId, ResourceId, Strict
from gateway.http.middleware import read_json, read_query, validate
from gateway.http.request_reply import command, question
from gateway.http.routing import Route
from gateway.ports import Scope
from gateway.resources import active_sets as active
from gateway.resources import request as asked
from gateway.resources.request import CONTENTS, IF_MATCH, MAX_BODY_BYTES, USER_HEADER, asked_by, end_user

USER = {USER_HEADER: "The end user inside the organisation; without it the answer is 401."}
WRITE_ERRORS = (404, 409, 502, 503, 504)


class Resource(BaseModel):
    """A version of a resource, in the provider's field names; times are unix milliseconds."""

    model_config = ConfigDict(extra="allow")

    id: str
    name: str
    version: int
    created_on: int
    modified_on: int


class Page(BaseModel):
    """Where in all of them this page is; pages count from 0."""

    page_number: int
    page_size: int
    total_pages: int


class Deleted(BaseModel):
    """What is gone: one version, or with null the resource."""

    id: str
    version: int | None
    deleted: bool


class _Named(Strict):
    id: ResourceId


class _Project(Strict):
    projectId: ProjectId | None = None  # as the request spells it


@dataclass(frozen=True)
class Views:
    """The operations on one kind."""

    kind: Kind

    async def read(self, request: web.Request) -> web.Response:
        """A page of all, one, a page of its versions, or the active one."""
        who = asked_by(request, end_user(request))
        query = read_query(request, asked.ReadResources)
        query.check()
        if query.active == "true":
            return await active.read_part(request, self.kind, query.project_id)
        pages = {"page_number": query.page_number, "page_size": query.page_size}
        if query.id is None:
            listed = ResourceListRequested(**who, **pages, kind=self.kind, name=query.name)
            return await question(request, RESOURCE_LIST_REQUESTED, listed)
        if query.versions == "true":
            versions = ResourceVersionsRequested(**who, **pages, kind=self.kind, id=query.id)
            return await question(request, RESOURCE_VERSIONS_REQUESTED, versions)
        return await active.read_version(request, self.kind, query.id, query.version)

    async def create(self, request: web.Request) -> web.Response:
        """A new resource, with `setActive=true` at once active; or named versions made active."""
        user_id = end_user(request)
        query = read_query(request, asked.CreateResource)
        body = await read_json(request, max_bytes=MAX_BODY_BYTES)
        if query.set_active == "true" and "configId" in body:
            return await self._activate(request, query, body)
        place = _place_beside(query, body, user_id)
        if IF_MATCH in request.headers:
            raise bad_request(f"'{IF_MATCH}' goes with a body that names what is to be active.", IF_MATCH)
        validate(CONTENTS[self.kind], body)
        wanted = ResourceCreateRequested(**asked_by(request, user_id), kind=self.kind, body=body, activate=place)
        return await command(request, RESOURCE_CREATE_REQUESTED, wanted)

    async def _activate(self, request: web.Request, query: asked.CreateResource, body: dict[str, Any]) -> web.Response:
        wanted = validate(asked.SetActive, body)
        project = asked.one_of(query.project_id, wanted.project_id, "projectId")
        switch = ActiveSwitchRequested(
            **asked_by(request, end_user(request)),
            place=asked.place_of(request, "user", project),
            pins=wanted.pins(),
            **asked.if_match(request),
            note=wanted.note,
        )
        return await command(
            request,
            ACTIVE_SWITCH_REQUESTED,
            switch,
            shape=lambda told: active.part_of(told, self.kind),
            headers=active.etag,
        )

    async def add_version(self, request: web.Request) -> web.Response:
        """The next version; the id stands in the query or in the body."""
        user_id = end_user(request)
        query = read_query(request, asked.NameResource)
        body = await read_json(request, max_bytes=MAX_BODY_BYTES)
        content = validate(CONTENTS[self.kind], body)
        id = _id(query.id, content.id)
        body.pop("id", None)
        wanted = ResourceVersionRequested(**asked_by(request, user_id), kind=self.kind, id=id, body=body)
        return await command(request, RESOURCE_VERSION_REQUESTED, wanted)

    async def edit(self, request: web.Request) -> web.Response:
        """Another name, or another description of a version."""
        user_id = end_user(request)
        query = read_query(request, asked.NameResource)
        body = validate(asked.EditResource, await read_json(request, max_bytes=MAX_BODY_BYTES))
        body.check()
        wanted = ResourceEditRequested(
            **asked_by(request, user_id),
            kind=self.kind,
            id=_id(query.id, body.id),
            name=body.name,
            version=body.version,
            version_description=body.version_description,
        )
        return await command(request, RESOURCE_EDIT_REQUESTED, wanted)

    async def delete(self, request: web.Request) -> web.Response:
        """One version, or all of them."""
        who = asked_by(request, end_user(request))
        query = read_query(request, asked.DeleteResource)
        wanted = ResourceDeleteRequested(**who, kind=self.kind, id=query.id, version=query.version)
        return await command(request, RESOURCE_DELETE_REQUESTED, wanted)


def _place_beside(query: asked.CreateResource, body: dict[str, Any], user_id: str) -> SetScope | None:
    """Where new content becomes active, if it does; takes the project out of the content."""
    if query.set_active == "false":
        if query.project_id is not None:
            raise bad_request("Invalid 'projectId': it goes with 'setActive=true'.", "projectId", "invalid_value")
        return None
    told = {"projectId": body.pop("projectId")} if "projectId" in body else {}
    project = asked.one_of(query.project_id, validate(_Project, told).projectId, "projectId")
    return SetScope(project_id=project or DEFAULT_PROJECT, user_id=user_id)


def _id(query: str | None, body: str | None) -> str:
    found = asked.one_of(query, body, "id")
    return validate(_Named, {} if found is None else {"id": found}).id


# -- routes ---------------------------------------------------------------------------------------------------------


def _either(name: str, doc: str, *models: type[BaseModel]) -> type[BaseModel]:
    """A body that is one of these models."""
    union: Any = models[0]
    for model in models[1:]:
        union |= model
    return create_model(name, __base__=RootModel, __doc__=doc, root=(union, ...))


def _model(name: str, doc: str, base: type[BaseModel], **fields: Any) -> type[BaseModel]:
    return create_model(name, __base__=base, __doc__=doc, **fields)


def routes(kind: Kind) -> Sequence[Route]:
    """The routes of one kind."""
    views, title, plural = Views(kind), kind.title(), f"{kind}s"
    one = _model(f"{title}Answer", f"A {kind}.", BaseModel, **{kind: (Resource, ...)})
    page = _model(f"{title}Page", f"Some {plural}.", Page, **{plural: (list[Resource], ...)})
    shown = [one, page]
    if kind == "tool":
        # There is any number of them in an active set.
        shown.append(_model("ActiveTools", "The active tools.", BaseModel, tools=(list[Resource], ...)))
    post = _either(f"{title}Post", f"A new {kind}, or what is to be active.", CONTENTS[kind], asked.SetActive)

    def route(method: str, view: Any, summary: str, **fields: Any) -> Route:
        common = {"scope": Scope.RESOURCES, "headers": USER, "tags": (plural,), "errors": WRITE_ERRORS}
        return Route(method, f"/api/hume/{plural}", view, summary, **{**common, **fields})

    made = _either(f"{title}Made", "What was made or is active now.", *(shown if kind == "tool" else (one,)))
    return [
        route(
            "GET",
            views.read,
            f"Read {plural}: all, one, its versions, or what is active",
            query=asked.ReadResources,
            response=_either(f"{title}Read", "What was asked for.", *shown),
            sends=(active.STALE_HEADER,),
        ),
        route(
            "POST",
            views.create,
            f"Create a {kind}; with `setActive=true` activate it, or what the body names",
            query=asked.CreateResource,
            request=post,
            response=made,
            status=201,
            also=(200,),
            errors=(*WRITE_ERRORS, 412),
            headers={**USER, IF_MATCH: active.IF_MATCH_MEANING},
            idempotent=True,
        ),
        route(
            "PUT",
            views.add_version,
            f"Add a version to a {kind}",
            query=asked.NameResource,
            request=CONTENTS[kind],
            response=one,
            idempotent=True,
        ),
        route(
            "PATCH",
            views.edit,
            f"Rename a {kind}, or describe a version of it",
            query=asked.NameResource,
            request=asked.EditResource,
            response=one,
            idempotent=True,
        ),
        route(
            "DELETE",
            views.delete,
            f"Delete a {kind}, or a version of it that no active set uses",
            query=asked.DeleteResource,
            response=Deleted,
            idempotent=True,
        ),
    ]


ROUTES = [route for kind in CONTENTS for route in routes(kind)]
