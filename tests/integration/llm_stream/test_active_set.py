"""An answer uses the active set of the user and project it is for, and does without where that cannot be had."""

import time
import uuid
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest

from common.clients.resources.entries import Entry, scope_key
from common.events.resources import ACTIVE_RESOLVE_REQUESTED, RESOURCE_QUERIES
from common.storage.resp import open_resp
from tests.support.llm_stream import HELLO_TEXT, VALKEY_DATABASE, AliasUnderTest, World

SCHEMA = '{"type":"object","properties":{"city":{"type":"string"}}}'
TOOL = {"name": "get_weather", "description": "Tells the weather.", "parameters": SCHEMA}
MODEL = {"language_model": {"model_provider": "OPEN_AI", "temperature": 0.25}}


def name(kind: str) -> str:
    return f"{kind}-{uuid.uuid4().hex[:8]}"


async def switched_on(
    redis_url: str, project_id: str, user_id: str, text: str, *, tools: Sequence[dict[str, Any]] = (), **facts: Any
) -> None:
    """What the service resources leaves in the cache after a switch."""
    told = {"config": MODEL, "prompt": {"text": text}, "voice": None, "tools": list(tools)}
    known = {"revision": 1, "fresh_until": time.time() + 300, **facts}
    async with open_resp(redis_url) as cache:
        entry = Entry(1, current=orjson.dumps(told), **known)
        await cache.execute(*entry.put(scope_key("org-1", project_id, user_id)))


async def nothing_on(redis_url: str, *places: tuple[str, str]) -> None:
    async with open_resp(redis_url) as cache:
        for place in places:
            await cache.execute(*Entry(1, time.time() + 300).put(scope_key("org-1", *place)))


async def asked(world: World, alias: AliasUnderTest, **options: Any) -> dict[str, Any]:
    """What the upstream saw of one request."""
    heard, _ = await world.ask(alias, **options)
    assert heard.text() == HELLO_TEXT
    body: dict[str, Any] = (await world.calls(alias.models[0]))[-1]["body"]
    return body


@pytest.fixture
def redis_url(valkey_url: str) -> str:
    """Where the service under test reads."""
    return urlsplit(valkey_url)._replace(path=f"/{VALKEY_DATABASE}").geturl()


async def sets_used(world: World, outcome: str) -> float:
    return await world.metric("sonant_chat_active_sets_total", f'outcome="{outcome}"') or 0.0


@pytest.mark.parametrize("stream", [True, False])
async def test_the_upstream_is_asked_with_prompt_tools_and_temperature(
    llm_world: World, redis_url: str, stream: bool
) -> None:
    user, project, alias = name("user"), name("project"), await llm_world.alias("")
    await switched_on(redis_url, project, user, "Greet by name.", tools=[TOOL])
    body = await asked(llm_world, alias, user_id=user, project_id=project, stream=stream)
    assert body["messages"][0] == {"role": "system", "content": "Greet by name."}
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert [tool["function"]["name"] for tool in body["tools"]] == ["get_weather"]
    assert body["temperature"] == 0.25


async def test_a_user_is_in_the_default_project_where_none_is_named(llm_world: World, redis_url: str) -> None:
    user, alias = name("user"), await llm_world.alias("")
    await switched_on(redis_url, "default", user, "Default project.")
    body = await asked(llm_world, alias, user_id=user)
    assert body["messages"][0]["content"] == "Default project."


async def test_a_project_alone_has_its_own_set(llm_world: World, redis_url: str) -> None:
    project, alias = name("project"), await llm_world.alias("")
    await switched_on(redis_url, project, "", "Project default.")
    body = await asked(llm_world, alias, project_id=project)
    assert body["messages"][0]["content"] == "Project default."


async def test_where_nothing_is_on_the_request_goes_as_it_came(llm_world: World, redis_url: str) -> None:
    user, project, alias = name("user"), name("project"), await llm_world.alias("")
    await nothing_on(redis_url, (project, user), (project, ""), ("", ""))
    before = await sets_used(llm_world, "none")
    body = await asked(llm_world, alias, user_id=user, project_id=project)
    assert [message["role"] for message in body["messages"]] == ["user"]
    assert await sets_used(llm_world, "none") == before + 1


async def test_a_request_that_names_nobody_asks_nothing(llm_world: World) -> None:
    alias = await llm_world.alias("")
    before = await llm_world.log.status([RESOURCE_QUERIES])
    body = await asked(llm_world, alias)
    assert [message["role"] for message in body["messages"]] == ["user"]
    assert await llm_world.log.status([RESOURCE_QUERIES]) == before


async def test_an_answer_does_without_a_set_that_cannot_be_had(llm_world: World) -> None:
    """Nobody serves resources here, and nothing is cached."""
    project, alias = name("project"), await llm_world.alias("")
    before = await sets_used(llm_world, "away")
    body = await asked(llm_world, alias, project_id=project)
    assert [message["role"] for message in body["messages"]] == ["user"]
    assert await sets_used(llm_world, "away") == before + 1
    found = await llm_world.log.read(RESOURCE_QUERIES, limit=1_000)
    assert any(record.headers["event-type"] == ACTIVE_RESOLVE_REQUESTED.name for record in found)


async def test_a_set_that_is_due_is_used_while_nobody_refreshes_it(llm_world: World, redis_url: str) -> None:
    project, alias = name("project"), await llm_world.alias("")
    await switched_on(redis_url, project, "", "From before.", fresh_until=0.0)
    body = await asked(llm_world, alias, project_id=project)
    assert body["messages"][0]["content"] == "From before."


@pytest.mark.parametrize("stream", [True, False])
async def test_a_set_that_cannot_be_served_whole_is_named_in_the_error(
    llm_world: World, redis_url: str, stream: bool
) -> None:
    project, alias = name("project"), await llm_world.alias("")
    await switched_on(redis_url, project, "", "Half of it.", problem="the config is gone")
    heard, fact = await llm_world.ask(alias, project_id=project, stream=stream)
    assert (fact.error.status, fact.error.code, fact.error.message) == (409, "not_servable", "the config is gone")
    assert b"the config is gone" in b"".join(frame.payload for frame in heard.frames)
    assert await llm_world.calls(alias.models[0]) == []


async def test_tools_do_not_cost_an_answer_its_other_upstreams(llm_world: World, redis_url: str) -> None:
    project = name("project")
    alias = await llm_world.alias({"faults": "status-500"}, {"capabilities": ["stream_usage", "done"]})
    await switched_on(redis_url, project, "", "Greet.", tools=[TOOL])
    heard, fact = await llm_world.ask(alias, project_id=project)
    assert heard.text() == HELLO_TEXT
    assert fact.upstream == alias.upstreams[1]
    [able, *_] = await llm_world.calls(alias.models[0])
    assert [tool["function"]["name"] for tool in able["body"]["tools"]] == ["get_weather"]
    [call] = await llm_world.calls(alias.models[1])
    assert "tools" not in call["body"]
    assert call["body"]["messages"][0]["content"] == "Greet."
