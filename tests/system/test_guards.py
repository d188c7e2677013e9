"""Guards over HTTP: budgets of keys, the cache of answers, and what of an active set is at work."""

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest

from tests.support.clients import Key, calls, chat, client, new_key
from tests.support.sonant import Sonant
from tests.support.waiting import eventually

PATH = "/v1/chat/completions"
KEYS = "/v1/admin/keys"
SENTENCE = "One two three four five six seven eight nine ten. "
LONG = "Say: " + SENTENCE * 60


@pytest.fixture(scope="module")
def key(sonant: Sonant) -> Key:
    return new_key(sonant, scopes=["chat", "resources"])


@pytest.fixture
async def http(sonant: Sonant, key: Key) -> AsyncIterator[httpx.AsyncClient]:
    async with client(sonant.url, {**key.headers, "x-user-id": "user-1"}) as opened:
        yield opened


@pytest.fixture
async def admin(sonant: Sonant) -> AsyncIterator[httpx.AsyncClient]:
    async with client(sonant.url, sonant.headers) as opened:
        yield opened


async def test_a_budget_ends_a_stream_then_refuses_and_outlives_a_rotation(
    sonant: Sonant, admin: httpx.AsyncClient
) -> None:
    budget = {"period": "day", "tokens": 1_200}
    key = new_key(sonant, limits={"budget": budget})
    async with openai.AsyncOpenAI(base_url=f"{sonant.url}/v1", api_key=key.text, max_retries=0) as ai:
        said: list[Any] = [{"role": "user", "content": LONG}]
        stream = await ai.chat.completions.create(model="default", messages=said, stream=True)
        chunks = [chunk async for chunk in stream]
        text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
        assert chunks[-1].choices[0].finish_reason == "length"
        assert 0 < len(text) < len(LONG) - 5
        assert text.rstrip().endswith("ten.")
        with pytest.raises(openai.RateLimitError) as refused:
            await ai.chat.completions.create(model="default", messages=said)
        assert refused.value.code == "insufficient_quota"
        assert refused.value.response.headers["x-should-retry"] == "false"
    shown = (await admin.get(f"{KEYS}/{key.id}/budget")).json()
    assert shown["limit_tokens"] == 1_200
    assert 1_000 < shown["tokens"] <= 1_250
    rotated = (await admin.post(f"{KEYS}/{key.id}/rotate", json={"overlap": 0})).json()
    assert rotated["limits"]["budget"] == {**budget, "usd": None}
    assert (await admin.get(f"{KEYS}/{rotated['id']}/budget")).json() == shown
    async with client(sonant.url, {"authorization": f"Bearer {rotated['key']}"}) as http:
        again = await http.post(PATH, json=chat(LONG))
    assert (again.status_code, again.json()["error"]["code"]) == (429, "insufficient_quota")


async def test_budgets_are_checked_and_of_ones_own_organisation(sonant: Sonant, admin: httpx.AsyncClient) -> None:
    for budget in ({}, {"tokens": 0}, {"usd": -1}, {"tokens": 5, "period": "year"}, {"tokens": "5"}):
        answer = await admin.post(KEYS, json={"name": "x", "limits": {"budget": budget}})
        assert answer.status_code == 400, budget
    plain, limited = new_key(sonant), new_key(sonant, limits={"budget": {"usd": 0.5}})
    answer = await admin.get(f"{KEYS}/{plain.id}/budget")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_budget")
    other = new_key(sonant, organization="other-guards", scopes=["admin"])
    async with client(sonant.url, other.headers) as foreign:
        assert (await foreign.get(f"{KEYS}/{limited.id}/budget")).status_code == 404
    async with client(sonant.url, limited.headers) as unscoped:
        assert (await unscoped.get(f"{KEYS}/{limited.id}/budget")).status_code == 403


async def test_embeddings_spend_the_budget_too(sonant: Sonant, admin: httpx.AsyncClient) -> None:
    key = new_key(sonant, limits={"budget": {"period": "month", "tokens": 30}})
    body = {"model": "embeddings", "input": "Some words to make a vector of, about twenty tokens of them in all, so."}
    async with client(sonant.url, key.headers) as http:
        assert (await http.post("/v1/embeddings", json=body)).status_code == 200
        refused = await http.post("/v1/embeddings", json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "insufficient_quota")
    assert (await admin.get(f"{KEYS}/{key.id}/budget")).json()["tokens"] > 10


async def test_a_request_opts_into_the_cache_and_past_it(http: httpx.AsyncClient) -> None:
    asked = chat(f"Say: One is here. {uuid.uuid4().hex}")
    seen = []
    for headers in (
        {"x-sonant-cache": "on"},
        {"x-sonant-cache": "on"},
        {"x-sonant-cache": "refresh"},
        {"x-sonant-cache": "off"},
        {"cache-control": "no-cache"},
        {},
    ):
        answer = await http.post(PATH, json=asked, headers=headers)
        assert answer.status_code == 200
        seen.append(answer.headers.get("x-sonant-cache"))
    assert seen == ["miss", "hit", "refresh", None, None, None]
    streamed = await http.post(PATH, json={**asked, "stream": True}, headers={"x-sonant-cache": "on"})
    assert streamed.headers["x-sonant-cache"] == "hit"
    assert streamed.text.rstrip().endswith("data: [DONE]")
    refused = await http.post(PATH, json=asked, headers={"x-sonant-cache": "sometimes"})
    assert refused.status_code == 400


async def test_an_active_set_is_at_work(http: httpx.AsyncClient) -> None:
    project = f"project-{uuid.uuid4().hex[:8]}"
    prompt = (
        await http.post("/api/hume/prompts", json={"name": project, "text": "Serve {{name}} of {{city}}."})
    ).json()
    greeting = {"on_new_chat": {"enabled": True, "text": "Welcome, {{name}}!"}}
    config: dict[str, Any] = {"name": project, "evi_version": "3", "event_messages": greeting}
    made = (await http.post("/api/hume/configs", json=config)).json()
    pins = {"projectId": project, "configId": made["config"]["id"], "promptId": prompt["prompt"]["id"]}
    refused = await http.put("/v1/active", json=pins)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "unfilled_variables")
    declared = {"name": {"default": "friend"}, "city": {"required": True}}
    version = {"id": made["config"]["id"], **config, "variables": declared}
    del version["name"]
    assert (await http.put("/api/hume/configs", json=version)).status_code == 200
    assert (await http.put("/v1/active", json=pins)).status_code == 200
    headers = {"x-project-id": project}
    missing = await http.post(PATH, json=chat("Hi"), headers=headers)
    assert (missing.status_code, missing.json()["error"]["code"]) == (400, "missing_variable")
    answer = await http.post(PATH, json={**chat("Hi"), "variables": {"city": "Bern"}}, headers=headers)
    assert answer.status_code == 200
    assert (answer.headers["x-sonant-active-revision"], answer.headers["x-sonant-active-layer"]) == ("1", "user")
    greeted = await http.post(
        "/v1/dialects/hume/chat/completions?custom_session_id=s-1",
        json={
            "messages": [{"role": "user", "content": "Speak your greeting to the user."}],
            "stream": True,
            "variables": {"city": "Bern", "name": "Ada"},
        },
        headers=headers,
    )
    assert "Welcome, Ada!" in greeted.text
    wrong = await http.post(PATH, json={**chat("Hi"), "variables": {"city": ["x"]}}, headers=headers)
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "variables")


@pytest.mark.parametrize("stream", [True, False])
async def test_every_round_of_tools_is_charged_to_the_key(
    sonant: Sonant, admin: httpx.AsyncClient, stream: bool
) -> None:
    """The first round alone was reserved for: what the others take is a debt of the minute, and spent of the budget."""
    limits = {"tokens_per_minute": 20_000, "budget": {"tokens": 100_000, "period": "day"}}
    key = new_key(sonant, limits=limits)
    asked = chat('Use the calculator for "19.99 * 3". ' + "It is for the shop. " * 600, stream=stream)
    asked |= {"tools": [{"type": "sonant", "name": "calculator"}], "max_tokens": 50}
    if stream:
        asked["stream_options"] = {"include_usage": True}
    async with client(sonant.url, key.headers) as http:
        answer = await http.post(PATH, json=asked)
        assert answer.status_code == 200, answer.text
        assert "59.97" in answer.text
        told = json.loads(answer.text.split("data: ")[-2].splitlines()[0]) if stream else answer.json()
        used = told["usage"]["prompt_tokens"] + told["usage"]["completion_tokens"]
        one_round = len(asked["messages"][0]["content"]) // 4 + 50
        assert used > 1.8 * one_round

        async def charged() -> bool:
            """What is left counts this small request too; a minute fills the bucket evenly."""
            left = int((await http.post(PATH, json=chat("Hi", max_tokens=1))).headers["x-ratelimit-remaining-tokens"])
            return left < 20_000 - 1.5 * one_round

        assert await eventually(charged)
    spent = (await admin.get(f"{KEYS}/{key.id}/budget")).json()["tokens"]
    assert used <= spent <= used + 2_000


async def test_a_session_forgets_its_variables_and_never_keeps_what_was_flagged(
    sonant: Sonant, http: httpx.AsyncClient
) -> None:
    """The guards and the store of sessions meet: what nobody heard is told to no model either."""
    name, session = f"kept-{uuid.uuid4().hex[:8]}", f"session-{uuid.uuid4().hex[:12]}"
    prompt = (await http.post("/api/hume/prompts", json={"name": name, "text": "Serve {{city}}."})).json()
    config = {
        "name": name,
        "evi_version": "3",
        "variables": {"city": {"required": True}},
        "flags": {"moderation": "output"},
        "session": {"store": True},
    }
    made = (await http.post("/api/hume/configs", json=config)).json()
    pins = {"projectId": name, "configId": made["config"]["id"], "promptId": prompt["prompt"]["id"]}
    assert (await http.put("/v1/active", json=pins)).status_code == 200
    headers = {"x-project-id": name, "x-session-id": session}
    said = f"Say: One is here {session}. Then a murder was done. Two is here."
    first = await http.post(PATH, json={**chat(said), "variables": {"city": "Bern"}, "stream": True}, headers=headers)
    assert "content_filter" in first.text
    assert "murder" not in first.text
    # Later turns need not give the variable again.
    again = await http.post(PATH, json=chat(f"Say: again {session}"), headers=headers)
    assert again.status_code == 200, again.text
    [call] = calls(sonant, f"again {session}")
    told = " ".join(message["content"] for message in call["body"]["messages"] if message["role"] == "assistant")
    assert "One is here" in told
    assert "murder" not in told
    assert (await http.delete(f"/v1/sessions/{session}")).status_code == 200
    gone = await http.post(PATH, json=chat("Hi"), headers=headers)
    assert (gone.status_code, gone.json()["error"]["code"]) == (400, "missing_variable")
