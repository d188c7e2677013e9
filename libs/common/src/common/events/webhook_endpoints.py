"""Webhooks out: the endpoints of organisations, and what became of each delivery."""

from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from common.events.backoff import PATIENTLY
from common.events.media_topics import MEDIA_COMMANDS, MEDIA_QUERIES
from common.events.reply import ReplyBody
from common.events.spec import Payload, RequestSpec, query

Signing = Literal["hmac-sha256", "ed25519"]
EndpointState = Literal["enabled", "disabled"]
DeliveryState = Literal["pending", "delivered", "failed"]
# What an endpoint may subscribe to, beside the two that every endpoint gets when it is asked for: challenge and test.
Subscribable = Literal["media.job.completed", "media.job.failed", "media.job.cancelled"]
SUBSCRIBABLE: tuple[Subscribable, ...] = get_args(Subscribable)
ENDPOINT_ID = r"^whe_[0-9a-f]{32}$"
DELIVERY_ID = r"^whd_[0-9a-f]{32}$"
# Attempts that a delivery shows, the newest.
MAX_SHOWN_ATTEMPTS = 20


class WebhookEndpoint(ReplyBody):
    """An address that gets events of its organisation. Times are unix seconds.

    With `events` empty it gets what names it alone. `public_key` is that of `ed25519`. Until `old_secret_until` what
    is sent carries a signature of the former secret as well.
    """

    id: str
    object: Literal["webhook_endpoint"]
    url: str
    description: str
    events: Annotated[tuple[str, ...], Field(fail_fast=True)]
    state: EndpointState
    disabled_reason: str | None = None
    signing: Signing
    public_key: str | None = None
    created_at: float
    rotated_at: float | None = None
    old_secret_until: float | None = None


class WebhookEndpointList(ReplyBody):
    """All endpoints of an organisation, the oldest first."""

    object: Literal["list"]
    data: tuple[WebhookEndpoint, ...]


class WebhookAttempt(ReplyBody):
    """One request to the endpoint: the status it answered, or the error where it gave no answer."""

    at: float
    seconds: float
    status: int | None = None
    error: str | None = None


class WebhookDelivery(ReplyBody):
    """One event for one endpoint. `message_id` is the same in every request for it, as receivers need it."""

    id: str
    object: Literal["webhook_delivery"]
    endpoint_id: str
    message_id: str
    type: str
    state: DeliveryState
    created_at: float
    attempts_made: int
    next_attempt_at: float | None = None
    delivered_at: float | None = None
    attempts: tuple[WebhookAttempt, ...] = ()


class WebhookDeliveryList(ReplyBody):
    """A page of deliveries, newest first; `has_more`: ask again `after` the last one."""

    object: Literal["list"]
    data: tuple[WebhookDelivery, ...]
    has_more: bool


class WebhookKeys(ReplyBody):
    """The public keys of an endpoint as a JSON Web Key Set (RFC 7517), the newest first."""

    keys: tuple[dict[str, Any], ...]


# -- commands and queries ---------------------------------------------------------------------------------------------


class WebhookRequest(Payload):
    """Who asks."""

    org_id: str
    key_id: str
    user_id: str = ""


class WebhookEndpointCreateRequested(WebhookRequest):
    """A new endpoint, answered with 201 once it has answered a challenge. The secret is sealed."""

    endpoint_id: str
    url: str
    description: str = ""
    events: Annotated[tuple[str, ...], Field(fail_fast=True)] = ()
    signing: Signing = "hmac-sha256"
    sealed_secret: str
    public_key: str | None = None


class WebhookEndpointRequest(WebhookRequest):
    """One endpoint of the organisation."""

    endpoint_id: str


class WebhookEndpointChangeRequested(WebhookEndpointRequest):
    """Another address (which is challenged first), other events, on or off; what is None stays."""

    url: str | None = None
    description: str | None = None
    events: Annotated[tuple[str, ...], Field(fail_fast=True)] | None = None
    enabled: bool | None = None


class WebhookEndpointDeleteRequested(WebhookEndpointRequest):
    """Forget an endpoint and its deliveries."""


class WebhookSecretRotateRequested(WebhookEndpointRequest):
    """Another secret; for `overlap_seconds` both sign."""

    sealed_secret: str
    public_key: str | None = None
    overlap_seconds: int


class WebhookTestRequested(WebhookEndpointRequest):
    """Send a `webhook.test`, answered with its delivery."""


class WebhookEndpointGetRequested(WebhookEndpointRequest):
    """One endpoint."""


class WebhookEndpointListRequested(WebhookRequest):
    """All endpoints."""


class WebhookKeysRequested(Payload):
    """The public keys of an endpoint, for whoever knows its id."""

    endpoint_id: str


class WebhookDeliveryListRequested(WebhookRequest):
    """Deliveries behind the delivery `after`."""

    endpoint_id: str | None = None
    state: DeliveryState | None = None
    after: str | None = None
    limit: int = 50


class WebhookDeliveryRequest(WebhookRequest):
    """One delivery of the organisation."""

    delivery_id: str


class WebhookDeliveryGetRequested(WebhookDeliveryRequest):
    """One delivery with its attempts."""


class WebhookRedeliverRequested(WebhookDeliveryRequest):
    """Send once more what was sent, delivered or not; answered with the delivery."""


class WebhookRecoverRequested(WebhookEndpointRequest):
    """Send all that failed since then (unix seconds) once more."""

    since: float


class WebhookRecovered(ReplyBody):
    """How many deliveries are sent once more."""

    deliveries: Annotated[int, Field(ge=0)]


class WebhookDeleted(ReplyBody):
    """What was deleted."""

    id: str
    object: Literal["webhook_endpoint"]
    deleted: Literal[True]


def _command(type: str, payload: type[Any], reply: type[Any], summary: str) -> RequestSpec[Any, Any]:
    """A write: those of one organisation are handled one after the other."""
    return RequestSpec(
        type=type,
        version=1,
        payload=payload,
        reply=reply,
        topic=MEDIA_COMMANDS,
        key=lambda request: f"{request.org_id}/webhooks",
        summary=summary,
        retry=PATIENTLY,
    )


def _query(
    type: str, payload: type[Any], reply: type[Any], summary: str, *, of_all: bool = False
) -> RequestSpec[Any, Any]:
    return query(
        type=type,
        payload=payload,
        reply=reply,
        topic=MEDIA_QUERIES,
        key=(lambda query: query.endpoint_id) if of_all else (lambda query: query.org_id),
        summary=summary,
    )


WEBHOOK_ENDPOINT_CREATE_REQUESTED = _command(
    "webhook.endpoint.create.requested",
    WebhookEndpointCreateRequested,
    WebhookEndpoint,
    "Challenge an address and keep it; answered with the endpoint.",
)
WEBHOOK_ENDPOINT_CHANGE_REQUESTED = _command(
    "webhook.endpoint.change.requested",
    WebhookEndpointChangeRequested,
    WebhookEndpoint,
    "Change an endpoint; answered with it.",
)
WEBHOOK_ENDPOINT_DELETE_REQUESTED = _command(
    "webhook.endpoint.delete.requested",
    WebhookEndpointDeleteRequested,
    WebhookDeleted,
    "Forget an endpoint.",
)
WEBHOOK_SECRET_ROTATE_REQUESTED = _command(
    "webhook.secret.rotate.requested",
    WebhookSecretRotateRequested,
    WebhookEndpoint,
    "Give an endpoint another secret; answered with the endpoint.",
)
WEBHOOK_TEST_REQUESTED = _command(
    "webhook.test.requested", WebhookTestRequested, WebhookDelivery, "Send a test; answered with its delivery."
)
WEBHOOK_REDELIVER_REQUESTED = _command(
    "webhook.redeliver.requested", WebhookRedeliverRequested, WebhookDelivery, "Send a delivery once more."
)
WEBHOOK_RECOVER_REQUESTED = _command(
    "webhook.recover.requested", WebhookRecoverRequested, WebhookRecovered, "Send all that failed once more."
)
WEBHOOK_ENDPOINT_GET_REQUESTED = _query(
    "webhook.endpoint.get.requested", WebhookEndpointGetRequested, WebhookEndpoint, "Answer with an endpoint."
)
WEBHOOK_ENDPOINT_LIST_REQUESTED = _query(
    "webhook.endpoint.list.requested", WebhookEndpointListRequested, WebhookEndpointList, "Answer with all endpoints."
)
WEBHOOK_DELIVERY_LIST_REQUESTED = _query(
    "webhook.delivery.list.requested",
    WebhookDeliveryListRequested,
    WebhookDeliveryList,
    "Answer with a page of deliveries.",
)
WEBHOOK_DELIVERY_GET_REQUESTED = _query(
    "webhook.delivery.get.requested", WebhookDeliveryGetRequested, WebhookDelivery, "Answer with a delivery."
)
WEBHOOK_KEYS_REQUESTED = _query(
    "webhook.keys.requested",
    WebhookKeysRequested,
    WebhookKeys,
    "Answer with the public keys of an endpoint.",
    of_all=True,
)
