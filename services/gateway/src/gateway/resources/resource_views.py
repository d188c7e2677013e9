"""Prompts, configs, tools and voices with a path for each thing one can ask: `/v1/prompts/{id}/versions/{version}`.

The same commands and queries as `gateway.resources.catalogue`, whose single path answers in several shapes.
"""

from dataclasses import dataclass
from typing import Annotated

from aiohttp import web
from pydantic import Field

from common.events.resource_terms import Kind
from common.events.resources import (
    RESOURCE_CREATE_REQUESTED,
    RESOURCE_DELETE_REQUESTED,
    RESOURCE_EDIT_REQUESTED,
    RESOURCE_LIST_REQUESTED,
    RESOURCE_VERSION_REQUESTED,
    RESOURCE_VERSIONS_REQUESTED,
    ResourceCreateRequested,
    ResourceDeleteRequested,
    ResourceEditRequested,
    ResourceListRequested,
    ResourceVersionRequested,
    ResourceVersionsRequested,
)
from gateway.deps import DEPS
from gateway.http.body import read_json
from gateway.http.end_user import any_user
from gateway.http.fields import Name, Query, ResourceId, Strict, Version
from gateway.http.validation import read_query, validate
from gateway.resources import active_sets
from gateway.resources.request_context import MAX_BODY_BYTES, requested_by
from gateway.resources.resource_bodies import CONTENTS, MAX_PAGE
from gateway.resources.tool_secrets import seal_secret


class VersionPageQuery(Query):
    """Which page of the versions; pages count from 0."""

    page_number: Annotated[int, Field(ge=0, le=MAX_PAGE)] = 0
    page_size: Annotated[int, Field(ge=1, le=100)] = 10


class ResourcePageQuery(VersionPageQuery):
    """Which page, and of a `name` alone where one is given."""

    name: Name | None = None


class RenamedResource(Strict):
    """Another name of a resource."""

    name: Name


class DescribedVersion(Strict):
    """Another description of a version."""

    version_description: Annotated[str, Field(max_length=2000)]


class _OfResource(Strict):
    id: ResourceId


class _OfVersion(Query):
    id: ResourceId
    version: Version


@dataclass(frozen=True)
class ResourceViews:
    """The operations on the resources of one kind."""

    kind: Kind

    async def page(self, request: web.Request) -> web.Response:
        """A page of all, each in its latest version."""
        query = read_query(request, ResourcePageQuery)
        listed = ResourceListRequested(
            **_who(request),
            kind=self.kind,
            name=query.name,
            page_number=query.page_number,
            page_size=query.page_size,
        )
        return await request.app[DEPS].request_reply.query(RESOURCE_LIST_REQUESTED, listed)

    async def create(self, request: web.Request) -> web.Response:
        """A new resource; it is not active yet."""
        body = await self._content(request)
        wanted = ResourceCreateRequested(**_who(request), kind=self.kind, body=body, activate=None)
        return await request.app[DEPS].request_reply.command(request, RESOURCE_CREATE_REQUESTED, wanted)

    async def latest(self, request: web.Request) -> web.Response:
        """A resource in its latest version."""
        read_query(request, Query)
        return await active_sets.read_version(request, self.kind, _id(request), None)

    async def rename(self, request: web.Request) -> web.Response:
        """Another name."""
        body = validate(RenamedResource, await read_json(request, max_bytes=MAX_BODY_BYTES))
        wanted = ResourceEditRequested(**_who(request), kind=self.kind, id=_id(request), name=body.name)
        return await request.app[DEPS].request_reply.command(request, RESOURCE_EDIT_REQUESTED, wanted)

    async def delete(self, request: web.Request) -> web.Response:
        """All versions of a resource."""
        read_query(request, Query)
        wanted = ResourceDeleteRequested(**_who(request), kind=self.kind, id=_id(request), version=None)
        return await request.app[DEPS].request_reply.command(request, RESOURCE_DELETE_REQUESTED, wanted)

    async def versions(self, request: web.Request) -> web.Response:
        """A page of the versions of a resource."""
        query = read_query(request, VersionPageQuery)
        listed = ResourceVersionsRequested(
            **_who(request),
            kind=self.kind,
            id=_id(request),
            page_number=query.page_number,
            page_size=query.page_size,
        )
        return await request.app[DEPS].request_reply.query(RESOURCE_VERSIONS_REQUESTED, listed)

    async def add_version(self, request: web.Request) -> web.Response:
        """The next version."""
        body = await self._content(request)
        wanted = ResourceVersionRequested(**_who(request), kind=self.kind, id=_id(request), body=body)
        return await request.app[DEPS].request_reply.command(request, RESOURCE_VERSION_REQUESTED, wanted)

    async def version(self, request: web.Request) -> web.Response:
        """One version of a resource."""
        read_query(request, Query)
        named = _version(request)
        return await active_sets.read_version(request, self.kind, named.id, named.version)

    async def describe(self, request: web.Request) -> web.Response:
        """Another description of a version."""
        named = _version(request)
        body = validate(DescribedVersion, await read_json(request, max_bytes=MAX_BODY_BYTES))
        wanted = ResourceEditRequested(
            **_who(request),
            kind=self.kind,
            id=named.id,
            version=named.version,
            version_description=body.version_description,
        )
        return await request.app[DEPS].request_reply.command(request, RESOURCE_EDIT_REQUESTED, wanted)

    async def delete_version(self, request: web.Request) -> web.Response:
        """A version that no active set uses."""
        read_query(request, Query)
        named = _version(request)
        wanted = ResourceDeleteRequested(**_who(request), kind=self.kind, id=named.id, version=named.version)
        return await request.app[DEPS].request_reply.command(request, RESOURCE_DELETE_REQUESTED, wanted)

    async def _content(self, request: web.Request) -> dict[str, object]:
        body = await read_json(request, max_bytes=MAX_BODY_BYTES)
        # The path says whose version it is.
        validate(CONTENTS[self.kind], body)
        body.pop("id", None)
        seal_secret(request, self.kind, body)
        return body


def _who(request: web.Request) -> dict[str, str]:
    return requested_by(request, any_user(request) or "")


def _id(request: web.Request) -> str:
    return validate(_OfResource, {"id": request.match_info["id"]}).id


def _version(request: web.Request) -> _OfVersion:
    return validate(_OfVersion, dict(request.match_info))
