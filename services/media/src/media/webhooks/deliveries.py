"""Deliveries: made from what happened, listed, sent once more."""

import time
from datetime import UTC, datetime
from typing import TypeVar

from common.events.envelope import Event
from common.events.media import JobEnded
from common.events.reply import Reply
from common.events.webhook_endpoints import (
    WebhookDelivery,
    WebhookDeliveryGetRequested,
    WebhookDeliveryList,
    WebhookDeliveryListRequested,
    WebhookRecovered,
    WebhookRecoverRequested,
    WebhookRedeliverRequested,
    WebhookTestRequested,
)
from common.failures import Refused
from media.deps import Deps
from media.webhook_ports import Delivery, WebhookTables
from media.webhooks.endpoint import delivery_shown
from media.webhooks.endpoints import known_endpoint
from media.webhooks.message import message, message_id, message_of

TEST = "webhook.test"
E = TypeVar("E", bound=JobEnded)


async def on_job_ended(event: Event[E], deps: Deps) -> None:
    """A delivery for every endpoint that wants to know. A fact that comes twice makes none twice."""
    job = event.payload
    tables = deps.webhooks.store.of(job.org_id)
    made = await tables.add(message_id(event.id), event.spec.type, message_of(event), named=job.webhook)
    if made:
        deps.webhooks.sender.wake()


async def send_test(event: Event[WebhookTestRequested], deps: Deps) -> Reply[WebhookDelivery]:
    """202 with a delivery that says nothing but hello."""
    async with deps.webhooks.units.begin(event) as work:
        endpoint = await known_endpoint(work.tables, event.payload.endpoint_id)
        body = message(TEST, time.time(), {"endpoint_id": endpoint.id})
        id = await work.tables.add_to(endpoint.id, message_id(event.id), TEST, body)
        reply = await work.answer(Reply(delivery_shown(await _known(work.tables, id)), 202))
    deps.webhooks.sender.wake()
    return reply


async def redeliver(event: Event[WebhookRedeliverRequested], deps: Deps) -> Reply[WebhookDelivery]:
    """202; the schedule begins anew, the id of the message stays."""
    async with deps.webhooks.units.begin(event) as work:
        delivery = await _known(work.tables, event.payload.delivery_id)
        await work.tables.begin_anew(delivery.id)
        await work.audit("webhook_delivery.redelivered", f"webhook_delivery:{delivery.id}")
        reply = await work.answer(Reply(delivery_shown(await _known(work.tables, delivery.id)), 202))
    deps.webhooks.sender.wake()
    return reply


async def recover(event: Event[WebhookRecoverRequested], deps: Deps) -> Reply[WebhookRecovered]:
    """202 with how many are sent once more."""
    wanted = event.payload
    async with deps.webhooks.units.begin(event) as work:
        endpoint = await known_endpoint(work.tables, wanted.endpoint_id)
        count = await work.tables.begin_failed_anew(endpoint.id, datetime.fromtimestamp(wanted.since, UTC))
        await work.audit("webhook_endpoint.recovered", f"webhook_endpoint:{endpoint.id}")
        reply = await work.answer(Reply(WebhookRecovered(deliveries=count), 202))
    deps.webhooks.sender.wake()
    return reply


async def get(event: Event[WebhookDeliveryGetRequested], deps: Deps) -> Reply[WebhookDelivery]:
    """200 with one delivery and its attempts."""
    query = event.payload
    return Reply(delivery_shown(await _known(deps.webhooks.store.of(query.org_id), query.delivery_id)))


async def page(event: Event[WebhookDeliveryListRequested], deps: Deps) -> Reply[WebhookDeliveryList]:
    """200 with deliveries, newest first."""
    query = event.payload
    found = await deps.webhooks.store.of(query.org_id).deliveries(
        endpoint_id=query.endpoint_id, state=query.state, after=query.after, limit=query.limit + 1
    )
    data = tuple(delivery_shown(each) for each in found[: query.limit])
    return Reply(WebhookDeliveryList(object="list", data=data, has_more=len(found) > query.limit))


async def _known(tables: WebhookTables, id: str) -> Delivery:
    delivery = await tables.delivery(id)
    if delivery is None:
        raise Refused(404, "There is no webhook delivery with this id.", "webhook_delivery_not_found")
    return delivery
