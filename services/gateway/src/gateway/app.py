"""Composition root of the gateway."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from common.docs import asyncapi
from common.kernel.asking import Asker
from common.kernel.health import ops_routes
from common.kernel.service import Kernel, Service
from common.resources.reader import open_reader
from common.storage.postgres import open_postgres
from common.storage.resp import open_resp
from gateway import middleware
from gateway.adapters.keys_postgres import PostgresKeys
from gateway.books import Books
from gateway.deps import DEPS, Deps
from gateway.idempotency import Idempotency
from gateway.keys import Keys, keeper
from gateway.limits import Limits
from gateway.models import Models
from gateway.openapi import document
from gateway.routes import ROUTES
from gateway.routing import add_routes
from gateway.settings import GatewaySettings
from gateway.streams import Streams
from gateway.views.docs import docs_routes
from gateway.webhooks import Replays

MIGRATIONS = Path(__file__).parents[2] / "migrations"
# Header bombs end here with a 400; real clients stay far below.
MAX_HEADER_LINE = 16 * 1024
MAX_REQUEST_LINE = 8 * 1024


@asynccontextmanager
async def open_resources(settings: GatewaySettings, kernel: Kernel) -> AsyncIterator[Deps]:
    """Everything a view needs; the live mailbox is open before the first request can be published."""
    announce = partial(kernel.live.signal, "key-changed")
    async with (
        open_postgres(
            settings.database_url, size=settings.database_pool, migrations=MIGRATIONS, schema="gateway"
        ) as pool,
        keeper(PostgresKeys(pool), lambda key_id: announce(key_id=key_id), kernel.tasks) as keys,
        open_resp(settings.redis_url) as counting,
    ):
        signals = Signals(keys)
        async with kernel.read_live(f"gateway:{settings.instance}", signals) as reader:
            signals.streams = streams = Streams(kernel.live, reader)
            asker = Asker(kernel.log, reader)
            if settings.admin_key_file is not None:
                await keys.ensure_admin(settings.admin_key_file)
            limits = Limits(counting)
            async with (
                open_reader(settings.redis_url, asker, kernel.tasks) as resources,
                aclosing(Books(limits, streams, kernel.tasks)) as books,
            ):
                yield Deps(
                    settings=settings,
                    kernel=kernel,
                    streams=streams,
                    asker=asker,
                    keys=keys,
                    limits=limits,
                    books=books,
                    idempotency=Idempotency(kernel.redis),
                    models=Models(asker, kernel.tasks),
                    resources=resources,
                    replays=Replays(kernel.redis),
                )


class Signals:
    """What this process does about the shared signals."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self.streams: Streams | None = None

    def __call__(self, signal: dict[str, Any]) -> None:
        if signal["kind"] == "key-changed":
            self._keys.evict(signal["key_id"])
        elif self.streams is not None:
            self.streams.on_signal(signal)


def build_app(kernel: Kernel, deps: Deps) -> web.Application:
    """The public application."""
    app = web.Application(client_max_size=deps.settings.max_body_bytes)
    middleware.install(app)
    app[DEPS] = deps
    add_routes(app, ROUTES, deps.keys.identify)
    app.add_routes(docs_routes(document(ROUTES), orjson.dumps(asyncapi.document())))
    app.add_routes(ops_routes(kernel.health))
    return app


@asynccontextmanager
async def serve(settings: GatewaySettings, kernel: Kernel, deps: Deps) -> AsyncIterator[None]:
    """Listen; on leaving no new connection is taken, and open answers get the drain budget."""
    runner = middleware.Runner(
        build_app(kernel, deps),
        access_log=None,
        handler_cancellation=True,
        shutdown_timeout=settings.drain_seconds,
        max_line_size=MAX_REQUEST_LINE,
        max_field_size=MAX_HEADER_LINE,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.host, settings.port, backlog=1024).start()
        yield
    finally:
        await runner.cleanup()


def build(settings: GatewaySettings) -> Service[GatewaySettings, Deps]:
    """The service, ready to run."""
    return Service("gateway", settings, resources=open_resources, serves=serve)
