"""Every route of the gateway, domain by domain."""

from collections.abc import Sequence

from gateway.assets import routes as assets
from gateway.chat import routes as chat
from gateway.documents import routes as documents
from gateway.http.routing import Route
from gateway.ingest import routes as ingest
from gateway.keys import routes as keys
from gateway.media import routes as media
from gateway.providers import routes as providers
from gateway.resources import routes as resources
from gateway.telemetry import routes as telemetry
from gateway.webhook_endpoints import routes as webhook_endpoints
from gateway.webhooks import routes as webhooks

DOMAINS = (chat, ingest, telemetry, resources, assets, media, documents, providers, webhook_endpoints, webhooks, keys)
ROUTES: Sequence[Route] = [route for domain in DOMAINS for route in domain.ROUTES]
