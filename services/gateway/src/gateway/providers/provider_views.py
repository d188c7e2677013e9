"""`GET /v1/providers`: how the outside systems are doing that the caller's organisation uses."""

import asyncio

import orjson
from aiohttp import web

from common.events.providers import (
    MEDIA_PROVIDERS_REQUESTED,
    RESOURCE_PROVIDERS_REQUESTED,
    ProviderHealth,
    ProviderList,
    ProvidersRequested,
)
from common.events.reply import content
from common.failures import Refused, Unavailable
from gateway.deps import DEPS
from gateway.http.context import CALLER

ASKED = {"media": MEDIA_PROVIDERS_REQUESTED, "resources": RESOURCE_PROVIDERS_REQUESTED}
# A service that is away is told as such, soon.
SECONDS = 2.0


async def list_providers(request: web.Request) -> web.Response:
    """Asks every service that calls providers; one that does not answer is named."""
    query = ProvidersRequested(org_id=request[CALLER].org_id)
    answers = await asyncio.gather(*(_asked(request, service, query) for service in ASKED))
    data: list[ProviderHealth] = [each for found in answers if found is not None for each in found.data]
    away = tuple(service for service, found in zip(ASKED, answers, strict=True) if found is None)
    body = ProviderList(object="list", data=tuple(data), unreachable=away)
    return web.Response(body=orjson.dumps(content(body)), content_type="application/json")


async def _asked(request: web.Request, service: str, query: ProvidersRequested) -> ProviderList | None:
    try:
        return (await request.app[DEPS].request_reply.ask(ASKED[service], query, timeout=SECONDS)).body
    except (Refused, Unavailable):
        return None
