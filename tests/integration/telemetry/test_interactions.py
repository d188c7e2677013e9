"""Interactions are stored once each, for as long as their policy says, and what is lost shows."""

import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from common.events.envelope import Event
from common.events.interaction_queries import (
    LEDGER_REQUESTED,
    POLICY_CHANGE_REQUESTED,
    PRICE_CHANGE_REQUESTED,
    SESSION_LIST_REQUESTED,
    USER_DELETION_GET,
    USER_DELETION_REQUESTED,
)
from common.events.interactions import INTERACTIONS, INTERACTIONS_TALLIED, InteractionsTallied
from tests.support.engines import new_database
from tests.support.interactions import BOX, InteractionGateway, item, telemetry_on
from tests.support.service import world_on
from tests.support.waiting import eventually

DAY = 86_400.0
HOUR = 3600


@pytest.fixture(scope="module")
async def telemetry(
    valkey_url: str, postgres_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[InteractionGateway]:
    """One service for all of these tests."""
    async with new_database(postgres_url, "interactions") as database_url:
        async with world_on(valkey_url, database_url, tmp_path_factory.mktemp("interactions")) as world:
            async with telemetry_on(world) as gateway:
                yield gateway


@pytest.fixture
def gateway(telemetry: InteractionGateway) -> InteractionGateway:
    """A gateway for an organisation of the test's own."""
    return telemetry.of(f"org-{uuid.uuid4().hex}")


@pytest.fixture
def others(telemetry: InteractionGateway) -> InteractionGateway:
    """The same for another organisation."""
    return telemetry.of(f"org-{uuid.uuid4().hex}")


async def ledger(gateway: InteractionGateway) -> dict[str, int]:
    """The counts of this hour and the one before, together."""
    now = time.time()
    status, told = await gateway.ask(LEDGER_REQUESTED, since=now - HOUR, until=now + HOUR)
    assert status == 200
    names = ("accepted", "stored", "sampled_out", "parked", "repeated", "missing")
    return {name: sum(hour[name] for hour in told["data"]) for name in names}


def counts(**given: int) -> dict[str, int]:
    names = ("accepted", "stored", "sampled_out", "parked", "repeated", "missing")
    return {**dict.fromkeys(names, 0), **given}


async def change_policy(gateway: InteractionGateway, **policy: Any) -> None:
    status, told = await gateway.ask(POLICY_CHANGE_REQUESTED, key_id="key-1", policy=policy)
    assert status == 200, told


async def test_a_batch_that_is_delivered_twice_is_stored_and_counted_once(gateway: InteractionGateway) -> None:
    first, second = gateway.batch(item("a"), item("b")), gateway.batch(item("c"))
    await gateway.report(first, second, first)
    await gateway.report(first)
    assert sorted(await gateway.texts()) == ["a", "b", "c"]
    assert await ledger(gateway) == counts(accepted=3, stored=3)


async def test_the_same_id_is_one_interaction_in_whatever_batch(gateway: InteractionGateway) -> None:
    old, new = item("old", time.time() - 20 * DAY), item("new")
    await gateway.report(gateway.batch(old, new), gateway.batch(new, old, new))
    assert await gateway.texts() == ["old", "new"]
    assert await ledger(gateway) == counts(accepted=5, stored=2, repeated=3)
    days = await gateway.rows("SELECT day FROM telemetry.chat WHERE org_id = $1 ORDER BY day")
    assert (days[1]["day"] - days[0]["day"]).days == 20


async def test_what_the_log_loses_is_missing(gateway: InteractionGateway) -> None:
    # Ten were acknowledged before this one, and nobody brings them.
    await gateway.report(gateway.batch(item(), confirmed=10))
    assert await ledger(gateway) == counts(accepted=10, stored=1, missing=9)
    hour = int(time.time() // HOUR)
    # Of the last ones no record follows: the gateway tells it.
    told = InteractionsTallied(org_id=gateway.org_id, source="gateway-2", hour=hour, confirmed=5)
    await gateway.world.publish(Event(INTERACTIONS_TALLIED, told))
    await gateway.world.handled(INTERACTIONS, "telemetry")
    assert (await ledger(gateway))["missing"] == 14


async def test_what_is_missing_of_an_hour_that_is_over_is_an_alert(gateway: InteractionGateway) -> None:
    hour = int(time.time() // HOUR) - 2
    await gateway.report(gateway.batch(item(), confirmed=4, hour=hour))

    async def seen() -> bool:
        return await gateway.process.total("sonant_ledger_missing") == 3

    await eventually(seen, timeout=40)


async def test_rows_past_their_retention_are_dropped_by_organisation_and_mode(
    gateway: InteractionGateway, others: InteractionGateway
) -> None:
    await change_policy(gateway, dev={"retention_days": 7}, prod={"retention_days": 30})
    old = time.time() - 10 * DAY
    await gateway.report(gateway.batch(item("prod", old), item("dev", old, mode="dev"), item("today", mode="dev")))
    await gateway.report(others.batch(item("others", old, mode="dev")))

    async def dropped() -> bool:
        return await gateway.texts() == ["prod", "today"]

    await eventually(dropped, timeout=30)
    assert await others.texts() == ["others"]
    # The partition, not the rows of it.
    leaves = await gateway.world.fetch("SELECT FROM pg_class WHERE relname ~ '^chat_k7_' AND relkind = 'r'")
    assert 1 <= len(leaves) <= 4


async def test_a_changed_retention_holds_for_what_is_there(
    gateway: InteractionGateway, others: InteractionGateway
) -> None:
    now = time.time()
    steps = [{"name": "step"}]
    await gateway.report(
        gateway.batch(item("old", now - 20 * DAY, step_data=steps), item("new", now - 2 * DAY, step_data=steps)),
        others.batch(item("others", now - 20 * DAY)),
    )
    await change_policy(gateway, prod={"retention_days": 14})

    async def moved() -> bool:
        found = await gateway.rows("SELECT user_prompt, keep FROM telemetry.chat WHERE org_id = $1")
        return [(row["user_prompt"], row["keep"]) for row in found] == [("new", 14)]

    await eventually(moved, timeout=30)
    assert await others.texts() == ["others"]
    for table in ("prompt_details", "steps"):
        found = await gateway.rows(f"SELECT keep FROM telemetry.{table} WHERE org_id = $1")  # noqa: S608
        assert [row["keep"] for row in found] == [14], table


async def test_a_user_is_deleted_and_others_stay(gateway: InteractionGateway, others: InteractionGateway) -> None:
    score = {"kind": "score", "name": "good", "value": 1, "user_id": "other"}
    mine = item("mine", session_id="s", user_id="me@example.com", total_tokens=5, step_data=[{"name": "x"}])
    scored = {**score, "id": item()["id"], "interaction_id": mine["id"]}
    theirs = item("theirs", session_id="s", user_id="you", total_tokens=7)
    alone = item("alone", session_id="t", user_id="me@example.com")
    await gateway.report(
        gateway.batch(mine, theirs, alone, scored), others.batch(item("same", user_id="me@example.com"))
    )
    deletion = str(uuid.uuid4())
    wanted = {"key_id": "key-1", "deletion_id": deletion, "user_id": BOX.seal_name("me@example.com", gateway.org_id)}
    assert (await gateway.ask(USER_DELETION_REQUESTED, **wanted))[0] == 202

    async def deleted() -> bool:
        return await gateway.texts() == ["theirs"]

    await eventually(deleted, timeout=30)
    assert await others.texts() == ["same"]
    _, told = await gateway.ask(USER_DELETION_GET, deletion_id=deletion)
    # Not done: what was accepted before may come yet.
    assert (told["state"], told["rows"] >= 6) == ("queued", True)
    _, listed = await gateway.ask(SESSION_LIST_REQUESTED)
    assert [(session["session_id"], session["turns"], session["total_tokens"]) for session in listed["data"]] == [
        ("s", 1, 7)
    ]
    for table in ("steps", "scores"):
        assert await gateway.rows(f"SELECT FROM telemetry.{table} WHERE org_id = $1") == [], table
    late = item("late", user_id="me@example.com")
    await gateway.report(gateway.batch(late))
    await eventually(deleted, timeout=30)


async def test_a_share_of_the_sessions_is_kept_and_the_rest_is_counted(gateway: InteractionGateway) -> None:
    await change_policy(gateway, prod={"sampling": 0.5})
    items = [item("x", session_id=f"session-{number % 40}") for number in range(200)]
    await gateway.report(gateway.batch(*items))
    found = await gateway.rows("SELECT count(*) AS turns FROM telemetry.chat WHERE org_id = $1 GROUP BY session_id")
    assert 8 <= len(found) <= 32
    assert {row["turns"] for row in found} == {5}
    told = await ledger(gateway)
    assert told["stored"] + told["sampled_out"] == told["accepted"] == 200
    await change_policy(gateway, prod={"sampling": 0.0})
    score = {"kind": "score", "id": item()["id"], "interaction_id": items[0]["id"], "name": "good", "value": True}
    await gateway.report(gateway.batch(item("none"), score))
    assert len(await gateway.rows("SELECT FROM telemetry.scores WHERE org_id = $1")) == 1
    assert "none" not in await gateway.texts()


async def test_an_interaction_costs_what_its_model_cost_at_its_time(gateway: InteractionGateway) -> None:
    now = time.time()
    for valid_from, price in ((now - 20 * DAY, 1.0), (now - 5 * DAY, 3.0)):
        fields = {"model": "m-1", "valid_from": valid_from, "input": price, "output": 2 * price}
        status, told = await gateway.ask(PRICE_CHANGE_REQUESTED, key_id="key-1", cached_input=0.5, **fields)
        assert status == 200, told
    used = {"llm_model": "m-1", "prompt_tokens": 1_000_000, "completion_tokens": 500_000}
    await gateway.report(
        gateway.batch(
            item("before", now - 25 * DAY, **used),
            item("first", now - 10 * DAY, **used),
            item("second", now, **used, cached_tokens=400_000),
            item("given", now, **used, cost_usd=0.25),
            item("unknown", now, **{**used, "llm_model": "m-2"}),
        )
    )
    rows = await gateway.rows(
        "SELECT user_prompt, cost_usd::float8, cost_from FROM telemetry.chat JOIN telemetry.prompt_details"
        " USING (keep, day, org_id, id) WHERE org_id = $1"
    )
    assert {row["user_prompt"]: (row["cost_usd"], row["cost_from"]) for row in rows} == {
        "before": (None, None),
        "first": (2.0, "prices"),
        "second": (5.0, "prices"),
        "given": (0.25, "caller"),
        "unknown": (None, None),
    }


async def test_a_batch_that_nobody_can_open_is_parked_and_says_nothing(gateway: InteractionGateway) -> None:
    foreign = gateway.batch(item("secret canary"), sealed="bm8gc2VhbA==")
    await gateway.report(foreign, gateway.batch(item("fine")))
    assert await gateway.texts() == ["fine"]
    [letter] = await gateway.world.dead_letters(INTERACTIONS)
    assert "sealed with another key" in letter.headers["dlq-message"]
    assert b"canary" not in orjson.dumps(dict(letter.headers)) + letter.value
