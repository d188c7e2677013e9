"""The stand-ins as one web application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from sandbox import observation, open_meteo, speech_charges
from sandbox.faults import GATES, Gates
from sandbox.hume import routes as hume_routes
from sandbox.hume.accounts import ACCOUNTS, Accounts
from sandbox.openai import routes as openai_routes
from sandbox.recorder import RECORDER, Recorder
from sandbox.runware import routes as runware_routes
from sandbox.runware.task_ledger import LEDGER, Ledger
from sandbox.speech_charges import SPEECH_CHARGES, SpeechCharges
from sandbox.spotify import spotify_routes

# Real providers take requests of some tens of megabytes (images inline).
BODY_MAX_BYTES = 32 * 1024 * 1024
# A burst of new connections must not be refused by the stand-in before the system under test is.
BACKLOG = 2048
# Streams that stall on purpose would hold up the end of the process for ever.
SHUTDOWN_SECONDS = 0.5


def build_app(record_key: str = "", folder: str | None = None) -> web.Application:
    """Return the application with every route and a recorder of its own.

    Whoever has `record_key` may read the requests that came; without one none is kept. What providers keep for good
    is kept in `folder`, if one is given.

    It must run with `handler_cancellation=True` (as `serve` and aiohttp's TestServer do): that is how a caller
    who leaves is noticed while an answer waits.
    """
    provider_errors = [openai_routes.provider_errors, hume_routes.provider_errors]
    app = web.Application(client_max_size=BODY_MAX_BYTES, middlewares=provider_errors)
    app[RECORDER] = Recorder(record_key)
    app[GATES] = Gates()
    app[ACCOUNTS] = Accounts()
    app[LEDGER] = Ledger(folder)
    app[SPEECH_CHARGES] = SpeechCharges()
    app[spotify_routes.APPS] = {}
    app.add_routes(observation.routes())
    app.add_routes(openai_routes.routes())
    app.add_routes(hume_routes.routes())
    app.add_routes(runware_routes.routes())
    app.add_routes(spotify_routes.routes())
    app.add_routes(open_meteo.routes())
    app.add_routes(speech_charges.routes())
    return app


@asynccontextmanager
async def serve(
    host: str = "127.0.0.1", port: int = 0, record_key: str = "", folder: str | None = None
) -> AsyncIterator[str]:
    """Serve the stand-ins; yields the base address, such as `http://127.0.0.1:8090`. Port 0 takes a free one."""
    app = build_app(record_key, folder)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=BACKLOG).start()
        yield f"http://{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
