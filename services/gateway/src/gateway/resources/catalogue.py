"""Prompts, configs, tools and voices: one set of operations for the four kinds."""

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from common.events.reply import content
from common.events.resource_terms import DEFAULT_PROJECT, Kind, SetScope
from common.events.resources import (
    ACTIVE_SWITCH_REQUESTED,
    RESOURCE_CREATE_REQUESTED,
    RESOURCE_DELETE_REQUESTED,
    RESOURCE_EDIT_REQUESTED,
    RESOURCE_LIST_REQUESTED,
    RESOURCE_VERSION_REQUESTED,
    RESOURCE_VERSIONS_REQUESTED,
    ActiveSwitchRequested,
    ResourceCreateRequested,
    ResourceDeleteRequested,
    ResourceEditRequested,
    ResourceListRequested,
    ResourceVersionRequested,
    ResourceVersionsRequested,
)
from gateway.deps import DEPS
from gateway.http.body import read_json
from gateway.http.end_user import end_user
from gateway.http.errors import bad_request
from gateway.http.fields import ProjectId, ResourceId, Strict
from gateway.http.validation import read_query, validate
from gateway.resources import active_sets
from gateway.resources import resource_bodies as bodies
from gateway.resources.active_bodies import SetActive
from gateway.resources.request_context import IF_MATCH, MAX_BODY_BYTES, if_match, one_of, requested_by, scope_of
from gateway.resources.tool_secrets import seal_secret


class _Named(Strict):
    id: ResourceId


class _Project(Strict):
    projectId: ProjectId | None = None  # as the request spells it


@dataclass(frozen=True)
class Catalogue:
    """The operations on the resources of one kind."""

    kind: Kind

    async def read(self, request: web.Request) -> web.Response:
        """A page of all, one, a page of its versions, or the active one."""
        who = requested_by(request, end_user(request))
        query = read_query(request, bodies.ReadResources)
        query.check()
        if query.active:
            return await active_sets.read_part(request, self.kind, query.project_id)
        pages = {"page_number": query.page_number, "page_size": query.page_size}
        if query.id is None:
            listed = ResourceListRequested(**who, **pages, kind=self.kind, name=query.name)
            return await request.app[DEPS].request_reply.query(RESOURCE_LIST_REQUESTED, listed)
        if query.versions:
            versions = ResourceVersionsRequested(**who, **pages, kind=self.kind, id=query.id)
            return await request.app[DEPS].request_reply.query(RESOURCE_VERSIONS_REQUESTED, versions)
        return await active_sets.read_version(request, self.kind, query.id, query.version)

    async def create(self, request: web.Request) -> web.Response:
        """A new resource, with `setActive=true` at once active; or versions, named in the body, made active."""
        user_id = end_user(request)
        query = read_query(request, bodies.CreateResource)
        body = await read_json(request, max_bytes=MAX_BODY_BYTES)
        if query.set_active and "configId" in body:
            return await self._activate(request, query, body)
        scope = _scope_beside(query, body, user_id)
        if IF_MATCH in request.headers:
            raise bad_request(f"'{IF_MATCH}' goes with a body that names what is to be active.", IF_MATCH)
        validate(bodies.CONTENTS[self.kind], body)
        seal_secret(request, self.kind, body)
        wanted = ResourceCreateRequested(**requested_by(request, user_id), kind=self.kind, body=body, activate=scope)
        return await request.app[DEPS].request_reply.command(request, RESOURCE_CREATE_REQUESTED, wanted)

    async def _activate(self, request: web.Request, query: bodies.CreateResource, body: dict[str, Any]) -> web.Response:
        wanted = validate(SetActive, body)
        project = one_of(query.project_id, wanted.project_id, "projectId")
        switch = ActiveSwitchRequested(
            **requested_by(request, end_user(request)),
            place=scope_of(request, "user", project),
            pins=wanted.pins(),
            **if_match(request),
            note=wanted.note,
        )
        return await request.app[DEPS].request_reply.command(
            request,
            ACTIVE_SWITCH_REQUESTED,
            switch,
            show=lambda active: active_sets.part_of(content(active), self.kind),
            headers=active_sets.etag,
        )

    async def add_version(self, request: web.Request) -> web.Response:
        """The next version; the id stands in the query or in the body."""
        user_id = end_user(request)
        query = read_query(request, bodies.NameResource)
        body = await read_json(request, max_bytes=MAX_BODY_BYTES)
        content = validate(bodies.CONTENTS[self.kind], body)
        id = _id(query.id, content.id)
        body.pop("id", None)
        seal_secret(request, self.kind, body)
        wanted = ResourceVersionRequested(**requested_by(request, user_id), kind=self.kind, id=id, body=body)
        return await request.app[DEPS].request_reply.command(request, RESOURCE_VERSION_REQUESTED, wanted)

    async def edit(self, request: web.Request) -> web.Response:
        """Another name, or another description of a version."""
        user_id = end_user(request)
        query = read_query(request, bodies.NameResource)
        body = validate(bodies.EditResource, await read_json(request, max_bytes=MAX_BODY_BYTES))
        body.check()
        wanted = ResourceEditRequested(
            **requested_by(request, user_id),
            kind=self.kind,
            id=_id(query.id, body.id),
            name=body.name,
            version=body.version,
            version_description=body.version_description,
        )
        return await request.app[DEPS].request_reply.command(request, RESOURCE_EDIT_REQUESTED, wanted)

    async def delete(self, request: web.Request) -> web.Response:
        """One version, or all of them."""
        who = requested_by(request, end_user(request))
        query = read_query(request, bodies.DeleteResource)
        wanted = ResourceDeleteRequested(**who, kind=self.kind, id=query.id, version=query.version)
        return await request.app[DEPS].request_reply.command(request, RESOURCE_DELETE_REQUESTED, wanted)


def _scope_beside(query: bodies.CreateResource, body: dict[str, Any], user_id: str) -> SetScope | None:
    """Where new content becomes active, if it does; takes the project out of the content."""
    if not query.set_active:
        if query.project_id is not None:
            raise bad_request("Invalid 'projectId': it goes with 'setActive=true'.", "projectId", "invalid_value")
        return None
    given = {"projectId": body.pop("projectId")} if "projectId" in body else {}
    project = one_of(query.project_id, validate(_Project, given).projectId, "projectId")
    return SetScope(project_id=project or DEFAULT_PROJECT, user_id=user_id)


def _id(query: str | None, body: str | None) -> str:
    found = one_of(query, body, "id")
    return validate(_Named, {} if found is None else {"id": found}).id
