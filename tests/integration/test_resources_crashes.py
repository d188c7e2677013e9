"""What the resources service promises whatever dies: no command or fact lost, none doubled, each told in order."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

from common.events.audit import AUDIT
from common.events.resources import RESOURCE_CREATE, RESOURCE_EDIT, RESOURCE_EVENTS, RESOURCE_GET, RESOURCE_VERSION
from common.kernel.replies import Reply
from sonant_cli.engines import postgres, valkey
from tests.support.engines import running
from tests.support.resources import Caller, World, asking, new_database, relayed, started, world_on
from tests.support.waiting import eventually

PROMPT = {"name": "greeter", "text": "Greet the caller."}


async def create(caller: Caller) -> str:
    """The id of a new prompt."""
    made = await caller.ask(RESOURCE_CREATE, kind="prompt", body=PROMPT)
    assert made.status == 201, made.body
    return str(made.body["prompt"]["id"])


async def get(caller: Caller, id: str) -> Reply:
    return await caller.ask(RESOURCE_GET, kind="prompt", id=id)


def code(reply: Reply) -> tuple[int, str]:
    return reply.status, reply.body["error"]["code"]


async def test_kill_9_loses_no_command_and_no_fact_and_doubles_none(resources_world: World) -> None:
    world, total = resources_world, 400
    async with asking(world) as caller:
        events = [
            caller.of(f"org-{number % 5}").event(
                RESOURCE_CREATE, 120, kind="prompt", body={**PROMPT, "name": f"prompt {number}"}
            )
            for number in range(total)
        ]

        async def load() -> None:
            for start in range(0, total, 20):
                await world.log.publish(*(event.record() for event in events[start : start + 20]))
                await asyncio.sleep(0)

        async with started(world) as first:
            await first.ready()
            loading = asyncio.create_task(load())
            await reaches(world, total // 8)
            await first.kill()
        async with started(world) as second:
            await reaches(world, total // 2)
            await second.kill()
        async with started(world):
            await loading
            await reaches(world, total)
            await relayed(world)
            told = await world.told(RESOURCE_EVENTS)
    made = await world.fetch("SELECT id FROM resources.resources")
    assert len(made) == total
    # A fact may be told again after a crash, but with its own id, and in order behind its first telling.
    first_told = list({event.id: event.payload for event in told}.values())
    assert sorted(change.id for change in first_told) == sorted(row["id"] for row in made)
    for org_id in (f"org-{number}" for number in range(5)):
        clocks = [change.clock for change in first_told if change.org_id == org_id]
        assert clocks == sorted(clocks)
    entries = {event.payload.event_id for event in await world.told(AUDIT)}
    assert entries == {event.id for event in events}


async def reaches(world: World, rows: int) -> None:
    """Wait until at least so many resources are there."""

    async def check() -> bool:
        tables = await world.fetch("SELECT to_regclass('resources.resources') AS there")
        if tables[0]["there"] is None:
            return False
        [row] = await world.fetch("SELECT count(*) AS rows FROM resources.resources")
        return bool(row["rows"] >= rows)

    widened: Callable[[], bool | Awaitable[bool]] = check
    await eventually(widened, timeout=60)


async def test_two_instances_tell_every_fact_once_and_in_order(resources_world: World) -> None:
    world = resources_world
    async with started(world) as first, started(world, instance="resources-1") as second, asking(world) as caller:
        await first.ready()
        await second.ready()
        id = await create(caller)
        for number in range(40):
            await caller.ask(RESOURCE_VERSION, kind="prompt", id=id, body={"text": f"Hello {number}."})
        await relayed(world)
        told = await world.told(RESOURCE_EVENTS)
        assert [event.payload.version for event in told] == list(range(41))


async def test_without_its_database_it_answers_so_and_goes_on_when_it_is_back(valkey_url: str, tmp_path: Path) -> None:
    async with (
        running(postgres, tmp_path) as database,
        world_on(valkey_url, database.url, tmp_path) as world,
        started(world) as resources,
        asking(world) as caller,
    ):
        await resources.ready()
        id = await create(caller)
        assert database._child is not None
        assert database._child.pid is not None
        os.kill(database._child.pid, signal.SIGKILL)
        await database.stop()
        assert code(await get(caller, id)) == (503, "database_unavailable")
        write = caller.event(RESOURCE_EDIT, kind="prompt", id=id, name="host")
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
        await relayed(world)
        told = {event.id: event.payload.action for event in await world.told(RESOURCE_EVENTS)}
        # The kill may have fallen between a publication and the removal: told twice then, under one id.
        assert list(told.values()) == ["created", "renamed"]


async def complains(trouble: Callable[[], Awaitable[str]]) -> bool:
    return "database" in await trouble()


async def test_facts_wait_in_the_outbox_while_the_log_is_away(postgres_url: str, tmp_path: Path) -> None:
    async with (
        running(valkey, tmp_path) as engine,
        new_database(postgres_url, "resources") as database_url,
        world_on(engine.url, database_url, tmp_path) as world,
        started(world) as resources,
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
        await relayed(world)
        [event] = await world.told(RESOURCE_EVENTS)
        assert (event.payload.id, event.id) == ("p", "e-1/1")
        await resources.ready()
