"""What else of an active set is at work in a turn: variables, model, limits of time, greeting, flags, its revision."""

import time
import uuid
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest

from common.events.chat import AnswerDialect
from tests.support.llm_stream import HELLO_TEXT, VALKEY_DATABASE, World
from tests.support.set_cache import Sets

GREETING = {"event_messages": {"on_new_chat": {"enabled": True, "text": "Hello {{name}}! How are you?"}}}
HUME = AnswerDialect(name="hume", told={"session_id": "s"})


@pytest.fixture
def sets(valkey_url: str) -> Sets:
    return Sets(urlsplit(valkey_url)._replace(path=f"/{VALKEY_DATABASE}").geturl())


async def prompt_of(world: World, sets: Sets, text: str, config: dict[str, Any], **asked: Any) -> str:
    """The instructions that an upstream got."""
    alias = await world.alias("")
    project = await sets.on(config, text)
    heard, _ = await world.ask(alias, project_id=project, **asked)
    assert heard.text() == HELLO_TEXT
    [call] = await world.calls(alias.models[0])
    assert "variables" not in call["body"]
    return str(call["body"]["messages"][0]["content"])


async def test_variables_are_filled_by_sonant_the_request_and_the_defaults(llm_world: World, sets: Sets) -> None:
    config = {"variables": {"name": {"default": "friend"}, "city": {"required": True}}}
    text = "Greet {{name}} from {{city}}, {{ user_id }}, in {{project_id}} on {{today}}. {{{city}}} \\{{city}}"
    said = await prompt_of(llm_world, sets, text, config, variables={"city": "{{name}}"}, session_id="session-9")
    assert said.startswith("Greet friend from {{name}}, , in project-")
    assert said.endswith(f" on {time.strftime('%A, %Y-%m-%d', time.gmtime())}. {{{{{{name}}}}}} {{{{city}}}}")
    given = {"city": 3, "name": True, "session": "x"}
    text = "{{name}} {{city}} {{session_id}}"
    assert await prompt_of(llm_world, sets, text, config, variables=given, session_id="s") == "true 3 s"


async def test_a_session_remembers_what_it_was_given(llm_world: World, sets: Sets) -> None:
    alias, session = await llm_world.alias(""), f"session-{uuid.uuid4().hex[:8]}"
    declared = {"name": {"default": "friend"}, "city": {"required": True}}
    project = await sets.on({"variables": declared}, "{{name}} {{city}}")

    async def prompt(**asked: Any) -> str:
        _, fact = await llm_world.ask(alias, project_id=project, **asked)
        if fact.attempts == ():
            return str(fact.error.code)
        return str((await llm_world.calls(alias.models[0]))[-1]["body"]["messages"][0]["content"])

    assert await prompt(session_id=session) == "missing_variable"
    assert await prompt(session_id=session, variables={"city": "Bern"}) == "friend Bern"
    assert await prompt(session_id=session) == "friend Bern"
    assert await prompt(session_id=session, variables={"name": "Ada"}) == "Ada Bern"
    assert await prompt(session_id=session) == "Ada Bern"
    assert await prompt(session_id=session, variables={"name": "{{city}}", "city": "Basel"}) == "{{city}} Basel"
    # Nobody else's session, and none that has no name.
    others: list[dict[str, Any]] = [{"session_id": f"{session}-2"}, {}]
    for other in others:
        assert await prompt(**other) == "missing_variable"
    # What is too much is for every request to bring.
    large = {"name": "x" * 9_000, "city": "y" * 9_000}
    assert await prompt(session_id=f"{session}-3", variables=large) == f"{large['name']} {large['city']}"
    assert await prompt(session_id=f"{session}-3") == "missing_variable"


async def test_braces_that_are_no_variables_and_sets_from_before_stand_as_they_are(
    llm_world: World, sets: Sets
) -> None:
    text = 'Answer {"a": {"b": {{1}}}} {{#if x}} {{unknown}} {{}}'
    assert await prompt_of(llm_world, sets, text, {}) == text


@pytest.mark.parametrize(
    ("variables", "status", "code", "param"),
    [
        (None, 400, "missing_variable", "variables.city"),
        ({"name": "x"}, 400, "missing_variable", "variables.city"),
        ({"city": ["x"]}, 400, "invalid_value", "variables"),
        ({"city": "x", "now": "never"}, 400, "invalid_value", "variables"),
        ({"city": "x", "a b": "y"}, 400, "invalid_value", "variables"),
        ({"city": "x" * 10_001}, 400, "invalid_value", "variables"),
        ({"city": "x" * 10_000}, 400, "prompt_too_long", "variables"),
    ],
)
async def test_variables_that_are_missing_or_cannot_be_are_named(
    llm_world: World, sets: Sets, variables: Any, status: int, code: str, param: str
) -> None:
    alias = await llm_world.alias("")
    project = await sets.on({"variables": {"city": {"required": True}}}, "{{city}}" * 100)
    _, fact = await llm_world.ask(alias, project_id=project, variables=variables)
    assert (fact.error.status, fact.error.code, fact.error.param) == (status, code, param)
    assert await llm_world.calls(alias.models[0]) == []


@pytest.mark.parametrize("stream", [True, False])
async def test_the_revision_stands_in_header_and_fact(llm_world: World, sets: Sets, stream: bool) -> None:
    alias = await llm_world.alias("")
    project = await sets.on({"flags": {"new_voice": True, "share": 0.5}})
    heard, fact = await llm_world.ask(alias, project_id=project, stream=stream)
    headers = heard.headers or {}
    assert (headers["x-sonant-active-revision"], headers["x-sonant-active-layer"]) == ("7", "project")
    assert (fact.active.revision, fact.active.layer, fact.active.candidate) == (7, "project", False)
    assert fact.active.flags == {"new_voice": True, "share": 0.5}
    heard, fact = await llm_world.ask(alias)
    assert "x-sonant-active-revision" not in (heard.headers or {})
    assert fact.active is None


async def test_the_candidate_of_a_rollout_brings_its_own_flags(llm_world: World, sets: Sets) -> None:
    """The rollout of the set is that of its flags: there is no other one."""
    alias = await llm_world.alias("")
    candidate: dict[str, Any] = {
        "config": {"flags": {"response_cache": True}},
        "prompt": {},
        "voice": None,
        "tools": [],
    }
    project = await sets.on({}, candidate=orjson.dumps(candidate), candidate_revision=8, percent=50.0)
    seen: dict[int, set[str | None]] = {}
    for user in range(12):
        await sets.nothing_on(project, f"user-{user}")
        _, fact = await llm_world.ask(alias, project_id=project, user_id=f"user-{user}", cache=None)
        seen.setdefault(fact.active.revision, set()).add(fact.cache)
    assert seen.keys() == {7, 8}
    assert seen[7] == {None}
    assert seen[8] <= {"miss", "hit"}


async def test_the_config_names_the_model_where_the_caller_asks_for_the_default(llm_world: World, sets: Sets) -> None:
    await llm_world.alias("", name="default")
    chosen = await llm_world.alias("")
    model = {"model_provider": "OPEN_AI", "model_resource": chosen.name, "temperature": 0.25}
    project = await sets.on({"language_model": model})
    _, fact = await llm_world.ask("default", project_id=project)
    assert (fact.upstream, fact.active.alias) == (chosen.upstreams[0], chosen.name)
    [call] = await llm_world.calls(chosen.models[0])
    assert call["body"]["temperature"] == 0.25
    other = await llm_world.alias("")
    _, fact = await llm_world.ask(other, project_id=project)
    assert (fact.upstream, fact.active.alias) == (other.upstreams[0], None)
    # A name that is no alias of ours is the provider's own.
    project = await sets.on({"language_model": {**model, "model_resource": "gpt-unknown"}})
    _, fact = await llm_world.ask("default", project_id=project)
    assert fact.upstream == "default-a"


async def test_the_config_limits_how_long_a_model_is_waited_for(llm_world: World, sets: Sets) -> None:
    alias = await llm_world.alias("silence", "", first_byte_timeout=20.0, tries=1)
    project = await sets.on({"timeouts": {"answer": {"first_token_secs": 0.2}}})
    began = time.monotonic()
    heard, fact = await llm_world.ask(alias, project_id=project)
    assert time.monotonic() - began < 5
    assert heard.text() == HELLO_TEXT
    assert fact.upstream == alias.upstreams[1]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": "Speak your greeting to the user."}],
        [{"role": "system", "content": "Be brief."}],
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Go on."}],
    ],
)
async def test_a_greeting_is_said_without_asking_a_model(
    llm_world: World, sets: Sets, messages: list[dict[str, Any]], stream: bool
) -> None:
    alias = await llm_world.alias("")
    project = await sets.on({**GREETING, "variables": {"name": {"default": "friend"}}})
    heard, fact = await llm_world.ask(
        alias, project_id=project, messages=messages, stream=stream, dialect=HUME, variables={"name": "Ada"}
    )
    assert heard.text() == "Hello Ada! How are you?"
    assert heard.finish_reasons() == ["stop"]
    assert (fact.served_by, fact.upstream, fact.cost_usd, fact.usage.total_tokens) == ("greeting", None, 0.0, 0)
    assert (heard.headers or {})["x-sonant-active-revision"] == "7"
    assert await llm_world.calls(alias.models[0]) == []


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"event_messages": {"on_new_chat": {"enabled": False, "text": "Hello!"}}},
        {"event_messages": {"on_new_chat": {"enabled": True}}},
    ],
)
async def test_without_a_greeting_the_model_is_asked_for_one(
    llm_world: World, sets: Sets, config: dict[str, Any]
) -> None:
    alias = await llm_world.alias("")
    project = await sets.on(config)
    _, fact = await llm_world.ask(alias, "Speak your greeting to the user.", project_id=project, dialect=HUME)
    assert fact.upstream == alias.upstreams[0]


async def test_who_has_spoken_gets_no_greeting(llm_world: World, sets: Sets) -> None:
    alias = await llm_world.alias("")
    project = await sets.on(GREETING)
    spoken: list[list[dict[str, str]]] = [
        [{"role": "user", "content": "Hi"}],
        [{"role": "assistant", "content": "Hello!"}, {"role": "user", "content": "Go on."}],
    ]
    for messages in spoken:
        _, fact = await llm_world.ask(alias, project_id=project, messages=messages, dialect=HUME)
        assert fact.upstream == alias.upstreams[0]
    # Of a plain client these are words like any other.
    _, fact = await llm_world.ask(alias, "Go on.", project_id=project)
    assert fact.upstream == alias.upstreams[0]
