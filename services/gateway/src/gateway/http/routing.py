"""The route table: one declaration per route, from which dispatch, authentication and OpenAPI derive."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog
from aiohttp import web
from pydantic import BaseModel

from common.events.spec import RequestSpec
from gateway.http.context import CALLER
from gateway.http.errors import forbidden
from gateway.http.server import expect
from gateway.http.work_bounds import NOBODY, WorkBounds
from gateway.ports import Caller, Scope, Work

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """One operation.

    `scope` None is a route without authentication. `request` is the JSON body, `query` the query parameters,
    `headers` further request headers by name with their meaning. `response` is the body of a success: a model, or
    the command or query whose reply it is; without it only the kind of `content_type` is documented. `status` is
    that of a success, `also` of others with the same body, `sends` names further headers of a success. `errors` are
    the statuses the handler itself can answer beyond what every route of its kind can (see `gateway.http.openapi`).
    A `streaming` route answers with server-sent events: always, or where it has a `request`, when that asks for it;
    `events` is the data of one. `name` is what clients call the operation, where that is not the name of the handler.
    `bodiless`: the body may be left out. `takes` are the kinds of a body that is no JSON and is passed on as it comes.
    `idempotent` and `limited` routes honour `Idempotency-Key` and all limits of the key. `work` is what the route has
    others do, for the bounds of an organisation and the requests per minute of the key; one that must get through
    whatever else is under way has none.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    scope: Scope | None = None
    request: type[BaseModel] | None = None
    response: type[BaseModel] | RequestSpec[Any, Any] | None = None
    bodiless: bool = False
    query: type[BaseModel] | None = None
    takes: Sequence[str] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    also: Sequence[int] = ()
    errors: Sequence[int] = ()
    streaming: bool = False
    events: type[BaseModel] | None = None
    name: str = ""
    idempotent: bool = False
    limited: bool = False
    work: Work | None = None
    tags: Sequence[str] = ()
    description: str = ""
    content_type: str = "application/json"
    sends: Sequence[str] = ()
    hidden: bool = False

    @property
    def operation(self) -> str:
        """The name of the operation, as clients made from OpenAPI have it."""
        return self.name or str(getattr(self.handler, "__name__", ""))

    @property
    def reply(self) -> type[BaseModel] | None:
        """The body of a success, where it is known."""
        return self.response.reply if isinstance(self.response, RequestSpec) else self.response


class Authenticate(Protocol):
    """Finds out who calls; raises Refused 401 or 503."""

    async def __call__(self, request: web.Request) -> Caller: ...


def add_routes(app: web.Application, routes: Sequence[Route], authenticate: Authenticate, bounds: WorkBounds) -> None:
    """Register the routes; those with a scope run behind authentication and the scope check, work within `bounds`."""
    for route in routes:
        handler = bounded(route, bounds)
        if route.scope is not None:
            handler = guarded(handler, route.scope, authenticate)
        # add_route registers GET without the HEAD that would run the whole handler.
        app.router.add_route(route.method, route.path, handler, expect_handler=expect)


def bounded(route: Route, bounds: WorkBounds) -> Handler:
    """The handler of a route within the bounds of its kind of work."""
    work, handler = route.work, route.handler
    if work is None:
        return handler

    async def within(request: web.Request) -> web.StreamResponse:
        caller = request.get(CALLER)
        org_id = NOBODY if caller is None else caller.org_id
        bounds.enter(work, org_id)
        try:
            await bounds.start(org_id)
            # Before the body is read: a key past its limit costs others nothing.
            if caller is not None:
                await bounds.count(caller)
            return await handler(request)
        finally:
            bounds.leave(work, org_id)

    return within


def guarded(handler: Handler, scope: Scope, authenticate: Authenticate) -> Handler:
    """`handler`, reached only by callers whose key has the scope; sets `request[CALLER]`."""

    async def checked(request: web.Request) -> web.StreamResponse:
        caller = await authenticate(request)
        if scope not in caller.scopes:
            raise forbidden(scope)
        request[CALLER] = caller
        structlog.contextvars.bind_contextvars(org_id=caller.org_id, key_id=caller.key_id)
        return await handler(request)

    return checked
