"""Webhooks in: checked, published once, then acknowledged."""

import time
import uuid

from aiohttp import hdrs, web
from pydantic import BaseModel, ConfigDict

from common.bus.port import BusUnavailableError
from common.events.envelope import Event
from common.events.webhooks import WEBHOOK_RECEIVED, WebhookReceived
from common.failures import Refused
from gateway.deps import DEPS
from gateway.http.body import read_body
from gateway.http.errors import not_found, unavailable
from gateway.metrics import WEBHOOKS_RECEIVED
from gateway.webhooks.signature import verify
from gateway.webhooks.webhook_delivery import Delivery, read_delivery

# A webhook is metadata: the provider's own are below 2 KB, a tool call with large parameters stays far below this.
MAX_BODY_BYTES = 256 * 1024
# Ids of events derive from deliveries, so that one published twice is still one event.
EVENTS = uuid.UUID("0f3c7a52-9f0a-4c0e-8f63-0d6f4a5e9b11")


class HumeWebhook(BaseModel):
    """Any event of the provider."""

    model_config = ConfigDict(extra="allow")

    event_name: str
    chat_id: str | None = None


class Acknowledged(BaseModel):
    """It is kept. `duplicate`: it had been before."""

    received: bool
    duplicate: bool


async def receive_hume(request: web.Request) -> web.Response:
    """`POST /webhooks/hume`."""
    try:
        duplicate = await _receive(request)
    except Refused as refused:
        WEBHOOKS_RECEIVED.labels("hume", refused.code).inc()
        raise
    WEBHOOKS_RECEIVED.labels("hume", "duplicate" if duplicate else "published").inc()
    body = Acknowledged(received=True, duplicate=duplicate)
    return web.Response(body=body.model_dump_json().encode(), content_type="application/json")


async def _receive(request: web.Request) -> bool:
    """Take a webhook in; returns whether it had been before."""
    deps = request.app[DEPS]
    keys = deps.settings.hume_webhook_secrets
    if not keys:
        # A stranger who calls it must not look like a failure of ours.
        raise not_found("The webhooks of this provider are not set up here.", code="unconfigured")
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
        # What is signed are the bytes as sent, which are not to be had once they are unpacked.
        raise Refused(415, "A webhook is not to be packed.", "unsupported_encoding")
    raw = await read_body(request, MAX_BODY_BYTES)
    now = time.time()
    verify(keys, raw, request.headers, now)
    delivery = read_delivery(raw)
    async with deps.replays.once(delivery) as new:
        if new:
            await _publish(request, delivery, now)
    return not new


async def _publish(request: web.Request, delivery: Delivery, now: float) -> None:
    received = WebhookReceived(
        provider="hume",
        event_name=delivery.event_name,
        delivery_key=delivery.key,
        known=delivery.known,
        body=delivery.body,
        received_at=now,
    )
    event = Event(WEBHOOK_RECEIVED, received, id=str(uuid.uuid5(EVENTS, f"hume:{delivery.key}")))
    try:
        await request.app[DEPS].log.publish(event.record())
    except BusUnavailableError as error:
        raise unavailable("It is not known whether the webhook was kept: send it again.") from error
