"""Endpoints and deliveries as their organisation sees them."""

from datetime import datetime
from typing import Any

from common.events.webhook_endpoints import WebhookAttempt, WebhookDelivery, WebhookEndpoint
from media.webhook_ports import Delivery, Endpoint


def endpoint_shown(endpoint: Endpoint, now: datetime) -> WebhookEndpoint:
    """An endpoint as its organisation sees it."""
    overlapping = endpoint.old_secret_until is not None and endpoint.old_secret_until > now
    fields: dict[str, Any] = {
        "disabled_reason": endpoint.disabled_reason,
        "public_key": endpoint.public_key,
        "rotated_at": unix(endpoint.rotated_at),
        "old_secret_until": unix(endpoint.old_secret_until) if overlapping else None,
    }
    return WebhookEndpoint(
        id=endpoint.id,
        object="webhook_endpoint",
        url=endpoint.url,
        description=endpoint.description,
        events=tuple(endpoint.events),
        state=endpoint.state,
        signing=endpoint.signing,
        created_at=endpoint.created_at.timestamp(),
        **{name: value for name, value in fields.items() if value is not None},
    )


def delivery_shown(delivery: Delivery) -> WebhookDelivery:
    """A delivery as its organisation sees it."""
    fields = {"next_attempt_at": unix(delivery.next_at), "delivered_at": unix(delivery.delivered_at)}
    return WebhookDelivery(
        id=delivery.id,
        object="webhook_delivery",
        endpoint_id=delivery.endpoint_id,
        message_id=delivery.message_id,
        type=delivery.type,
        state=delivery.state,
        created_at=delivery.created_at.timestamp(),
        attempts_made=delivery.attempts_made,
        attempts=tuple(WebhookAttempt(**each) for each in delivery.attempts),
        **{name: value for name, value in fields.items() if value is not None},
    )


def unix(moment: datetime | None) -> float | None:
    """Unix seconds."""
    return None if moment is None else moment.timestamp()
