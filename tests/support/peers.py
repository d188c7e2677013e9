"""Peers of the client for addresses that callers name: name servers that change their mind, and hostile servers.

127.0.0.1 stands for the public internet and is allowed; 127.0.0.2 stands for a private network and is not.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from common.failures import Refused
from common.kernel.tasks import end
from common.providers.addresses import AddressRules, networks

OUTSIDE, INSIDE = "127.0.0.1", "127.0.0.2"
RULES = AddressRules(allow=networks(OUTSIDE))
ENOUGH = 1_000_000

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


class Names:
    """Name servers of the outside world: each name has a list of answers, given in turn, of which the last stays."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Sequence[str]]] = {}
        self.asked: list[str] = []

    async def addresses(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        answers = self.answers.get(host)
        if answers is None:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return answers.pop(0) if len(answers) > 1 else answers[0]


class Peer:
    """A server outside and its twin inside, at the same port, that note who was called."""

    def __init__(self) -> None:
        self.port = 0
        self.inside = 0
        self.requests: list[web.Request] = []
        self.routes: dict[str, Handler] = {}

    def url(self, path: str = "/", host: str = OUTSIDE) -> str:
        return f"http://{host}:{self.port}{path}"

    async def serve_outside(self, request: web.BaseRequest) -> web.StreamResponse:
        assert isinstance(request, web.Request)
        self.requests.append(request)
        return await self.routes[request.path](request)

    async def serve_inside(self, request: web.BaseRequest) -> web.StreamResponse:
        self.inside += 1
        return web.Response(text="a secret")


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


def redirect(location: str, status: int = 302) -> Handler:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={"Location": location}, text="moved")

    return handler


def says(text: str, status: int = 200, headers: dict[str, str] | None = None) -> Handler:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(text=text, status=status, headers=headers)

    return handler


@asynccontextmanager
async def talking(talk: Talk) -> AsyncIterator[str]:
    """A server that speaks in its own way; its URL."""

    talks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(talk(reader, writer))
        talks.add(task)
        await asyncio.wait([task])
        writer.close()
        # It may have ended with the connection.
        assert task.cancelled() or task.exception() is None or isinstance(task.exception(), OSError | EOFError)

    server = await asyncio.start_server(serve, OUTSIDE, 0)
    try:
        yield f"http://{OUTSIDE}:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()
        await end(*talks)


async def refused(call: Awaitable[object], code: str = "url_not_allowed", status: int = 400) -> None:
    with pytest.raises(Refused) as met:
        await call
    assert (met.value.code, met.value.status) == (code, status)


def raw(*pieces: bytes, pause: float = 0.0, repeat: bytes = b"") -> Talk:
    """Sends the pieces, then `repeat` for ever, with a pause after each."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
        while repeat:
            writer.write(repeat)
            await writer.drain()
            await asyncio.sleep(pause)

    return talk
