"""Bodies and queries of webhook endpoints."""

import base64
import binascii
from typing import Annotated

from pydantic import AfterValidator, Field

from common.events.webhook_endpoints import (
    DELIVERY_ID,
    ENDPOINT_ID,
    SUBSCRIBABLE,
    DeliveryState,
    Signing,
    Subscribable,
    WebhookEndpoint,
)
from common.providers.webhook_signature import SECRET_PREFIX
from gateway.http.fields import Query, Strict, Whole

MAX_URL = 2048
MIN_SECRET, MAX_SECRET = 24, 64
WEEK = 7 * 24 * 3600


def _secret(text: str) -> str:
    """A secret of the caller's own, as Standard Webhooks has them."""
    try:
        raw = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"'{SECRET_PREFIX}' and base64") from None
    if not text.startswith(SECRET_PREFIX) or not MIN_SECRET <= len(raw) <= MAX_SECRET:
        raise ValueError(f"'{SECRET_PREFIX}' and {MIN_SECRET} to {MAX_SECRET} bytes in base64")
    return text


def _url(text: str) -> str:
    if not text.startswith(("https://", "http://")):
        raise ValueError("it begins with https:// or http://")
    return text


Url = Annotated[str, Field(max_length=MAX_URL), AfterValidator(_url)]
Description = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
Events = Annotated[list[Subscribable], Field(max_length=len(SUBSCRIBABLE), fail_fast=True)]
Secret = Annotated[str, Field(max_length=200), AfterValidator(_secret)]


class NewEndpoint(Strict):
    """An endpoint to be registered. Without `events` it gets all there are, with an empty list what names it alone.

    Give a `secret` of your own to check the signature of the challenge, which comes before the answer.
    """

    url: Url
    events: Events = Field(default=[*SUBSCRIBABLE])
    description: Description = ""
    signing: Signing = "hmac-sha256"
    secret: Secret | None = None


class ChangedEndpoint(Strict):
    """What is to change; what is left out stays."""

    url: Url | None = None
    events: Events | None = None
    description: Description | None = None
    enabled: bool | None = None


class SecretRotation(Strict):
    """How long the old secret signs as well, in seconds."""

    overlap: Annotated[int, Field(ge=0, le=WEEK), Whole] = 24 * 3600
    secret: Secret | None = None


class Recovery(Strict):
    """Since when, in unix seconds."""

    since: Annotated[float, Field(ge=0, le=1e11, allow_inf_nan=False)]


class DeliveriesQuery(Query):
    """Which deliveries: newest first, behind the delivery `after`."""

    endpoint: Annotated[str, Field(pattern=ENDPOINT_ID)] | None = None
    state: DeliveryState | None = None
    after: Annotated[str, Field(pattern=DELIVERY_ID)] | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 50


class EndpointWithSecret(WebhookEndpoint):
    """An endpoint with its secret, which is shown this once; null for `ed25519`, whose private key nobody needs."""

    secret: str | None = None
