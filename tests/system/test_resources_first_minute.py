"""A product team's first minute: a voice configuration made, activated and read back, and a tool drafted into it.

Whether its resources are kept here or at the voice provider makes no difference.
"""

import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.support.clients import client, new_key
from tests.support.sonant import HUME_ORGANIZATIONS, Sonant
from tests.support.waiting import eventually

USER = "user-123"
PROJECT = "project-456"
SCHEMA = '{"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]}'


UNUSED = iter(HUME_ORGANIZATIONS)


@pytest.fixture(params=["here", "at the provider"])
async def api(request: pytest.FixtureRequest, sonant: Sonant) -> AsyncIterator[httpx.AsyncClient]:
    organization = f"team-{uuid.uuid4().hex[:8]}" if request.param == "here" else next(UNUSED)
    key = new_key(sonant, organization, scopes=["resources"])
    # The id of a request is its sender's to choose: here it names the organisation in the logs.
    headers = {**key.headers, "x-user-id": USER, "x-request-id": organization}
    async with client(sonant.url, headers) as opened:
        yield opened


async def created(api: httpx.AsyncClient, kind: str, **body: Any) -> dict[str, Any]:
    """One new resource."""
    answer = await api.post(f"/api/hume/{kind}s", json=body)
    assert answer.status_code == 201, answer.text
    assert answer.headers.get("x-sonant-provider") == ("sandbox" if at_provider(api) else None)
    made: dict[str, Any] = answer.json()[kind]
    assert made["version"] == 0
    return made


async def versioned(api: httpx.AsyncClient, kind: str, id: str, **body: Any) -> dict[str, Any]:
    answer = await api.put(f"/api/hume/{kind}s", params={"id": id}, json=body)
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()[kind]
    return made


def at_provider(api: httpx.AsyncClient) -> bool:
    """Whether its resources are kept by the voice provider, for which the sandbox stands in."""
    return api.headers["x-request-id"] in HUME_ORGANIZATIONS


async def configured(api: httpx.AsyncClient) -> dict[str, Any]:
    """A config and a prompt in their second versions and two tools, as the body that activates them."""
    prompt = await created(api, "prompt", name="greeter", text="Greet the caller.")
    await versioned(api, "prompt", prompt["id"], text="Greet the caller by name.")
    config = await created(api, "config", name="front desk", evi_version="3", prompt={"id": prompt["id"]})
    await versioned(api, "config", config["id"], evi_version="3", prompt={"id": prompt["id"], "version": 1})
    weather = await created(api, "tool", name="get_weather", parameters=SCHEMA, description="Tells the weather.")
    calendar = await created(api, "tool", name="read_calendar", parameters=SCHEMA, description="Reads the calendar.")
    return {
        "projectId": PROJECT,
        "configId": config["id"],
        "configVersion": 1,
        "promptId": prompt["id"],
        "promptVersion": 1,
        "tools": [{"toolId": weather["id"], "toolVersion": 0}, {"toolId": calendar["id"], "toolVersion": 0}],
    }


async def test_a_config_with_prompt_and_two_tools_is_set_active_and_read_back(api: httpx.AsyncClient) -> None:
    body = await configured(api)
    switched = await api.post("/api/hume/configs", params={"setActive": "true"}, json=body)
    assert switched.status_code == 200, switched.text
    assert switched.json()["config"]["id"] == body["configId"]
    query = {"active": "true", "projectId": PROJECT}
    active = {kind: (await api.get(f"/api/hume/{kind}", params=query)).json() for kind in ("configs", "prompts")}
    assert (active["configs"]["config"]["id"], active["configs"]["config"]["version"]) == (body["configId"], 1)
    assert active["prompts"]["prompt"]["text"] == "Greet the caller by name."
    tools = (await api.get("/api/hume/tools", params=query)).json()["tools"]
    assert [tool["name"] for tool in tools] == ["get_weather", "read_calendar"]
    whole = await api.get("/v1/active", params={"projectId": PROJECT})
    assert whole.headers["etag"] == '"1"'
    assert (whole.json()["revision"], whole.json()["layer"]) == (1, "user")
    assert whole.json()["config"] == active["configs"]["config"]
    assert [tool["id"] for tool in whole.json()["tools"]] == [tool["toolId"] for tool in body["tools"]]


async def test_nothing_is_active_before_something_is_set(api: httpx.AsyncClient) -> None:
    answer = await api.get("/api/hume/configs", params={"active": "true", "projectId": "another"})
    assert answer.status_code == 404
    assert answer.json()["error"]["message"]


async def test_a_drafted_weather_tool_is_promoted_and_added_to_the_active_set(api: httpx.AsyncClient) -> None:
    await api.post("/api/hume/configs", params={"setActive": "true"}, json=await configured(api))
    wish = {
        "description": "Tool to fetch weather data",
        "inputs": ["location", "date"],
        "outputs": ["temperature", "conditions"],
    }
    drafted = await api.post("/api/hume/tools/dynamic", json=wish)
    assert drafted.status_code == 201, drafted.text
    tool = drafted.json()["tool"]
    assert tool["status"] == "quarantined"
    pin = {"projectId": PROJECT, "toolId": tool["id"], "toolVersion": tool["version"]}
    held = await api.get("/api/hume/tools", params={"id": tool["id"]})
    assert (held.status_code, held.json()["tool"]["status"]) == (200, "quarantined"), held.text
    refused = await api.post("/v1/active/tools", json=pin)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "not_usable")
    promoted = await api.post(f"/api/hume/tools/dynamic/{tool['id']}/promote", json={})
    assert promoted.status_code == 200, promoted.text
    # The provider gives it an id of its own.
    tool = promoted.json()["tool"]
    pin |= {"toolId": tool["id"], "toolVersion": tool["version"]}
    added = await api.post("/v1/active/tools", json=pin)
    assert added.status_code == 200, added.text
    whole = (await api.get("/v1/active", params={"projectId": PROJECT})).json()
    assert [one["id"] for one in whole["tools"]][-1] == tool["id"]
    assert len(whole["tools"]) == 3
    disabled = await api.post(f"/api/hume/tools/dynamic/{tool['id']}/disable", json={})
    assert disabled.status_code == 200, disabled.text

    async def gone() -> bool:
        tools = (await api.get("/api/hume/tools", params={"active": "true", "projectId": PROJECT})).json()["tools"]
        return tool["id"] not in [one["id"] for one in tools]

    await eventually(gone)


async def test_what_was_done_can_be_read_back(api: httpx.AsyncClient) -> None:
    body = await configured(api)
    await api.put("/v1/active", json=body, headers={"If-Match": '"0"'})
    entries = (await api.get("/v1/audit")).json()["data"]
    assert len(entries) == 7
    assert {entry["user_id"] for entry in entries} == {USER}
    stale = await api.put("/v1/active", json=body, headers={"If-Match": '"0"'})
    assert (stale.status_code, len((await api.get("/v1/audit")).json()["data"])) == (412, 7)


async def test_the_token_is_one_for_a_client_and_never_the_key(api: httpx.AsyncClient) -> None:
    answer = await api.get("/api/hume/auth")
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == {"accessToken", "expiresAt"}
    assert answer.json()["expiresAt"] > time.time()
    assert answer.headers["x-sonant-provider"] == "sandbox"
    assert answer.headers["cache-control"] == "no-store"
