"""The routes under /sandbox: what the stand-ins saw, and starting afresh."""

import orjson
from aiohttp import web

from sandbox.faults import GATES
from sandbox.hume.accounts import ACCOUNTS
from sandbox.recorder import RECORDER, RING_SIZE
from sandbox.runware.task_ledger import LEDGER
from sandbox.speech_charges import SPEECH_CHARGES


def routes() -> list[web.RouteDef]:
    """Return the observation routes."""
    return [
        web.get("/healthz", health),
        web.get("/sandbox/stats", stats),
        web.get("/sandbox/requests", requests),
        web.post("/sandbox/reset", reset),
    ]


async def health(request: web.Request) -> web.Response:
    """Answer as soon as the server does."""
    return _json({"status": "ok"})


async def stats(request: web.Request) -> web.Response:
    """Totals since the last reset."""
    return _json(request.app[RECORDER].stats())


async def requests(request: web.Request) -> web.Response:
    """The last calls as an array in order of arrival, for whoever has the key; query: limit (1,000), model."""
    recorder = request.app[RECORDER]
    if not recorder.keeps:
        raise web.HTTPNotFound(text="requests are kept only where SONANT_SANDBOX_RECORD_KEY is set")
    if not recorder.may_read(request.headers.get("Authorization", "").removeprefix("Bearer ")):
        raise web.HTTPUnauthorized(text="the key of the record is needed: Authorization: Bearer <key>")
    limit = request.query.get("limit", str(RING_SIZE))
    if not limit.isdigit():
        raise web.HTTPBadRequest(text="limit must be a number")
    return _json(recorder.last(int(limit), request.query.get("model")))


async def reset(request: web.Request) -> web.Response:
    """Forget calls, totals, charges, outages, flaky counts and provider accounts."""
    request.app[RECORDER].reset()
    request.app[GATES].reset()
    request.app[ACCOUNTS].reset()
    request.app[LEDGER].reset()
    request.app[SPEECH_CHARGES].reset()
    return _json({"status": "reset"})


def _json(payload: object) -> web.Response:
    return web.Response(body=orjson.dumps(payload), content_type="application/json")
