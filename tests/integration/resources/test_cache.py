"""What the cache of resources promises: nothing mixed, nothing older after newer, nothing that is gone, one fill."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from prometheus_client import REGISTRY

from common.bus.port import BusUnavailableError
from common.bus.request_reply import Requester
from common.clients.resources.client import BrokenSetError, ResourceClient, open_resource_client
from common.clients.resources.entries import Entry, Version, in_candidate, raise_floor, scope_key, version_key
from common.events.resource_terms import Pin, Pins, SetScope
from common.events.resources import (
    ACTIVE_RESOLVE_REQUESTED,
    RESOURCE_EDIT_REQUESTED,
    RESOURCE_GET_REQUESTED,
    TOOL_STATUS_REQUESTED,
)
from common.storage.resp import Resp, open_resp
from sonant_cli.engines import valkey
from tests.support.active import PROJECT, Team, new_team, queries, reading, resolve, settled
from tests.support.engines import running
from tests.support.resources import Caller
from tests.support.service import World
from tests.support.waiting import eventually

READERS = 1_000
SWITCHES = 100
STAMPEDE = 500
# More than are rewritten from one look at the tables.
FOLLOWERS = 120


@pytest.fixture
async def reader(shared: Caller) -> AsyncIterator[ResourceClient]:
    """A process that has read nothing yet."""
    async with reading(shared) as reader:
        yield reader


@pytest.fixture
async def redis(world: World) -> AsyncIterator[Resp]:
    async with open_resp(world.redis_url) as redis:
        yield redis


# -- many readers, many switches --------------------------------------------------------------------------------------


async def marked(team: Team, mark: str) -> Pins:
    """A set of which every part bears the mark."""
    config = Pin(id=await team.create("config", version_description=mark), version=0)
    prompt = Pin(id=await team.create("prompt", text=mark), version=0)
    tool = Pin(id=await team.create("tool", description=mark))
    return Pins(config=config, prompt=prompt, tools=(tool,))


def marks(told: dict[str, Any]) -> set[str]:
    return {
        told["config"]["version_description"],
        told["prompt"]["text"],
        *(tool["description"] for tool in told["tools"]),
    }


async def session(reader: ResourceClient, team: Team, over: asyncio.Event) -> list[int]:
    """Read until all is switched, and once more; the revisions read, each checked to be of one piece."""
    revisions, last = [], b""
    while True:
        done = over.is_set()
        found = await reader.sets.resolve(team.org_id, PROJECT, team.caller.user_id)
        assert found is not None
        revisions.append(found.revision)
        if found.body != last:
            last = found.body
            told = found.json()
            assert len(marks(told)) == 1
            assert told["revision"] == found.revision
        if done:
            return revisions
        await asyncio.sleep(random.random() * 0.05)


async def test_readers_see_whole_sets_and_never_an_older_one_while_sets_are_switched(shared: Caller) -> None:
    team, over = new_team(shared), asyncio.Event()
    async with reading(shared) as one, reading(shared) as other:
        sets = [await marked(team, f"mark-{number}") for number in range(5)]
        await team.switch(sets[0])
        sessions = [asyncio.create_task(session((one, other)[n % 2], team, over)) for n in range(READERS)]
        for number in range(1, SWITCHES):
            answer = await team.switch(sets[number % 5], if_match=number)
            assert answer.status == 200, answer.body
        over.set()
        for revisions in await asyncio.gather(*sessions):
            assert revisions == sorted(revisions)
            assert revisions[-1] == SWITCHES


async def test_a_cold_stampede_asks_once(world: World, shared: Caller, reader: ResourceClient, redis: Resp) -> None:
    team = new_team(shared)
    await team.switch(await team.pins())
    await settled(world)
    await redis.execute("DEL", scope_key(team.org_id, PROJECT, team.caller.user_id))
    found = await asyncio.gather(*(resolve(reader, team) for _ in range(STAMPEDE)))
    assert {each["revision"] for each in found} == {1}
    assert await queries(world, team, ACTIVE_RESOLVE_REQUESTED) == 1


async def test_an_empty_place_is_asked_about_once(world: World, shared: Caller, reader: ResourceClient) -> None:
    team = new_team(shared)
    assert await asyncio.gather(*(resolve(reader, team) for _ in range(STAMPEDE))) == [None] * STAMPEDE
    assert await resolve(reader, team) is None
    assert await queries(world, team, ACTIVE_RESOLVE_REQUESTED) == 1
    switched = await team.switch(await team.pins())
    assert await resolve(reader, team) == switched.body
    assert await queries(world, team, ACTIVE_RESOLVE_REQUESTED) == 1


async def test_versions_are_read_through_the_cache(world: World, shared: Caller, reader: ResourceClient) -> None:
    team = new_team(shared)
    id = await team.create("prompt", text="first")
    found = await asyncio.gather(*(reader.versions.get(team.org_id, "prompt", id) for _ in range(STAMPEDE)))
    assert {each.json()["prompt"]["text"] for each in found} == {"first"}
    assert await queries(world, team, RESOURCE_GET_REQUESTED) == 1
    await team.version("prompt", id, text="second")
    assert (await reader.versions.get(team.org_id, "prompt", id)).json()["prompt"]["text"] == "second"
    assert (await reader.versions.get(team.org_id, "prompt", id, 0)).json()["prompt"]["text"] == "first"
    await team.caller.ask(RESOURCE_EDIT_REQUESTED, kind="prompt", id=id, name="another name")
    for version in (None, 0, 1):
        told = (await reader.versions.get(team.org_id, "prompt", id, version)).json()["prompt"]
        assert told["name"] == "another name"
    missing = await reader.versions.get(team.org_id, "prompt", id, 7)
    assert (missing.status, missing.json()["error"]["code"]) == (404, "not_found")
    asked = await queries(world, team, RESOURCE_GET_REQUESTED)
    assert (await reader.versions.get(team.org_id, "prompt", id, 7)).status == 404
    assert await queries(world, team, RESOURCE_GET_REQUESTED) == asked
    assert (await reader.versions.get(new_team(shared).org_id, "prompt", id)).status == 404


async def test_a_new_version_reaches_everybody_who_follows_it(shared: Caller, reader: ResourceClient) -> None:
    team = new_team(shared)
    pins = await team.pins()
    following = pins.model_copy(update={"prompt": Pin(id=pins.prompt.id)})
    users = [f"user-{number}" for number in range(FOLLOWERS)]
    places = [SetScope(layer="user", project_id=PROJECT, user_id=user) for user in users]
    await asyncio.gather(*(team.switch(following, place) for place in places))
    await team.version("prompt", pins.prompt.id, text="For everybody.")

    async def all_served() -> bool:
        found = [await resolve(reader, team, user) for user in users]
        return {each["prompt"]["text"] for each in found} == {"For everybody."}

    await eventually(all_served, timeout=30)


async def test_reads_and_the_way_of_a_switch_to_its_reader_are_measured(shared: Caller, reader: ResourceClient) -> None:
    team = new_team(shared)
    await team.switch(await team.pins())
    pins, before = await team.pins(), measured()
    await resolve(reader, team)
    await team.switch(pins)
    await resolve(reader, team)
    after = measured()
    assert {name: after[name] - before[name] for name in after} == {"hits": 2, "propagations": 1}


def measured() -> dict[str, float]:
    labels = {"kind": "set", "outcome": "hit"}
    return {
        "hits": REGISTRY.get_sample_value("sonant_resource_cache_reads_total", labels) or 0.0,
        "propagations": REGISTRY.get_sample_value("sonant_resource_propagation_seconds_count") or 0.0,
    }


# -- what is gone -----------------------------------------------------------------------------------------------------


async def test_a_disabled_tool_leaves_every_set_and_can_be_pinned_nowhere(
    shared: Caller, reader: ResourceClient
) -> None:
    team, default = new_team(shared), SetScope(layer="project", project_id=PROJECT)
    kept, bad = await team.create("tool"), await team.create("tool")
    await team.switch(await team.pins(kept, bad))
    await team.switch(await team.pins(bad), default)
    await team.roll_out(50, await team.pins(kept, bad), default)
    assert (await reader.versions.get(team.org_id, "tool", bad)).json()["tool"].get("status") is None
    users = [team.caller.user_id, *(f"other-{number}" for number in range(10))]
    disabled = await team.caller.ask(TOOL_STATUS_REQUESTED, id=bad, status="disabled")
    assert disabled.status == 200, disabled.body
    for user in users:
        assert bad not in [tool["id"] for tool in (await resolve(reader, team, user))["tools"]]
    shown = (await reader.versions.get(team.org_id, "tool", bad)).json()["tool"]
    assert shown["status"] == "disabled"
    refused = await team.switch(await team.pins(bad))
    assert (refused.status, refused.body["error"]["code"]) == (409, "not_usable")
    # It stands in the pins still, and is in the way of nothing else.
    assert (await team.tool("add", await team.create("tool"))).status == 200
    removed = await team.tool("remove", bad)
    assert bad not in [pin["id"] for pin in removed.body["pins"]["tools"]]


async def test_a_late_fill_brings_nothing_back(shared: Caller, reader: ResourceClient, redis: Resp) -> None:
    team = new_team(shared)
    key = scope_key(team.org_id, PROJECT, team.caller.user_id)
    await team.switch(await team.pins())
    old = Entry.unpack(await redis.execute("GET", key))
    await team.clear()
    newer = await redis.execute(*old.put(key))
    assert Entry.unpack(newer).empty
    assert await resolve(reader, team) is None


# -- races ------------------------------------------------------------------------------------------------------------


async def test_of_entries_written_in_any_order_the_newest_stays(world: World) -> None:
    clocks, key = list(range(300)), scope_key(uuid.uuid4().hex, "p", "u")
    random.shuffle(clocks)
    async with open_resp(world.redis_url) as one, open_resp(world.redis_url) as other:
        entries = [Entry(clock, 0.0, revision=clock, current=b"{}") for clock in clocks]
        told = await asyncio.gather(*((one, other)[n % 2].execute(*entry.put(key)) for n, entry in enumerate(entries)))
        assert Entry.unpack(await one.execute("GET", key)).clock == 299
        refused = [Entry.unpack(newer).clock > entry.clock for entry, newer in zip(entries, told, strict=True) if newer]
        assert refused
        assert all(refused)


async def test_no_version_from_before_a_change_is_taken(world: World) -> None:
    key = version_key(uuid.uuid4().hex, "prompt", "p")

    def version(clock: int) -> Version:
        return Version(clock, 0.0, 200, b'{"clock":%d}' % clock)

    async with open_resp(world.redis_url) as cache:
        for number in range(5):
            await cache.execute(*version(number).put(key, number))
        await cache.execute(*raise_floor(key, 3))
        # The change itself was written by a fill that already knew of it.
        assert sorted(await cache.execute("HKEYS", key)) == [b"3", b"4", b"floor"]
        assert await cache.execute(*version(2).put(key, None)) == 0
        assert await cache.execute(*version(3).put(key, None)) == 1
        assert await cache.execute(*version(5).put(key, None)) == 1
        assert await cache.execute(*version(4).put(key, None)) == 0
        assert await cache.execute(*raise_floor(key, 2)) == 0
        assert Version.unpack(await cache.execute("HGET", key, "latest")).clock == 5
        assert await cache.execute("TTL", key) > 0


async def test_versions_that_are_not_there_do_not_fill_the_cache(world: World) -> None:
    key = version_key(uuid.uuid4().hex, "prompt", "p")
    async with open_resp(world.redis_url) as cache:
        await cache.pipeline([Version(1, 0.0, 404, b"{}").put(key, number) for number in range(1_500)])
        assert await cache.execute("HLEN", key) == 100
        assert await cache.execute("TTL", key) <= 60
        assert await cache.execute(*Version(1, 0.0, 200, b"{}").put(key, None)) == 1


async def test_what_a_full_cache_does_not_take_is_answered_all_the_same(
    world: World, shared: Caller, reader: ResourceClient, redis: Resp
) -> None:
    team = new_team(shared)
    id = await team.create("prompt")
    await settled(world)
    key = version_key(team.org_id, "prompt", id)
    await redis.pipeline([Version(1, 0.0, 200, b"{}").put(key, number) for number in range(1, 1_100)])
    assert await redis.execute("HLEN", key) == 1_000
    asked = await queries(world, team, RESOURCE_GET_REQUESTED)
    for version in (None, 0):
        found = await reader.versions.get(team.org_id, "prompt", id, version)
        assert (found.status, found.json()["prompt"]["version"]) == (200, 0)
    assert (await reader.versions.get(team.org_id, "prompt", id, 5_000)).status == 404
    assert await queries(world, team, RESOURCE_GET_REQUESTED) == asked + 3


async def test_an_answer_that_a_change_overtook_is_not_given(
    world: World, shared: Caller, reader: ResourceClient, redis: Resp
) -> None:
    team = new_team(shared)
    id = await team.create("prompt")
    await settled(world)
    # A change that the service does not know of: whatever it says is from before.
    await redis.execute(*raise_floor(version_key(team.org_id, "prompt", id), 1_000))
    with pytest.raises(BusUnavailableError):
        await reader.versions.get(team.org_id, "prompt", id)


async def test_places_where_nothing_is_on_do_not_fill_the_cache(world: World) -> None:
    org = uuid.uuid4().hex
    async with open_resp(world.redis_url) as cache:
        keys = [scope_key(org, PROJECT, f"user-{number}") for number in range(10_010)]
        await cache.pipeline([Entry(1, 0.0).put(key) for key in keys])
        assert await cache.execute("TTL", keys[0]) > 60
        assert await cache.execute("TTL", keys[-1]) <= 60
        # Where something was on, the clock must hold.
        await cache.execute(*Entry(2, 0.0, changed_at=1.0).put(keys[-1]))
        assert await cache.execute("TTL", keys[-1]) > 60
        assert Entry.unpack(await cache.execute(*Entry(1, 0.0).put(keys[-1]))).clock == 2


async def test_a_cache_that_lost_its_last_writes_takes_no_reader_back(
    world: World, shared: Caller, reader: ResourceClient, redis: Resp
) -> None:
    team = new_team(shared)
    key = scope_key(team.org_id, PROJECT, team.caller.user_id)
    await team.switch(await team.pins())
    await settled(world)
    old = await redis.execute("GET", key)
    await team.switch(await team.pins())
    assert (await resolve(reader, team))["revision"] == 2
    await redis.execute("SET", key, old)
    assert (await resolve(reader, team))["revision"] == 2
    assert Entry.unpack(await redis.execute("GET", key)).revision == 2


# -- what is wrong ----------------------------------------------------------------------------------------------------


async def test_without_the_cache_a_read_fails_clearly_and_comes_back(world: World, shared: Caller) -> None:
    async with running(valkey) as engine:
        async with open_resource_client(engine.url, Requester(world.log, shared.reader)) as reader:
            assert await reader.sets.resolve("org", "p", "u") is None
            await engine.stop()
            with pytest.raises(BusUnavailableError):
                await reader.sets.resolve("org", "p", "u")
            with pytest.raises(BusUnavailableError):
                await reader.versions.get("org", "prompt", "p")
            await engine.start()
            assert await reader.sets.resolve("org", "p", "u") is None


async def test_what_cannot_be_served_whole_is_not_served(
    world: World, shared: Caller, reader: ResourceClient, redis: Resp
) -> None:
    """A provider's own console may delete what is pinned."""
    team = new_team(shared)
    pins = await team.pins()
    await team.switch(pins)
    await settled(world)
    await world.fetch("DELETE FROM resources.resources WHERE id = $1", pins.prompt.id)
    await redis.execute("DEL", scope_key(team.org_id, PROJECT, team.caller.user_id))
    with pytest.raises(BrokenSetError, match=f"version 0 of prompt '{pins.prompt.id}'"):
        await resolve(reader, team)


@pytest.mark.parametrize("broken", ["candidate", "current"])
async def test_of_a_rollout_what_is_whole_is_served(
    world: World, shared: Caller, reader: ResourceClient, redis: Resp, broken: str
) -> None:
    team, place = new_team(shared), SetScope(layer="project", project_id=PROJECT)
    current, candidate = await team.pins(), await team.pins()
    await team.switch(current, place)
    await team.roll_out(50, candidate, place)
    await settled(world)
    users = [f"user-{number}" for number in range(20)]
    reached = [in_candidate(team.org_id, PROJECT, user, 50) for user in users]
    gone = candidate if broken == "candidate" else current
    await world.fetch("DELETE FROM resources.resources WHERE id = $1", gone.prompt.id)
    await redis.execute("DEL", scope_key(team.org_id, PROJECT, ""))
    for user, in_it in zip(users, reached, strict=True):
        if broken == "current" and not in_it:
            with pytest.raises(BrokenSetError):
                await resolve(reader, team, user)
            continue
        told = await resolve(reader, team, user)
        assert told["candidate"] == (broken == "current")
