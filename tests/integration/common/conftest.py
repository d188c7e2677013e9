"""A client for addresses that callers name, and whom it meets."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from common.providers.guarded_http import GuardedHttp, open_guarded_http
from tests.support.peers import INSIDE, OUTSIDE, RULES, Names, Peer


@pytest.fixture
def names() -> Names:
    return Names()


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    peer = Peer()
    app = web.Application()

    async def outside(request: web.Request) -> web.StreamResponse:
        return await peer.serve_outside(request)

    app.router.add_route("*", "/{path:.*}", outside)
    runner, twin = web.AppRunner(app, shutdown_timeout=0), web.ServerRunner(web.Server(peer.serve_inside))
    for each in (runner, twin):
        await each.setup()
    site = web.TCPSite(runner, OUTSIDE, 0)
    await site.start()
    peer.port = runner.addresses[0][1]
    await web.TCPSite(twin, INSIDE, peer.port).start()
    yield peer
    for each in (runner, twin):
        await each.cleanup()


@pytest.fixture
async def http(names: Names) -> AsyncIterator[GuardedHttp]:
    async with open_guarded_http(RULES, resolver=names) as http:
        yield http
