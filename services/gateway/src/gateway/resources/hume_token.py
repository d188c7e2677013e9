"""Access tokens of the voice provider, for clients that speak to it themselves."""

from dataclasses import replace

from aiohttp import web

from common.events.resources import HUME_TOKEN_REQUESTED, HumeTokenRequested
from common.failures import Refused
from gateway.deps import DEPS
from gateway.http.end_user import end_user
from gateway.http.fields import Query
from gateway.http.validation import read_query
from gateway.resources.request_context import requested_by

NOT_CACHED = {"cache-control": "no-store"}


async def get_token(request: web.Request) -> web.Response:
    """`GET /api/hume/auth`."""
    who = requested_by(request, end_user(request))
    read_query(request, Query)
    try:
        response = await request.app[DEPS].request_reply.query(HUME_TOKEN_REQUESTED, HumeTokenRequested(**who))
    except Refused as refused:
        raise replace(refused, headers={**refused.headers, **NOT_CACHED}) from None
    response.headers.update(NOT_CACHED)
    return response
