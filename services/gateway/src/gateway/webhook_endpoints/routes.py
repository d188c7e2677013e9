"""The routes of webhooks out."""

from collections.abc import Sequence
from typing import Any

from common.events.webhook_endpoints import (
    WEBHOOK_DELIVERY_GET_REQUESTED,
    WEBHOOK_DELIVERY_LIST_REQUESTED,
    WEBHOOK_ENDPOINT_CHANGE_REQUESTED,
    WEBHOOK_ENDPOINT_DELETE_REQUESTED,
    WEBHOOK_ENDPOINT_GET_REQUESTED,
    WEBHOOK_ENDPOINT_LIST_REQUESTED,
    WEBHOOK_KEYS_REQUESTED,
    WEBHOOK_RECOVER_REQUESTED,
    WEBHOOK_REDELIVER_REQUESTED,
    WEBHOOK_TEST_REQUESTED,
)
from gateway.http.routing import Handler, Route
from gateway.ports import Scope, Work
from gateway.webhook_endpoints import delivery_views, endpoint_bodies, endpoint_views

ENDPOINTS = "/v1/webhooks/endpoints"
DELIVERIES = "/v1/webhooks/deliveries"


def _read(path: str, handler: Handler, summary: str, **fields: Any) -> Route:
    common = {"scope": Scope.MEDIA, "work": Work.READ, "errors": (404, 503, 504), "tags": ("webhooks",)}
    return Route("GET", path, handler, summary, **{**common, **fields})


def _write(method: str, path: str, handler: Handler, summary: str, **fields: Any) -> Route:
    common = {
        "scope": Scope.MEDIA,
        "work": Work.WRITE,
        "errors": (404, 409, 503, 504),
        "idempotent": True,
        "tags": ("webhooks",),
    }
    return Route(method, path, handler, summary, **{**common, **fields})


ROUTES: Sequence[Route] = [
    _write(
        "POST",
        ENDPOINTS,
        endpoint_views.create,
        "Register an endpoint",
        name="create_webhook_endpoint",
        request=endpoint_bodies.NewEndpoint,
        response=endpoint_bodies.EndpointWithSecret,
        status=201,
        idempotent=False,
        description="The address is sent a `webhook.challenge` first, and has to repeat its word.",
    ),
    _read(
        ENDPOINTS,
        endpoint_views.list_all,
        "List the endpoints",
        name="list_webhook_endpoints",
        response=WEBHOOK_ENDPOINT_LIST_REQUESTED,
    ),
    _read(
        f"{ENDPOINTS}/{{id}}",
        endpoint_views.read,
        "Read an endpoint",
        name="get_webhook_endpoint",
        response=WEBHOOK_ENDPOINT_GET_REQUESTED,
    ),
    _write(
        "PATCH",
        f"{ENDPOINTS}/{{id}}",
        endpoint_views.change,
        "Change an endpoint",
        name="update_webhook_endpoint",
        request=endpoint_bodies.ChangedEndpoint,
        response=WEBHOOK_ENDPOINT_CHANGE_REQUESTED,
    ),
    _write(
        "DELETE",
        f"{ENDPOINTS}/{{id}}",
        endpoint_views.delete,
        "Forget an endpoint and its deliveries",
        name="delete_webhook_endpoint",
        response=WEBHOOK_ENDPOINT_DELETE_REQUESTED,
    ),
    _write(
        "POST",
        f"{ENDPOINTS}/{{id}}/rotate",
        endpoint_views.rotate,
        "Give an endpoint another secret",
        name="rotate_webhook_secret",
        request=endpoint_bodies.SecretRotation,
        response=endpoint_bodies.EndpointWithSecret,
        idempotent=False,
    ),
    _write(
        "POST",
        f"{ENDPOINTS}/{{id}}/test",
        endpoint_views.send_test,
        "Send a test",
        name="test_webhook_endpoint",
        response=WEBHOOK_TEST_REQUESTED,
        status=202,
    ),
    _write(
        "POST",
        f"{ENDPOINTS}/{{id}}/recover",
        endpoint_views.recover,
        "Send all that failed once more",
        name="recover_webhook_endpoint",
        request=endpoint_bodies.Recovery,
        response=WEBHOOK_RECOVER_REQUESTED,
        status=202,
    ),
    _read(
        f"{ENDPOINTS}/{{id}}/jwks.json",
        endpoint_views.read_keys,
        "The public keys of an endpoint that is signed with ed25519",
        name="get_webhook_keys",
        scope=None,
        response=WEBHOOK_KEYS_REQUESTED,
    ),
    _read(
        DELIVERIES,
        delivery_views.page,
        "List deliveries",
        name="list_webhook_deliveries",
        query=endpoint_bodies.DeliveriesQuery,
        response=WEBHOOK_DELIVERY_LIST_REQUESTED,
    ),
    _read(
        f"{DELIVERIES}/{{id}}",
        delivery_views.read,
        "Read a delivery with its attempts",
        name="get_webhook_delivery",
        response=WEBHOOK_DELIVERY_GET_REQUESTED,
    ),
    _write(
        "POST",
        f"{DELIVERIES}/{{id}}/redeliver",
        delivery_views.redeliver,
        "Send a delivery once more",
        name="redeliver_webhook",
        response=WEBHOOK_REDELIVER_REQUESTED,
        status=202,
    ),
]
