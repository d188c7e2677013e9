"""What the resources service promises whatever dies: no command or fact lost, none doubled, each told in order."""

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from common.events.audit import AUDIT
from common.events.envelope import Event
from common.events.reply import Reply
from common.events.resources import (
    RESOURCE_CREATE_REQUESTED,
    RESOURCE_EDIT_REQUESTED,
    RESOURCE_EVENTS,
    RESOURCE_GET_REQUESTED,
    RESOURCE_VERSION_REQUESTED,
)
from sonant_cli.engines import postgres, valkey
from tests.support.engines import Running, new_database, running
from tests.support.resources import Caller, caller_of, published
from tests.support.service import World, started, world_on
from tests.support.waiting import eventually

PROMPT = {"name": "greeter", "text": "Greet the caller."}


async def create(caller: Caller) -> str:
    """The id of a new prompt."""
    made = await caller.ask(RESOURCE_CREATE_REQUESTED, kind="prompt", body=PROMPT)
    assert made.status == 201, made.body
    return str(made.body["prompt"]["id"])


async def get(caller: Caller, id: str) -> Reply[Any]:
    return await caller.ask(RESOURCE_GET_REQUESTED, kind="prompt", id=id)


def code(reply: Reply[Any]) -> tuple[int, str]:
    return reply.status, reply.body["error"]["code"]


def commands(caller: Caller, orgs: list[str], total: int) -> list[Event[Any]]:
    """Prompts to create, turn by turn in one of the organisations."""
    return [
        caller.of(orgs[number % len(orgs)]).event(
            RESOURCE_CREATE_REQUESTED, 180, kind="prompt", body={**PROMPT, "name": f"prompt {number}"}
        )
        for number in range(total)
    ]


async def load(world: World, events: list[Event[Any]]) -> None:
    """Every command twice, some at a time."""
    for start in range(0, len(events), 20):
        batch = [event.record() for event in events[start : start + 20]]
        await world.log.publish(*batch, *batch)


async def all_told_in_order(world: World, orgs: list[str], events: list[Event[Any]]) -> None:
    """Fail unless every command left its resource, its audit entry and its fact, once and in order."""
    made = await world.fetch("SELECT id FROM resources.resources WHERE org_id = ANY($1)", orgs)
    assert len(made) == len(events)
    await published(world)
    told = [event for event in await world.events(RESOURCE_EVENTS) if event.payload.org_id in orgs]
    # A fact may be told again after a crash, under its own id, and in order behind its first telling.
    facts = list({event.id: event.payload for event in told}.values())
    assert sorted(fact.id for fact in facts) == sorted(row["id"] for row in made)
    clocks: dict[tuple[str, str], list[int]] = {}
    for fact in facts:
        clocks.setdefault((fact.org_id, fact.id), []).append(fact.clock)
    assert all(ticks == sorted(ticks) for ticks in clocks.values())
    entries = [event.payload for event in await world.events(AUDIT) if event.payload.org_id in orgs]
    assert {entry.event_id for entry in entries} == {event.id for event in events}
    assert {entry.id for entry in entries} == {row["id"] for row in await world.fetch("SELECT id FROM resources.audit")}


async def test_kill_9_loses_no_command_and_no_fact_and_doubles_none(resources_world: World) -> None:
    world, orgs, total = resources_world, [f"org-{number}" for number in range(5)], 400
    async with caller_of(world) as caller:
        events = commands(caller, orgs, total)
        async with started(world, "resources") as first:
            await first.ready()
            loading = asyncio.create_task(load(world, events))
            await reaches(world, total // 8)
            await first.kill()
        async with started(world, "resources") as second:
            await reaches(world, total // 2)
            await second.kill()
        async with started(world, "resources"):
            await loading
            await reaches(world, total)
            await all_told_in_order(world, orgs, events)


@pytest.mark.kafka
async def test_on_kafka_the_other_instance_takes_over_from_a_killed_one(
    kafka_url: str, valkey_url: str, postgres_url: str, tmp_path: Path
) -> None:
    orgs, total = [f"org-{uuid.uuid4().hex[:8]}" for _ in range(5)], 200
    async with (
        new_database(postgres_url, "resources") as database_url,
        world_on(valkey_url, database_url, tmp_path, kafka_url) as world,
        started(world, "resources") as first,
        started(world, "resources", instance="resources-1") as second,
        caller_of(world) as caller,
    ):
        await first.ready()
        await second.ready()
        events = commands(caller, orgs, total)
        loading = asyncio.create_task(load(world, events))
        await reaches(world, total // 8)
        await first.kill()
        await loading
        await reaches(world, total)
        await all_told_in_order(world, orgs, events)


async def reaches(world: World, rows: int) -> None:
    """Wait until at least so many resources are there."""

    async def check() -> bool:
        tables = await world.fetch("SELECT to_regclass('resources.resources') AS there")
        if tables[0]["there"] is None:
            return False
        [row] = await world.fetch("SELECT count(*) AS rows FROM resources.resources")
        return bool(row["rows"] >= rows)

    await eventually(check, timeout=120)


async def test_two_instances_tell_every_fact_once_and_in_order(resources_world: World) -> None:
    world = resources_world
    async with (
        started(world, "resources") as first,
        started(world, "resources", instance="resources-1") as second,
        caller_of(world) as caller,
    ):
        await first.ready()
        await second.ready()
        id = await create(caller)
        for number in range(40):
            await caller.ask(RESOURCE_VERSION_REQUESTED, kind="prompt", id=id, body={"text": f"Hello {number}."})
        await published(world)
        told = await world.events(RESOURCE_EVENTS)
        assert [event.payload.version for event in told] == list(range(41))


async def test_without_its_database_it_answers_so_and_goes_on_when_it_is_back(valkey_url: str, tmp_path: Path) -> None:
    async with (
        running(postgres) as database,
        world_on(valkey_url, database.url, tmp_path) as world,
        started(world, "resources") as resources,
        caller_of(world) as caller,
    ):
        await resources.ready()
        id = await create(caller)
        await kill_9(database)
        assert code(await get(caller, id)) == (503, "database_unavailable")
        write = caller.event(RESOURCE_EDIT_REQUESTED, kind="prompt", id=id, name="host")
        [refused] = await caller.deliver(write)
        assert code(refused) == (503, "database_unavailable")
        assert refused.headers["retry-after"]
        await eventually(lambda: complains(resources.trouble), timeout=30)
        await database.start()

        async def answered() -> bool:
            return (await get(caller, id)).status == 200

        await eventually(answered, timeout=30)
        [done] = await caller.deliver(write)
        assert done.body["prompt"]["name"] == "host"
        await resources.ready()
        await published(world)
        told = {event.id: event.payload.action for event in await world.events(RESOURCE_EVENTS)}
        # The kill may have fallen between a publication and the removal: told twice then, under one id.
        assert list(told.values()) == ["created", "renamed"]


async def kill_9(database: Running) -> None:
    """Kill the server and its backends, as the end of their machine would, and leave it so."""
    assert database._child is not None
    server = psutil.Process(database._child.pid)
    for process in [server, *server.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    await database.stop()


async def complains(trouble: Callable[[], Awaitable[str]]) -> bool:
    return "database" in await trouble()


async def test_facts_wait_in_the_outbox_while_the_log_is_away(postgres_url: str, tmp_path: Path) -> None:
    async with (
        running(valkey) as engine,
        new_database(postgres_url, "resources") as database_url,
        world_on(engine.url, database_url, tmp_path) as world,
        started(world, "resources") as resources,
    ):
        await resources.ready()
        await engine.stop()
        await world.fetch(
            "INSERT INTO resources.outbox (event_id, name, payload) VALUES ('e-1', 'resource.changed/1', $1)",
            '{"org_id": "o", "kind": "prompt", "id": "p", "version": 0, "action": "created", "clock": 1, "at": 2.5}',
        )
        await eventually(lambda: "facts wait in the outbox" in (tmp_path / "resources-0.log").read_text(), timeout=30)
        assert await world.fetch("SELECT 1 FROM resources.outbox") != []
        await engine.start()
        await published(world)
        [event] = await world.events(RESOURCE_EVENTS)
        assert (event.payload.id, event.id) == ("p", "e-1/1")
        await resources.ready()


async def test_old_answers_are_forgotten_and_facts_of_a_newer_release_left_to_it(resources_world: World) -> None:
    world = resources_world
    async with started(world, "resources") as first, caller_of(world) as caller:
        await first.ready()
        await create(caller)
        await world.fetch(
            "INSERT INTO resources.outbox (event_id, name, payload) VALUES ('e', 'resource.sung/1', '{}')"
        )
        await world.fetch("UPDATE resources.answers SET at = now() - interval '1 hour'")
        await first.kill()
        async with started(world, "resources", settings={"SONANT_RESOURCE_ANSWERS_SECONDS": "60"}) as second:
            await second.ready()

            async def forgotten() -> bool:
                return await world.fetch("SELECT 1 FROM resources.answers") == []

            await eventually(forgotten, timeout=60)
            await caller.ask(RESOURCE_CREATE_REQUESTED, kind="prompt", body={**PROMPT, "name": "other"})

            async def told() -> bool:
                return len({event.id for event in await world.events(RESOURCE_EVENTS)}) == 2

            await eventually(told, timeout=60)

            async def published_but_one() -> bool:
                return await world.fetch("SELECT name FROM resources.outbox") == [{"name": "resource.sung/1"}]

            await eventually(published_but_one, timeout=60)
