"""Webhooks in: what a provider told us, after its signature was checked."""

from typing import Any

from common.events.backoff import PATIENTLY
from common.events.spec import EventSpec, Payload, Topic

WEBHOOK_EVENTS = Topic("webhook-events")


class WebhookReceived(Payload):
    """One delivery of a provider, once; `known` is False for an event name we have no use for (yet)."""

    provider: str
    event_name: str
    # What repeated deliveries of one event have in common.
    delivery_key: str
    known: bool
    body: dict[str, Any]
    received_at: float


WEBHOOK_RECEIVED = EventSpec(
    type="webhook.received",
    version=1,
    payload=WebhookReceived,
    topic=WEBHOOK_EVENTS,
    key=lambda webhook: webhook.delivery_key,
    summary="A provider's webhook arrived and was genuine.",
    retry=PATIENTLY,
)
