"""The models the stand-in has."""

import orjson
from aiohttp import web

from sandbox.faults import split_model
from sandbox.openai.errors import no_such_model

# Fixed, so that a listing never changes between runs: 2025-01-01.
CREATED = 1_735_689_600
LISTED = (
    "sandbox",
    "sandbox-mini",
    "gpt-4o-mini",
    "text-embedding-3-small",
    "text-embedding-3-large",
    "rerank-sandbox",
    "omni-moderation-latest",
)
# Any name under these prefixes answers, so that one server can stand in for several upstreams.
PREFIXES = ("sandbox", "gpt-", "text-embedding-", "rerank-", "tts-", "omni-moderation-")


def exists(base: str) -> bool:
    """Tell whether a base name (without directives) is a model."""
    return base.startswith(PREFIXES)


async def list_models(request: web.Request) -> web.Response:
    """GET /v1/models."""
    return _json({"object": "list", "data": [_model(name) for name in LISTED]})


async def get_model(request: web.Request) -> web.Response:
    """GET /v1/models/{id}."""
    name = request.match_info["id"]
    if not exists(split_model(name)[0]):
        raise no_such_model(name)
    return _json(_model(name))


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "sandbox"}


def _json(payload: object) -> web.Response:
    return web.Response(body=orjson.dumps(payload), content_type="application/json")
