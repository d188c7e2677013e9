"""Every route of the gateway, domain by domain."""

from collections.abc import Sequence

from gateway.assets import routes as assets
from gateway.chat import routes as chat
from gateway.http.routing import Route
from gateway.keys import routes as keys
from gateway.media import routes as media
from gateway.resources import routes as resources
from gateway.telemetry import routes as telemetry
from gateway.webhooks import routes as webhooks

ROUTES: Sequence[Route] = [
    *chat.ROUTES,
    *telemetry.ROUTES,
    *resources.ROUTES,
    *assets.ROUTES,
    *media.ROUTES,
    *webhooks.ROUTES,
    *keys.ROUTES,
]
