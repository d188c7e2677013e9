"""Endpoints: registered after a challenge, changed, given another secret, forgotten."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from common.events.envelope import Event
from common.events.reply import Reply
from common.events.webhook_endpoints import (
    EndpointState,
    WebhookDeleted,
    WebhookEndpoint,
    WebhookEndpointChangeRequested,
    WebhookEndpointCreateRequested,
    WebhookEndpointDeleteRequested,
    WebhookEndpointGetRequested,
    WebhookEndpointList,
    WebhookEndpointListRequested,
    WebhookKeys,
    WebhookKeysRequested,
    WebhookSecretRotateRequested,
)
from common.failures import Refused
from common.providers.webhook_signature import jwk
from common.secret_box import SecretError
from media.deps import Deps
from media.webhook_ports import Endpoint, WebhookTables
from media.webhooks.challenge import challenge
from media.webhooks.endpoint import endpoint_shown

MAX_ENDPOINTS = 50
T = TypeVar("T")


async def create(event: Event[WebhookEndpointCreateRequested], deps: Deps) -> Reply[WebhookEndpoint]:
    """201, once the address has answered a challenge."""
    wanted = event.payload
    webhooks = deps.webhooks
    await challenge(webhooks.http, wanted.url, _opened(deps, wanted.sealed_secret, wanted.org_id))
    async with webhooks.units.begin(event) as work:
        if len(await work.tables.endpoints()) >= MAX_ENDPOINTS:
            raise Refused(409, f"An organisation has at most {MAX_ENDPOINTS} webhook endpoints.", "too_many_endpoints")
        endpoint = Endpoint(
            id=wanted.endpoint_id,
            org_id=wanted.org_id,
            url=wanted.url,
            description=wanted.description,
            events=list(wanted.events),
            state="enabled",
            disabled_reason=None,
            signing=wanted.signing,
            sealed_secret=wanted.sealed_secret,
            public_key=wanted.public_key,
            sealed_old_secret=None,
            old_public_key=None,
            old_secret_until=None,
            created_at=work.now,
            rotated_at=None,
            failing_since=None,
        )
        await work.tables.insert(endpoint)
        await work.audit("webhook_endpoint.created", f"webhook_endpoint:{endpoint.id}", after=_audited(endpoint))
        return await work.answer(Reply(endpoint_shown(endpoint, work.now), 201))


async def change(event: Event[WebhookEndpointChangeRequested], deps: Deps) -> Reply[WebhookEndpoint]:
    """200; another address is challenged first."""
    wanted = event.payload
    webhooks = deps.webhooks
    if wanted.url is not None:
        known = await known_endpoint(webhooks.store.of(wanted.org_id), wanted.endpoint_id)
        await challenge(webhooks.http, wanted.url, _opened(deps, known.sealed_secret, wanted.org_id))
    async with webhooks.units.begin(event) as work:
        before = await known_endpoint(work.tables, wanted.endpoint_id)
        after = replace(
            before,
            url=_or(wanted.url, before.url),
            description=_or(wanted.description, before.description),
            events=list(_or(wanted.events, tuple(before.events))),
        )
        if wanted.enabled is not None:
            state: EndpointState = "enabled" if wanted.enabled else "disabled"
            reason = None if wanted.enabled else "Switched off."
            after = replace(after, state=state, disabled_reason=reason, failing_since=None)
        await work.tables.update(after)
        target = f"webhook_endpoint:{after.id}"
        await work.audit("webhook_endpoint.changed", target, before=_audited(before), after=_audited(after))
        reply = await work.answer(Reply(endpoint_shown(after, work.now)))
    webhooks.sender.wake()
    return reply


async def rotate(event: Event[WebhookSecretRotateRequested], deps: Deps) -> Reply[WebhookEndpoint]:
    """200. While both secrets hold, what is sent is signed with both."""
    wanted = event.payload
    async with deps.webhooks.units.begin(event) as work:
        before = await known_endpoint(work.tables, wanted.endpoint_id)
        after = replace(
            before,
            sealed_secret=wanted.sealed_secret,
            public_key=wanted.public_key,
            sealed_old_secret=before.sealed_secret,
            old_public_key=before.public_key,
            old_secret_until=work.now + timedelta(seconds=wanted.overlap_seconds),
            rotated_at=work.now,
        )
        await work.tables.update(after)
        await work.audit("webhook_endpoint.secret_rotated", f"webhook_endpoint:{after.id}")
        return await work.answer(Reply(endpoint_shown(after, work.now)))


async def delete(event: Event[WebhookEndpointDeleteRequested], deps: Deps) -> Reply[WebhookDeleted]:
    """200; its deliveries go with it."""
    async with deps.webhooks.units.begin(event) as work:
        endpoint = await known_endpoint(work.tables, event.payload.endpoint_id)
        await work.tables.delete(endpoint.id)
        await work.audit("webhook_endpoint.deleted", f"webhook_endpoint:{endpoint.id}", before=_audited(endpoint))
        return await work.answer(Reply(WebhookDeleted(id=endpoint.id, object="webhook_endpoint", deleted=True)))


async def get(event: Event[WebhookEndpointGetRequested], deps: Deps) -> Reply[WebhookEndpoint]:
    """200 with one endpoint."""
    query = event.payload
    endpoint = await known_endpoint(deps.webhooks.store.of(query.org_id), query.endpoint_id)
    return Reply(endpoint_shown(endpoint, datetime.now(UTC)))


async def list_all(event: Event[WebhookEndpointListRequested], deps: Deps) -> Reply[WebhookEndpointList]:
    """200 with all endpoints of the organisation."""
    found = await deps.webhooks.store.of(event.payload.org_id).endpoints()
    now = datetime.now(UTC)
    return Reply(WebhookEndpointList(object="list", data=tuple(endpoint_shown(each, now) for each in found)))


async def keys(event: Event[WebhookKeysRequested], deps: Deps) -> Reply[WebhookKeys]:
    """200 with the public keys, for whoever knows the id of the endpoint: they prove, and tell nothing."""
    found = await deps.webhooks.store.public_keys(event.payload.endpoint_id)
    if found is None:
        raise endpoint_not_found()
    return Reply(WebhookKeys(keys=tuple(jwk(key) for key in found)))


async def known_endpoint(tables: WebhookTables, id: str) -> Endpoint:
    """The endpoint. Raises Refused (404)."""
    endpoint = await tables.endpoint(id)
    if endpoint is None:
        raise endpoint_not_found()
    return endpoint


def endpoint_not_found() -> Refused:
    return Refused(404, "There is no webhook endpoint with this id.", "webhook_endpoint_not_found")


def _opened(deps: Deps, sealed: str, org_id: str) -> str:
    try:
        return deps.webhooks.secrets.open(sealed, org_id)
    except SecretError as error:
        raise Refused(503, f"The secret cannot be used: {error}.", "secret_not_kept", type="server_error") from None


def _or(given: T | None, before: T) -> T:
    return before if given is None else given


def _audited(endpoint: Endpoint) -> dict[str, object]:
    """What an entry of the audit trail is about: no secret, sealed or not."""
    return {"url": endpoint.url, "events": list(endpoint.events), "state": endpoint.state}
