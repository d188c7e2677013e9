"""`/v1/webhooks/endpoints`: registered, changed, given another secret, forgotten."""

import re
import uuid

from aiohttp import web

from common.events.reply import content
from common.events.spec import P, R, RequestSpec
from common.events.webhook_endpoints import (
    ENDPOINT_ID,
    WEBHOOK_ENDPOINT_CHANGE_REQUESTED,
    WEBHOOK_ENDPOINT_CREATE_REQUESTED,
    WEBHOOK_ENDPOINT_DELETE_REQUESTED,
    WEBHOOK_ENDPOINT_GET_REQUESTED,
    WEBHOOK_ENDPOINT_LIST_REQUESTED,
    WEBHOOK_KEYS_REQUESTED,
    WEBHOOK_RECOVER_REQUESTED,
    WEBHOOK_SECRET_ROTATE_REQUESTED,
    WEBHOOK_TEST_REQUESTED,
    Signing,
    WebhookEndpointChangeRequested,
    WebhookEndpointCreateRequested,
    WebhookEndpointDeleteRequested,
    WebhookEndpointGetRequested,
    WebhookEndpointListRequested,
    WebhookKeysRequested,
    WebhookRecoverRequested,
    WebhookSecretRotateRequested,
    WebhookTestRequested,
)
from common.providers.webhook_signature import new_key_pair, new_secret
from common.secret_box import SecretError
from gateway.deps import DEPS
from gateway.http.body import read_json
from gateway.http.context import CALLER
from gateway.http.errors import bad_request, not_found
from gateway.http.request_reply import COMMAND_SECONDS, answer
from gateway.http.validation import validate
from gateway.webhook_endpoints.endpoint_bodies import ChangedEndpoint, NewEndpoint, Recovery, SecretRotation

MAX_BODY_BYTES = 16 * 1024
KNOWN_ID = re.compile(ENDPOINT_ID)
# Receivers look up a key they do not know; one that is gone may be trusted a little longer.
KEYS_SECONDS = 300


async def create(request: web.Request) -> web.Response:
    """`POST /v1/webhooks/endpoints`."""
    body = validate(NewEndpoint, await read_json(request, max_bytes=MAX_BODY_BYTES))
    secret, public = _new_secret(body.signing, body.secret)
    wanted = WebhookEndpointCreateRequested(
        **requested_by(request),
        endpoint_id=f"whe_{uuid.uuid4().hex}",
        url=body.url,
        description=body.description,
        events=tuple(dict.fromkeys(body.events)),
        signing=body.signing,
        sealed_secret=_sealed(request, secret),
        public_key=public,
    )
    return await _with_secret(request, WEBHOOK_ENDPOINT_CREATE_REQUESTED, wanted, None if public else secret)


async def rotate(request: web.Request) -> web.Response:
    """`POST /v1/webhooks/endpoints/{id}/rotate`."""
    body = validate(SecretRotation, await read_json(request, max_bytes=MAX_BODY_BYTES))
    who, id = requested_by(request), _id(request)
    asked = WebhookEndpointGetRequested(**who, endpoint_id=id)
    known = await request.app[DEPS].request_reply.ask(WEBHOOK_ENDPOINT_GET_REQUESTED, asked)
    secret, public = _new_secret(known.body.signing, body.secret)
    wanted = WebhookSecretRotateRequested(
        **who,
        endpoint_id=id,
        sealed_secret=_sealed(request, secret),
        public_key=public,
        overlap_seconds=body.overlap,
    )
    return await _with_secret(request, WEBHOOK_SECRET_ROTATE_REQUESTED, wanted, None if public else secret)


async def change(request: web.Request) -> web.Response:
    """`PATCH /v1/webhooks/endpoints/{id}`."""
    body = validate(ChangedEndpoint, await read_json(request, max_bytes=MAX_BODY_BYTES))
    wanted = WebhookEndpointChangeRequested(
        **requested_by(request),
        endpoint_id=_id(request),
        url=body.url,
        description=body.description,
        events=None if body.events is None else tuple(dict.fromkeys(body.events)),
        enabled=body.enabled,
    )
    return await request.app[DEPS].request_reply.command(request, WEBHOOK_ENDPOINT_CHANGE_REQUESTED, wanted)


async def delete(request: web.Request) -> web.Response:
    """`DELETE /v1/webhooks/endpoints/{id}`."""
    wanted = WebhookEndpointDeleteRequested(**requested_by(request), endpoint_id=_id(request))
    return await request.app[DEPS].request_reply.command(request, WEBHOOK_ENDPOINT_DELETE_REQUESTED, wanted)


async def send_test(request: web.Request) -> web.Response:
    """`POST /v1/webhooks/endpoints/{id}/test`."""
    wanted = WebhookTestRequested(**requested_by(request), endpoint_id=_id(request))
    return await request.app[DEPS].request_reply.command(request, WEBHOOK_TEST_REQUESTED, wanted)


async def recover(request: web.Request) -> web.Response:
    """`POST /v1/webhooks/endpoints/{id}/recover`."""
    body = validate(Recovery, await read_json(request, max_bytes=MAX_BODY_BYTES))
    wanted = WebhookRecoverRequested(**requested_by(request), endpoint_id=_id(request), since=body.since)
    return await request.app[DEPS].request_reply.command(request, WEBHOOK_RECOVER_REQUESTED, wanted)


async def read(request: web.Request) -> web.Response:
    """`GET /v1/webhooks/endpoints/{id}`."""
    query = WebhookEndpointGetRequested(**requested_by(request), endpoint_id=_id(request))
    return await request.app[DEPS].request_reply.query(WEBHOOK_ENDPOINT_GET_REQUESTED, query)


async def list_all(request: web.Request) -> web.Response:
    """`GET /v1/webhooks/endpoints`."""
    query = WebhookEndpointListRequested(**requested_by(request))
    return await request.app[DEPS].request_reply.query(WEBHOOK_ENDPOINT_LIST_REQUESTED, query)


async def read_keys(request: web.Request) -> web.Response:
    """`GET /v1/webhooks/endpoints/{id}/jwks.json`, without a key: receivers have none."""
    query = WebhookKeysRequested(endpoint_id=_id(request))
    response = await request.app[DEPS].request_reply.query(WEBHOOK_KEYS_REQUESTED, query)
    response.headers["cache-control"] = f"public, max-age={KEYS_SECONDS}"
    return response


def requested_by(request: web.Request) -> dict[str, str]:
    """The fields of every command and query."""
    caller = request[CALLER]
    return {"org_id": caller.org_id, "key_id": caller.key_id}


def _id(request: web.Request) -> str:
    id = request.match_info["id"]
    if not KNOWN_ID.fullmatch(id):
        raise not_found("There is no webhook endpoint with this id.", code="webhook_endpoint_not_found")
    return id


def _new_secret(signing: Signing, given: str | None) -> tuple[str, str | None]:
    """The secret, and the public key where it is half of a pair. Raises Refused (400)."""
    if signing == "hmac-sha256":
        return given or new_secret(), None
    if given is not None:
        raise bad_request("Invalid 'secret': the pair for 'ed25519' is made here.", "secret", "invalid_value")
    pair = new_key_pair()
    return pair.private, pair.public


def _sealed(request: web.Request, secret: str) -> str:
    """The secret as it may be on the log. Raises Refused (400)."""
    try:
        return request.app[DEPS].secrets.seal(secret, request[CALLER].org_id)
    except SecretError as error:
        raise bad_request(f"No webhook can be signed: {error}.", None, "secret_not_kept") from None


async def _with_secret(request: web.Request, spec: RequestSpec[P, R], wanted: P, secret: str | None) -> web.Response:
    """The reply with the secret, which nothing here keeps: it is answered this once, and never for a repetition."""
    reply = await request.app[DEPS].request_reply.ask(spec, wanted, timeout=COMMAND_SECONDS)
    response = answer(reply, lambda body: {**content(body), "secret": secret})
    response.headers["cache-control"] = "no-store"
    return response
