"""Every route of the gateway, domain by domain."""

from collections.abc import Sequence

from gateway.chat import routes as chat
from gateway.http.routing import Route
from gateway.ingest import routes as ingest
from gateway.keys import routes as keys
from gateway.resources import routes as resources
from gateway.telemetry import routes as telemetry
from gateway.webhooks import routes as webhooks

DOMAINS = (chat, ingest, telemetry, resources, webhooks, keys)
ROUTES: Sequence[Route] = [route for domain in DOMAINS for route in domain.ROUTES]
