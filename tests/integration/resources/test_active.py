"""What active sets promise: switched as a whole, every revision kept, layers, rollbacks and rollouts."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from common.clients.resources.client import ResourceClient
from common.events.audit import AUDIT
from common.events.reply import Reply
from common.events.resource_terms import Kind, Layer, Pin, Pins, SetScope
from common.events.resources import (
    ACTIVE_AT_REQUESTED,
    ACTIVE_DIFF_REQUESTED,
    ACTIVE_HISTORY_REQUESTED,
    ACTIVE_SWITCHED,
    AUDIT_LIST_REQUESTED,
    RESOURCE_DELETE_REQUESTED,
    RESOURCE_EVENTS,
)
from tests.support.active import PROJECT, Team, new_team, reading, resolve
from tests.support.resources import Caller, published
from tests.support.service import World


@pytest.fixture(scope="module")
async def reader(shared: Caller) -> AsyncIterator[ResourceClient]:
    async with reading(shared) as reader:
        yield reader


@pytest.fixture
def team(shared: Caller) -> Team:
    return new_team(shared)


def code(reply: Reply[Any]) -> tuple[int, str]:
    assert set(reply.body) == {"error"}, reply.body
    return reply.status, reply.body["error"]["code"]


# -- switching ------------------------------------------------------------------------------------------------------


async def test_a_switch_is_answered_with_whole_resources_and_served_at_once(team: Team, reader: ResourceClient) -> None:
    assert await resolve(reader, team) is None
    pins = await team.pins(await team.create("tool"))
    answer = await team.switch(pins, if_match=0)
    assert answer.status == 200, answer.body
    assert answer.body["revision"] == 1
    assert answer.body["prompt"]["text"] == "Greet the caller.\nBe brief."
    assert [tool["id"] for tool in answer.body["tools"]] == [tool.id for tool in pins.tools]
    assert answer.body["pins"] == pins.model_dump(mode="json")
    assert await resolve(reader, team) == answer.body


async def test_a_switch_replaces_the_whole_set(team: Team, reader: ResourceClient) -> None:
    voice = Pin(id=await team.create("voice"))
    first = (await team.pins(await team.create("tool"))).model_copy(update={"voice": voice})
    assert (await team.switch(first)).body["voice"]["id"] == voice.id
    second = await team.pins()
    answer = await team.switch(second, if_match=1)
    assert (answer.body["revision"], answer.body["voice"], answer.body["tools"]) == (2, None, [])
    assert await resolve(reader, team) == answer.body


@pytest.mark.parametrize(("seen", "current"), [(1, 0), (7, 0)])
async def test_a_switch_that_expects_another_revision_changes_nothing(team: Team, seen: int, current: int) -> None:
    refused = await team.switch(await team.pins(), if_match=seen)
    assert code(refused) == (412, "revision_mismatch")
    assert refused.body["error"]["current"] == current


async def test_of_two_that_saw_the_same_revision_one_switches(team: Team) -> None:
    first, second = await team.pins(), await team.pins()
    answers = await asyncio.gather(team.switch(first, if_match=0), team.switch(second, if_match=0))
    assert sorted(answer.status for answer in answers) == [200, 412]
    [refused] = [answer for answer in answers if answer.status == 412]
    assert refused.body["error"]["current"] == 1


@pytest.mark.parametrize("slot", ["config", "prompt", "voice", "tools"])
async def test_nothing_is_switched_to_what_is_not_there(team: Team, slot: str) -> None:
    pins = await team.pins()
    lost = Pin(id="3f0ef2ee-0000-4000-8000-000000000000")
    refused = await team.switch(pins.model_copy(update={slot: (lost,) if slot == "tools" else lost}))
    assert code(refused) == (404, "not_found")
    gone = Pin(id=pins.prompt.id, version=9)
    assert code(await team.switch(pins.model_copy(update={"prompt": gone}))) == (404, "not_found")
    assert (await history(team))["data"] == []


async def test_what_has_the_wrong_kind_or_owner_is_not_there(team: Team, shared: Caller) -> None:
    pins = await team.pins()
    assert code(await team.switch(pins.model_copy(update={"prompt": pins.config}))) == (404, "not_found")
    stranger = new_team(shared)
    assert code(await stranger.switch(pins)) == (404, "not_found")


async def test_a_tool_stands_in_a_set_once(team: Team) -> None:
    tool = await team.create("tool")
    assert code(await team.switch(await team.pins(tool, tool))) == (400, "duplicate_tool")


@pytest.mark.parametrize("id", ["a\0b", "../prompts", "", "x" * 500, "ü"])
async def test_ids_that_nothing_can_have_are_not_there(team: Team, id: str) -> None:
    pins = await team.pins()
    assert code(await team.switch(pins.model_copy(update={"config": Pin(id=id)}))) == (404, "not_found")


@pytest.mark.parametrize(
    "place",
    [
        SetScope(layer="project", project_id=""),
        SetScope(layer="user", project_id="a\0b", user_id="u"),
        SetScope(layer="user", project_id="p" * 201, user_id="u"),
        SetScope(layer="user", project_id="p", user_id="line\nbreak"),
    ],
)
async def test_places_that_cannot_be_are_refused(team: Team, place: SetScope) -> None:
    assert code(await team.switch(await team.pins(), place)) == (400, "invalid_value")


async def test_a_switch_leaves_an_audit_entry_and_a_fact(team: Team, world: World) -> None:
    await team.switch(await team.pins())
    await published(world)
    entries = (await team.caller.ask(AUDIT_LIST_REQUESTED, limit=1)).body["data"]
    target = f"active:{PROJECT}:{team.caller.user_id}"
    assert [(entry["action"], entry["target"], entry["before"]) for entry in entries] == [
        ("active.switch", target, None)
    ]
    assert entries[0]["after"]
    facts = [event for event in await world.events(RESOURCE_EVENTS) if event.payload.org_id == team.org_id]
    [switched] = [event.payload for event in facts if event.spec == ACTIVE_SWITCHED]
    assert (switched.place, switched.revision) == (team.place, 1)
    assert [e.payload.target for e in await world.events(AUDIT) if e.payload.org_id == team.org_id].count(target) == 1


async def test_what_follows_the_latest_moves_with_it_and_a_pin_does_not(team: Team, reader: ResourceClient) -> None:
    pins = await team.pins()
    following = Pin(id=pins.config.id)
    await team.switch(pins.model_copy(update={"config": following}))
    await team.version("config", pins.config.id)
    await team.version("prompt", pins.prompt.id, text="Something else.")
    found = await resolve(reader, team)
    assert (found["config"]["version"], found["config"]["version_type"]) == (1, "LATEST")
    assert (found["prompt"]["version"], found["prompt"]["text"]) == (0, "Greet the caller.\nBe brief.")


async def test_what_is_in_use_cannot_be_deleted_and_what_was_can(team: Team) -> None:
    pins = await team.pins()
    await team.switch(pins)
    refused = await team.caller.ask(RESOURCE_DELETE_REQUESTED, kind="prompt", id=pins.prompt.id, version=0)
    assert code(refused) == (409, "in_use")
    assert refused.body["error"]["used_by"] == [{"user_id": team.caller.user_id, "project_id": PROJECT, "revision": 1}]
    await team.switch(await team.pins())
    assert (await team.caller.ask(RESOURCE_DELETE_REQUESTED, kind="prompt", id=pins.prompt.id, version=0)).status == 200


async def test_what_a_config_in_use_names_cannot_be_deleted(team: Team) -> None:
    prompt, tool, voice = await team.create("prompt"), await team.create("tool"), await team.create("voice")
    await team.version("prompt", prompt)
    named = {"prompt": {"id": prompt, "version": 0}, "tools": [{"id": tool}]}
    config = await team.create("config", **named, voice={"provider": "CUSTOM_VOICE", "id": voice})

    async def delete(kind: Kind, id: str, version: int | None = None) -> Reply[Any]:
        return await team.caller.ask(RESOURCE_DELETE_REQUESTED, kind=kind, id=id, version=version)

    pins = await team.pins()
    await team.switch(pins.model_copy(update={"config": Pin(id=config)}))
    named_there: list[tuple[Kind, str, int | None]] = [
        ("prompt", prompt, 0),
        ("prompt", prompt, None),
        ("tool", tool, 0),
        ("voice", voice, None),
    ]
    for kind, id, version in named_there:
        refused = await delete(kind, id, version)
        assert code(refused) == (409, "in_use")
        [user] = refused.body["error"]["used_by"]
        assert (user["user_id"], user["config_id"], user["config_version"]) == (team.caller.user_id, config, 0)
    # Nothing names this version, and after a version of the config that is followed nothing names the tool.
    assert (await delete("prompt", prompt, 1)).status == 200
    await team.version("config", config)
    assert (await delete("tool", tool)).status == 200


# -- layers -----------------------------------------------------------------------------------------------------------


async def test_the_first_layer_that_has_a_set_wins_as_a_whole(team: Team, reader: ResourceClient) -> None:
    places: dict[Layer, SetScope] = {
        "organization": SetScope(layer="organization"),
        "project": SetScope(layer="project", project_id=PROJECT),
        "user": team.place,
    }
    for layer, place in places.items():
        pins = await team.pins(await team.create("tool")) if layer == "project" else await team.pins()
        answer = await team.switch(pins, place)
        assert (answer.body["layer"], answer.body["revision"]) == (layer, 1)
        assert await resolve(reader, team) == answer.body
    assert (await resolve(reader, team, "somebody-else"))["layer"] == "project"
    assert (await resolve(reader, team, ""))["layer"] == "project"
    elsewhere = await reader.sets.resolve(team.org_id, "another-project", team.caller.user_id)
    assert elsewhere is not None
    assert elsewhere.layer == "organization"
    alone = await reader.sets.resolve(team.org_id, "")
    assert alone is not None
    assert alone.layer == "organization"
    for layer, shows in (("user", "project"), ("project", "organization"), ("organization", None)):
        cleared = await team.clear(places[layer])
        assert (cleared.status, cleared.body) == (200, {"revision": None})
        found = await resolve(reader, team)
        assert (found and found["layer"]) == shows


async def test_a_place_that_was_cleared_counts_on(team: Team) -> None:
    assert code(await team.clear()) == (404, "not_found")
    await team.switch(await team.pins())
    assert code(await team.clear(if_match=0)) == (412, "revision_mismatch")
    await team.clear(if_match=1)
    assert code(await team.clear()) == (404, "not_found")
    assert (await team.switch(await team.pins(), if_match=0)).body["revision"] == 2


async def test_a_set_is_nobody_elses(team: Team, reader: ResourceClient, shared: Caller) -> None:
    await team.switch(await team.pins(), SetScope(layer="organization"))
    stranger = new_team(shared)
    assert await resolve(reader, stranger) is None
    assert (await history(stranger))["data"] == []
    assert code(await stranger.roll_back(1)) == (404, "not_found")


# -- tools ------------------------------------------------------------------------------------------------------------


async def test_tools_come_and_go_one_by_one(team: Team, reader: ResourceClient) -> None:
    assert code(await team.tool("add", await team.create("tool"))) == (409, "no_active_set")
    await team.switch(await team.pins())
    one, two = await team.create("tool"), await team.create("tool")
    await team.tool("add", one, if_match=1)
    answer = await team.tool("add", two, 0, if_match=2)
    assert [tool["id"] for tool in answer.body["tools"]] == [one, two]
    await team.version("tool", two)
    moved = await team.tool("add", two, 1)
    assert [(tool["id"], tool["version"]) for tool in moved.body["tools"]] == [(one, 0), (two, 1)]
    answer = await team.tool("remove", one)
    assert [tool["id"] for tool in answer.body["tools"]] == [two]
    assert await resolve(reader, team) == answer.body
    assert answer.body["revision"] == 5
    assert code(await team.tool("remove", one)) == (404, "not_found")
    assert code(await team.tool("add", one, 44)) == (404, "not_found")
    assert code(await team.tool("add", one, if_match=1)) == (412, "revision_mismatch")


# -- rollback ---------------------------------------------------------------------------------------------------------


async def test_a_rollback_is_a_new_revision_with_the_old_set(team: Team, reader: ResourceClient) -> None:
    first, second, third = await team.pins(), await team.pins(), await team.pins()
    assert code(await team.roll_back()) == (409, "no_earlier_revision")
    for pins in (first, second, third):
        await team.switch(pins)
    back = await team.roll_back(if_match=3)
    assert (back.body["revision"], back.body["pins"]) == (4, second.model_dump(mode="json"))
    assert await resolve(reader, team) == back.body
    back = await team.roll_back(1)
    assert (back.body["revision"], back.body["pins"]) == (5, first.model_dump(mode="json"))
    assert code(await team.roll_back(99)) == (404, "not_found")
    assert code(await team.roll_back(2**40)) == (404, "not_found")
    restored = [(entry["revision"], entry["origin"], entry["restored"]) for entry in (await history(team))["data"]]
    assert restored[:2] == [(5, "rollback", 1), (4, "rollback", 2)]


async def test_a_rollback_after_a_clearing_brings_the_set_back(team: Team) -> None:
    pins = await team.pins()
    await team.switch(pins)
    await team.clear()
    assert (await team.roll_back(if_match=0)).body["pins"] == pins.model_dump(mode="json")


async def test_a_rollback_to_what_was_deleted_is_refused_with_its_name(team: Team, reader: ResourceClient) -> None:
    lost = await team.pins()
    await team.switch(lost)
    await team.version("prompt", lost.prompt.id)
    kept = await team.switch(await team.pins())
    await team.caller.ask(RESOURCE_DELETE_REQUESTED, kind="prompt", id=lost.prompt.id, version=0)
    refused = await team.roll_back()
    assert code(refused) == (409, "version_gone")
    named = {name: refused.body["error"][name] for name in ("kind", "id", "version")}
    assert named == {"kind": "prompt", "id": lost.prompt.id, "version": 0}
    assert await resolve(reader, team) == kept.body


# -- rollout ----------------------------------------------------------------------------------------------------------


async def users_of(reader: ResourceClient, team: Team, users: Sequence[str]) -> dict[str, bool]:
    """Whether each user is served the candidate."""
    found = [await reader.sets.resolve(team.org_id, PROJECT, user) for user in users]
    return {user: bool(each and each.candidate) for user, each in zip(users, found, strict=True)}


async def test_a_rollout_reaches_a_share_of_the_users_and_keeps_those_it_reached(
    team: Team, reader: ResourceClient
) -> None:
    place, users = SetScope(layer="project", project_id=PROJECT), [f"user-{number}" for number in range(400)]
    assert code(await team.roll_out(10, await team.pins(), place)) == (409, "no_active_set")
    current, candidate = await team.pins(), await team.pins()
    await team.switch(current, place)
    assert code(await team.roll_out(10, None, place)) == (409, "no_rollout")
    started = await team.roll_out(10, candidate, place)
    assert (started.body["revision"], started.body["percent"]) == (1, 10)
    tenth = await users_of(reader, team, users)
    assert 15 < sum(tenth.values()) < 75
    await team.roll_out(50, None, place)
    half = await users_of(reader, team, users)
    assert 150 < sum(half.values()) < 250
    assert all(half[user] for user, reached in tenth.items() if reached)
    async with reading(team.caller) as another:
        assert await users_of(another, team, users) == half
    reached = next(user for user, new in half.items() if new)
    assert (await resolve(reader, team, reached))["pins"] == candidate.model_dump(mode="json")
    assert (await resolve(reader, team, reached))["revision"] == 2
    completed = await team.roll_out(100, None, place)
    assert (completed.body["revision"], completed.body["pins"]) == (2, candidate.model_dump(mode="json"))
    assert {(await resolve(reader, team, user))["revision"] for user in users[:20]} == {2}
    assert not any((await users_of(reader, team, users[:20])).values())


async def test_the_kill_switch_takes_a_rollout_back(team: Team, reader: ResourceClient) -> None:
    place, users = SetScope(layer="project", project_id=PROJECT), [f"user-{number}" for number in range(20)]
    first, bad = await team.pins(), await team.pins()
    await team.switch(first, place)
    await team.roll_out(100.0 - 1e-9, bad, place)
    assert any((await users_of(reader, team, users)).values())
    assert code(await team.caller.ask(RESOURCE_DELETE_REQUESTED, kind="prompt", id=bad.prompt.id)) == (409, "in_use")
    killed = await team.roll_out(0, None, place)
    assert (killed.body["revision"], killed.body["percent"]) == (1, 0)
    assert not any((await users_of(reader, team, users)).values())
    assert (await team.caller.ask(RESOURCE_DELETE_REQUESTED, kind="prompt", id=bad.prompt.id)).status == 200
    assert code(await team.roll_out(10, None, place)) == (409, "no_rollout")
    # A candidate that was never completed is not where a rollback goes.
    await team.switch(await team.pins(), place)
    await team.caller.ask(ACTIVE_HISTORY_REQUESTED, place=place)
    assert code(await team.roll_out(101, None, place)) == (400, "invalid_value")


async def test_every_step_of_a_rollout_can_be_guarded_and_is_in_the_history(team: Team, reader: ResourceClient) -> None:
    async def etag() -> str:
        found = await reader.sets.resolve(team.org_id, PROJECT, team.caller.user_id)
        return found.etag if found else "0"

    assert (await team.switch(await team.pins(), if_etag=await etag())).status == 200
    before = await etag()
    started = await team.roll_out(10, await team.pins(), if_etag=before)
    assert (before, await etag(), started.body["candidate_revision"]) == ("1", "1-2-10.0", 2)
    assert code(await team.switch(await team.pins(), if_etag=before)) == (412, "revision_mismatch")
    first, second = await asyncio.gather(*(team.roll_out(share, if_etag="1-2-10.0") for share in (20, 30)))
    assert sorted((first.status, second.status)) == [200, 412]
    share = await etag()
    assert (await team.roll_out(0, if_etag=share)).status == 200
    assert code(await team.clear(if_etag=share)) == (412, "revision_mismatch")
    assert (await team.clear(if_etag=await etag())).status == 200
    told = await history(team)
    live = [(step["revision"], step["candidate"], step["percent"]) for step in told["steps"]]
    assert live == [(None, None, 0), (1, None, 0), (1, 2, float(share.split("-")[2])), (1, 2, 10), (1, None, 0)]
    assert all(older["on"] <= newer["on"] for newer, older in itertools.pairwise(told["steps"]))
    assert len((await history(team, limit=1))["steps"]) == 4
    assert len((await history(team, before=2))["steps"]) == 1


async def test_a_switch_ends_a_rollout(team: Team, reader: ResourceClient) -> None:
    await team.switch(await team.pins())
    await team.roll_out(50, await team.pins())
    last = await team.pins()
    assert (await team.switch(last, if_match=2)).body["revision"] == 3
    found = await resolve(reader, team)
    assert (found["revision"], found["percent"], found["pins"]) == (3, 0, last.model_dump(mode="json"))


# -- what was ---------------------------------------------------------------------------------------------------------


async def history(team: Team, **fields: Any) -> Any:
    return (await team.caller.ask(ACTIVE_HISTORY_REQUESTED, place=team.place, **fields)).body


async def test_history_lists_every_revision_newest_first(team: Team) -> None:
    for number in range(3):
        await team.switch(await team.pins(), note=f"try {number}")
    told = await history(team, limit=2)
    assert [(entry["revision"], entry["note"]) for entry in told["data"]] == [(3, "try 2"), (2, "try 1")]
    assert (told["has_more"], told["current"], told["candidate"]) == (True, 3, None)
    assert told["data"][0]["user_id"] == team.caller.user_id
    told = await history(team, before=2)
    assert [entry["revision"] for entry in told["data"]] == [1]
    assert not told["has_more"]


async def test_a_diff_names_every_slot_that_changed_and_the_lines_of_the_prompt(team: Team) -> None:
    old_tool, new_tool = await team.create("tool"), await team.create("tool")
    old = await team.pins(old_tool)
    version = await team.version("prompt", old.prompt.id, text="Greet the caller.\nBe thorough.")
    new = Pins(config=old.config, prompt=Pin(id=old.prompt.id, version=version), tools=(Pin(id=new_tool),))
    await team.switch(old)
    await team.switch(new)
    told = (await team.caller.ask(ACTIVE_DIFF_REQUESTED, place=team.place, old=1, new=2)).body
    changes = [(each["slot"], each["change"]) for each in told["changes"]]
    assert changes == [("prompt", "moved"), ("tool", "removed"), ("tool", "added")]
    assert (told["changes"][0]["old"]["version"], told["changes"][0]["new"]["version"]) == (0, version)
    lines = told["prompt_text"].splitlines()
    assert [line for line in lines if line[0] in "+-"][2:] == ["-Be brief.", "+Be thorough."]
    same = (await team.caller.ask(ACTIVE_DIFF_REQUESTED, place=team.place, old=2, new=2)).body
    assert (same["changes"], same["prompt_text"]) == ([], None)
    assert code(await team.caller.ask(ACTIVE_DIFF_REQUESTED, place=team.place, old=1, new=9)) == (404, "not_found")


async def test_what_was_live_at_a_moment_is_known_by_layer_version_and_rollout(team: Team) -> None:
    async def at(moment: float) -> Reply[Any]:
        return await team.caller.ask(ACTIVE_AT_REQUESTED, project_id=PROJECT, time=moment)

    nothing = time.time()
    project = await team.pins()
    following = project.model_copy(update={"prompt": Pin(id=project.prompt.id)})
    await team.switch(following, SetScope(layer="project", project_id=PROJECT))
    by_project = time.time()
    await team.version("prompt", project.prompt.id)
    await team.switch(await team.pins())
    by_user = time.time()
    await team.roll_out(99.999999, await team.pins())
    rolled_out = time.time()
    await team.clear()
    assert code(await at(nothing)) == (404, "not_found")
    then = (await at(by_project)).body
    assert (then["layer"], then["revision"], then["pins"]) == ("project", 1, following.model_dump(mode="json"))
    versions = {each["kind"]: (each["version"], each["follows_latest"]) for each in then["versions"]}
    assert versions == {"config": (0, False), "prompt": (0, True)}
    assert [(await at(by_user)).body[name] for name in ("layer", "revision", "candidate")] == ["user", 1, False]
    assert [(await at(rolled_out)).body[name] for name in ("layer", "revision", "candidate")] == ["user", 2, True]
    now = (await at(time.time())).body
    assert (now["layer"], {each["kind"]: each["version"] for each in now["versions"]}["prompt"]) == ("project", 1)
    assert code(await at(-1)) == (400, "invalid_value")
    assert code(await at(1e30)) == (400, "invalid_value")
