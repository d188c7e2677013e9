"""Variables that nothing fills are an error when a set is switched on, or when what it follows changes."""

from typing import Any

import pytest

from common.events.resource_terms import Pin, Pins
from common.events.resources import RESOURCE_CREATE_REQUESTED, RESOURCE_VERSION_REQUESTED
from tests.support.active import Team, new_team
from tests.support.resources import Caller

TEXT = 'Greet {{name}} of {{city}} at {{now}}. {"a": {{1}}} \\{{literal}}'
DECLARED = {"name": {"default": "friend"}, "city": {"required": True}}


@pytest.fixture
def team(shared: Caller) -> Team:
    return new_team(shared)


async def test_a_set_is_switched_on_once_all_its_variables_are_declared(team: Team) -> None:
    prompt = await team.create("prompt", text=TEXT)
    half = await team.create("config", variables={"name": {"default": "friend"}})
    refused = await team.switch(Pins(config=Pin(id=half), prompt=Pin(id=prompt)))
    assert (refused.status, refused.body["error"]["code"]) == (409, "unfilled_variables")
    assert refused.body["error"]["variables"] == ["city"]
    whole = await team.create("config", variables=DECLARED)
    switched = await team.switch(Pins(config=Pin(id=whole), prompt=Pin(id=prompt)))
    assert switched.status == 200
    assert switched.body["config"]["variables"] == DECLARED


async def test_a_greeting_has_variables_too(team: Team) -> None:
    greeting = {"on_new_chat": {"enabled": True, "text": "Hello {{nobody}}!"}}
    config = await team.create("config", event_messages=greeting)
    refused = await team.switch(Pins(config=Pin(id=config), prompt=Pin(id=await team.create("prompt"))))
    assert refused.body["error"]["variables"] == ["nobody"]


async def test_a_rollout_and_a_rollback_are_checked_as_well(team: Team) -> None:
    assert (await team.switch(await team.pins())).status == 200
    prompt = await team.create("prompt", text="{{unknown}}")
    candidate = Pins(config=Pin(id=await team.create("config")), prompt=Pin(id=prompt))
    refused = await team.roll_out(50.0, candidate)
    assert refused.body["error"]["code"] == "unfilled_variables"


async def test_a_new_version_must_fit_the_sets_that_follow_it(team: Team) -> None:
    config, prompt = await team.create("config", variables=DECLARED), await team.create("prompt", text=TEXT)
    assert (await team.switch(Pins(config=Pin(id=config), prompt=Pin(id=prompt)))).status == 200
    body: dict[str, Any] = {"text": TEXT + " {{other}}"}
    refused = await team.caller.ask(RESOURCE_VERSION_REQUESTED, kind="prompt", id=prompt, body=body)
    assert (refused.status, refused.body["error"]["variables"]) == (409, ["other"])
    body = {"evi_version": "3", "variables": {"name": {"default": "x"}}}
    refused = await team.caller.ask(RESOURCE_VERSION_REQUESTED, kind="config", id=config, body=body)
    assert (refused.status, refused.body["error"]["variables"]) == (409, ["city"])
    # Who has pinned a version does not follow.
    assert (await team.switch(Pins(config=Pin(id=config, version=0), prompt=Pin(id=prompt, version=0)))).status == 200
    assert await team.version("prompt", prompt, text="{{other}}") == 1


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"now": {"default": "never"}}, "filled by Sonant"),
        ({"user_id": {"required": True}}, "filled by Sonant"),
        ({"a b": {"default": "x"}}, "match"),
        ({"a": {}}, "either a default"),
        ({"a": {"default": "x", "required": True}}, "either a default"),
        ({"a": {"default": "x" * 10_001}}, "10000"),
        ({f"v{number}": {"default": ""} for number in range(101)}, "at most 100"),
        (["a"], "dictionary"),
    ],
)
async def test_a_declaration_that_cannot_be_is_named(team: Team, variables: object, said: str) -> None:
    body = {"name": "c", "evi_version": "3", "variables": variables}
    answer = await team.caller.ask(RESOURCE_CREATE_REQUESTED, kind="config", body=body)
    assert answer.status == 400
    assert said in answer.body["error"]["message"]


@pytest.mark.parametrize(
    ("flags", "status"),
    [
        ({"response_cache": True, "moderation": "output", "share": 0.5}, 201),
        ({"a": None}, 400),
        ({"a": "x" * 201}, 400),
        ({"1a": True}, 400),
        ({f"f{number}": True for number in range(51)}, 400),
    ],
)
async def test_flags_are_names_with_plain_values(team: Team, flags: object, status: int) -> None:
    body = {"name": "c", "evi_version": "3", "flags": flags}
    answer = await team.caller.ask(RESOURCE_CREATE_REQUESTED, kind="config", body=body)
    assert answer.status == status, answer.body
    if status == 201:
        assert answer.body["config"]["flags"] == flags
