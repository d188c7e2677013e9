"""A receiver of webhooks on loopback: takes, refuses, hangs, redirects or lies, by the path it is called at."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

# Of an answer of `coin`: whoever waits for it may be killed meanwhile.
SLOW_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Received:
    """One request, as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        parsed: dict[str, Any] = orjson.loads(self.body)
        return parsed

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


@dataclass
class Sink:
    """What came, and how each path behaves: `good`, `flaky`, `coin`, `down`, `gone`, `redirect`, `lie`, `hang`.

    `flaky` takes each message at the second try, `coin` every other try by chance, and slowly. Every path answers
    challenges rightly, except `lie`, `redirect` and `hang`. `behaviour` may be changed meanwhile.
    """

    url: str = ""
    received: list[Received] = field(default_factory=list)
    behaviour: dict[str, str] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    # Of the messages that `coin` has taken, how often.
    taken: Counter[str] = field(default_factory=Counter)

    def of(self, path: str, type: str | None = None) -> list[Received]:
        """What came at a path, challenges left out unless they are asked for."""
        return [
            each
            for each in self.received
            if each.path == path and (each.json["type"] == type if type else each.json["type"] != "webhook.challenge")
        ]

    async def take(self, request: web.Request) -> web.StreamResponse:
        path = request.path.strip("/")
        headers = {name.lower(): value for name, value in request.headers.items()}
        received = Received(path, headers, await request.read())
        self.received.append(received)
        behaviour = self.behaviour.get(path, path.partition("-")[0])
        if behaviour == "redirect":
            raise web.HTTPFound(f"{self.url}/good")
        if behaviour == "hang":
            await asyncio.sleep(30)
        if received.json["type"] == "webhook.challenge":
            word = received.json["data"]["challenge"]
            return web.json_response({"challenge": "something else" if behaviour == "lie" else word})
        if behaviour == "coin":
            return await self._tossed(received.id)
        first = received.id not in self.seen
        self.seen.add(received.id)
        status = {"down": 500, "gone": 410, "flaky": 503 if first else 200}.get(behaviour, 204)
        return web.Response(status=status)

    async def _tossed(self, id: str) -> web.Response:
        await asyncio.sleep(random.uniform(0.0, SLOW_SECONDS))
        if random.random() < 0.5:
            return web.Response(status=503)
        self.taken[id] += 1
        return web.Response(status=204)


@asynccontextmanager
async def webhook_sink() -> AsyncIterator[Sink]:
    """A sink that listens."""
    sink = Sink()
    app = web.Application()
    app.router.add_post("/{path:.*}", sink.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    sink.url = f"http://{host}:{port}"
    try:
        yield sink
    finally:
        await runner.cleanup()
