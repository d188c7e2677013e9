"""What an organisation may have under way at a gateway: more is refused at once, and costs others nothing."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web

from common.failures import Refused
from gateway.http import boundary
from gateway.http.errors import rate_limited
from gateway.http.routing import Route, add_routes
from gateway.http.work_bounds import WorkBounds
from gateway.ports import Caller, Scope, Work
from gateway.routes import ROUTES
from gateway.settings import GatewaySettings

# What must get through whatever else is under way, or is bounded otherwise: a resumed stream needs a slot.
FREE = {
    ("POST", "/v1/sessions/{session_id}/interrupt"),
    ("GET", "/v1/chat/completions/{id}/stream"),
    ("GET", "/v1/responses/{id}"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{model:.+}"),
    ("DELETE", "/v1/admin/keys/{key_id}"),
}


class OnePerMinute:
    """The limits of keys, by which `limited` has had its request."""

    async def count(self, caller: Caller) -> None:
        if caller.key_id == "limited":
            raise rate_limited("Rate limit of this API key reached.", retry=60.0)


async def authenticate(request: web.Request) -> Caller:
    return Caller(request.headers["org"], request.headers.get("key", "k"), frozenset(Scope))


@asynccontextmanager
async def serving(most: Mapping[Work, int], let_go: asyncio.Event) -> AsyncIterator[aiohttp.ClientSession]:
    async def work(request: web.Request) -> web.StreamResponse:
        await let_go.wait()
        return web.Response()

    routes = [
        Route("POST", "/write", work, "Write", scope=Scope.RESOURCES, work=Work.WRITE),
        Route("GET", "/read", work, "Read", scope=Scope.RESOURCES, work=Work.READ),
        Route("POST", "/delivery", work, "Deliver", work=Work.DELIVERY),
        Route("POST", "/free", work, "Always", scope=Scope.RESOURCES),
    ]
    app = web.Application()
    boundary.install(app)
    add_routes(app, routes, authenticate, WorkBounds(cast("Any", OnePerMinute()), {**dict.fromkeys(Work, 0), **most}))
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        async with aiohttp.ClientSession(f"http://{host}:{port}") as http:
            yield http
    finally:
        await runner.cleanup()


async def status(http: aiohttp.ClientSession, method: str, path: str, **headers: str) -> int:
    async with http.request(method, path, headers=headers) as answer:
        if answer.status == 429:
            body = await answer.json()
            assert int(answer.headers["retry-after"]) >= 1
            assert body["error"]["code"] in ("too_many_at_once", "rate_limit_exceeded")
        return answer.status


async def test_more_than_its_bound_is_refused_and_others_are_not() -> None:
    let_go = asyncio.Event()
    async with serving({Work.WRITE: 3, Work.DELIVERY: 1}, let_go) as http:
        noisy = [asyncio.create_task(status(http, "POST", "/write", org="noisy")) for _ in range(10)]
        refused, _ = await asyncio.wait(noisy, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result() for task in refused] == [429] * len(refused)
        others = [
            asyncio.create_task(status(http, "POST", "/write", org="quiet")),
            asyncio.create_task(status(http, "GET", "/read", org="noisy")),
            asyncio.create_task(status(http, "POST", "/free", org="noisy")),
            asyncio.create_task(status(http, "POST", "/delivery", org="")),
        ]
        let_go.set()
        assert await asyncio.gather(*others) == [200] * 4
        assert sorted(await asyncio.gather(*noisy)) == [200] * 3 + [429] * 7
        # What is over is given back.
        assert await status(http, "POST", "/write", org="noisy") == 200


async def test_the_requests_per_minute_of_a_key_hold_for_every_kind_of_work() -> None:
    let_go = asyncio.Event()
    let_go.set()
    async with serving({}, let_go) as http:
        assert await status(http, "POST", "/write", org="a", key="limited") == 429
        assert await status(http, "GET", "/read", org="a", key="limited") == 429
        assert await status(http, "POST", "/free", org="a", key="limited") == 200
        assert [await status(http, "POST", "/write", org="a") for _ in range(5)] == [200] * 5


def test_every_route_that_works_is_bounded() -> None:
    assert {(route.method, route.path) for route in ROUTES if route.work is None} == FREE


def test_a_refusal_leaves_nothing_to_leave() -> None:
    bounds = WorkBounds(cast("Any", OnePerMinute()), {**dict.fromkeys(Work, 0), Work.DRAFT: 1})
    bounds.enter(Work.DRAFT, "a")
    with pytest.raises(Refused):
        bounds.enter(Work.DRAFT, "a")
    bounds.leave(Work.DRAFT, "a")
    bounds.enter(Work.DRAFT, "a")


def test_the_defaults_protect() -> None:
    settings = GatewaySettings()
    assert 0 < settings.organization_drafts <= 16
    for bound in (
        settings.organization_answers,
        settings.organization_writes,
        settings.organization_reads,
        settings.webhook_deliveries,
    ):
        assert 0 < bound <= 1_000
