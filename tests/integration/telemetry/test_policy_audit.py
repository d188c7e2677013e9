"""Who changed what is kept stands in the audit trail, with the change or not at all."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from common.events.audit import AUDIT, AuditRecorded
from common.events.envelope import Event
from common.events.interaction_queries import (
    POLICY_CHANGE_REQUESTED,
    POLICY_REQUESTED,
    PRICE_CHANGE_REQUESTED,
    PolicyChangeRequested,
)
from tests.support.engines import new_database
from tests.support.interactions import InteractionGateway, telemetry_on
from tests.support.service import world_on
from tests.support.waiting import eventually

PRICE = {"key_id": "key-2", "model": "m-1", "valid_from": 1_750_000_000.0, "input": 1.0, "output": 2.0}


@pytest.fixture(scope="module")
async def telemetry(
    valkey_url: str, postgres_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[InteractionGateway]:
    """One service for all of these tests."""
    async with new_database(postgres_url, "policies") as database_url:
        async with world_on(valkey_url, database_url, tmp_path_factory.mktemp("policies")) as world:
            async with telemetry_on(world) as gateway:
                yield gateway


@pytest.fixture
def gateway(telemetry: InteractionGateway) -> InteractionGateway:
    """A gateway for an organisation of the test's own."""
    return telemetry.of(f"org-{uuid.uuid4().hex}")


async def entries(gateway: InteractionGateway, count: int) -> list[AuditRecorded]:
    """What the audit trail has of the organisation, once it has so many entries, on the log and in the table."""
    found: list[AuditRecorded] = []

    async def there() -> bool:
        told = await gateway.world.events(AUDIT)
        found[:] = [event.payload for event in told if event.payload.org_id == gateway.org_id]
        return len(found) >= count

    await eventually(there, timeout=30)
    rows = await gateway.rows("SELECT action, target, before, after FROM telemetry.audit WHERE org_id = $1 ORDER BY id")
    assert [(row["action"], row["target"], row["before"], row["after"]) for row in rows] == [
        (each.action, each.target, each.before, each.after) for each in found
    ]
    return found


def change(gateway: InteractionGateway, policy: dict[str, Any], **fields: Any) -> Event[PolicyChangeRequested]:
    asked = PolicyChangeRequested(org_id=gateway.org_id, key_id="key-1", user_id="u-1", policy=policy, **fields)
    return Event(POLICY_CHANGE_REQUESTED, asked)


async def test_each_change_of_a_policy_is_one_entry_however_often_it_is_delivered(gateway: InteractionGateway) -> None:
    first = change(gateway, {"masking": {"phone": False}})
    answers = await gateway.deliver(first, first)
    assert [answer.status for answer in answers] == [200, 200]
    assert answers[0].body == answers[1].body
    [second] = await gateway.deliver(change(gateway, {"prod": {"retention_days": 7, "sampling": 0.5}}))
    assert second.body["revision"] == 2
    made, changed = await entries(gateway, 2)
    assert {each.action for each in (made, changed)} == {"telemetry_policy.changed"}
    assert (made.key_id, made.user_id, made.target) == ("key-1", "u-1", "telemetry_policy")
    assert (made.before, changed.before) == (None, made.after)
    assert made.after != changed.after


async def test_what_is_refused_leaves_no_entry(gateway: InteractionGateway) -> None:
    await gateway.deliver(change(gateway, {}))
    [refused] = await gateway.deliver(change(gateway, {"masking": {"card": False}}, revision=7))
    assert (refused.status, refused.body["error"]["code"]) == (409, "revision_mismatch")
    assert (await gateway.ask(POLICY_REQUESTED))[1]["revision"] == 1
    assert len(await entries(gateway, 1)) == 1


async def test_each_price_is_an_entry_with_what_it_replaced(gateway: InteractionGateway) -> None:
    for price in (PRICE, {**PRICE, "output": 3.0}, {**PRICE, "valid_from": 1_760_000_000.0}):
        status, told = await gateway.ask(PRICE_CHANGE_REQUESTED, **price)
        assert status == 200, told
    first, replaced, later = await entries(gateway, 3)
    assert (first.action, first.target, first.key_id) == ("telemetry_price.set", "telemetry_price:m-1", "key-2")
    assert (first.before, replaced.before, later.before) == (None, first.after, None)
    assert len({first.after, replaced.after, later.after}) == 3
