"""`/v1/webhooks/deliveries`: what was sent, and once more."""

import re

from aiohttp import web

from common.events.webhook_endpoints import (
    DELIVERY_ID,
    WEBHOOK_DELIVERY_GET_REQUESTED,
    WEBHOOK_DELIVERY_LIST_REQUESTED,
    WEBHOOK_REDELIVER_REQUESTED,
    WebhookDeliveryGetRequested,
    WebhookDeliveryListRequested,
    WebhookRedeliverRequested,
)
from gateway.deps import DEPS
from gateway.http.errors import not_found
from gateway.http.validation import read_query
from gateway.webhook_endpoints.endpoint_bodies import DeliveriesQuery
from gateway.webhook_endpoints.endpoint_views import requested_by

KNOWN_ID = re.compile(DELIVERY_ID)


async def page(request: web.Request) -> web.Response:
    """`GET /v1/webhooks/deliveries`."""
    query = read_query(request, DeliveriesQuery)
    wanted = WebhookDeliveryListRequested(
        **requested_by(request),
        endpoint_id=query.endpoint,
        state=query.state,
        after=query.after,
        limit=query.limit,
    )
    return await request.app[DEPS].request_reply.query(WEBHOOK_DELIVERY_LIST_REQUESTED, wanted)


async def read(request: web.Request) -> web.Response:
    """`GET /v1/webhooks/deliveries/{id}`."""
    wanted = WebhookDeliveryGetRequested(**requested_by(request), delivery_id=_id(request))
    return await request.app[DEPS].request_reply.query(WEBHOOK_DELIVERY_GET_REQUESTED, wanted)


async def redeliver(request: web.Request) -> web.Response:
    """`POST /v1/webhooks/deliveries/{id}/redeliver`."""
    wanted = WebhookRedeliverRequested(**requested_by(request), delivery_id=_id(request))
    return await request.app[DEPS].request_reply.command(request, WEBHOOK_REDELIVER_REQUESTED, wanted)


def _id(request: web.Request) -> str:
    id = request.match_info["id"]
    if not KNOWN_ID.fullmatch(id):
        raise not_found("There is no webhook delivery with this id.", code="webhook_delivery_not_found")
    return id
