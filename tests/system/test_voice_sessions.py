"""A call of twenty turns as each platform makes it: doubled turns, interruptions, tools, silence."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import httpx
import pytest
from openai import AsyncOpenAI, AsyncStream

from sandbox.caller.scripted_call import CALM, EXCITED, PlayedTurn, ScriptedCall
from sandbox.caller.voice_platforms import (
    PLATFORMS,
    Caller,
    ElevenLabs,
    Heard,
    Hume,
    Responses,
    take_response_event,
)
from tests.support.clients import CLIENT_SECONDS, Key, calls, client, new_key, upstream_asked, upstream_end
from tests.support.log import facts, log_of
from tests.support.sonant import Sonant
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def key(sonant: Sonant) -> Key:
    return new_key(sonant)


@pytest.fixture
async def http(sonant: Sonant, key: Key) -> AsyncIterator[httpx.AsyncClient]:
    async with client(sonant.url, key.headers) as opened:
        yield opened


@pytest.fixture
async def line(sonant: Sonant, key: Key) -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=CLIENT_SECONDS)
    async with aiohttp.ClientSession(sonant.url, headers=key.headers, timeout=timeout) as opened:
        yield opened


class Package(Responses):
    """The Responses API by OpenAI's own package."""

    ai: AsyncOpenAI

    @asynccontextmanager
    async def opened(self, *said: Any, model: str = "default", **more: Any) -> AsyncIterator[Any]:
        body = {**self.request([*self.history, *said], model), **more}
        stream: AsyncStream[Any] = await self.ai.responses.create(**body, extra_headers=self.headers())
        try:
            yield stream
        finally:
            await stream.close()

    async def listens(self, response: Any, characters: int | None = None) -> Heard:
        heard = Heard(response.response.status_code, response.response.headers)
        async for event in response:
            take_response_event(event.to_dict(), heard)
            if characters is not None and len(heard.text) >= characters:
                break
        return heard


async def played_by(caller: Caller, sonant: Sonant) -> list[PlayedTurn]:
    async def begun(text: str) -> None:
        await upstream_asked(sonant, text)

    return await ScriptedCall(caller, slow="slow", begun=begun).play()


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_a_call_of_twenty_turns(sonant: Sonant, key: Key, line: aiohttp.ClientSession, platform: str) -> None:
    caller = PLATFORMS[platform](line)
    played = await played_by(caller, sonant)
    assert len(played) == 20
    assert [turn for turn in played if turn.problem] == []
    await check_upstreams(sonant, caller)
    await check_facts(sonant, key, caller)


async def test_the_same_call_by_the_package_of_openai(sonant: Sonant, key: Key, line: aiohttp.ClientSession) -> None:
    caller = Package(line)
    async with AsyncOpenAI(base_url=f"{sonant.url}/v1", api_key=key.text, max_retries=0) as caller.ai:
        played = await played_by(caller, sonant)
    assert [turn for turn in played if turn.problem] == []
    await check_facts(sonant, key, caller)


def test_an_operator_plays_a_call(sonant: Sonant, key: Key) -> None:
    command = [
        sys.executable,
        "-m",
        "sandbox.caller",
        "--url",
        sonant.url,
        "--platform",
        "vapi",
        "--slow-model",
        "slow",
    ]
    without_key = {name: value for name, value in os.environ.items() if name != "SONANT_API_KEY"}
    for env, code, told in (({"SONANT_API_KEY": key.text}, 0, " 20 goodbye: ok"), ({}, 1, "SONANT_API_KEY is to hold")):
        done = subprocess.run(
            command, env={**without_key, **env}, capture_output=True, text=True, timeout=CLIENT_SECONDS, check=False
        )
        assert (done.returncode, told in done.stdout + done.stderr) == (code, True), done.stdout + done.stderr


async def check_upstreams(sonant: Sonant, caller: Caller) -> None:
    """What was spoken over was stopped, what came twice was asked once, and no model sees what platforms measure."""
    for text in (f"spoken over 9 {caller.session}", f"spoken over 10 {caller.session}"):
        assert await upstream_end(sonant, text) == "client_closed"
    asked = calls(sonant, "Say: what is known")[-1]["body"]["messages"]
    said = [message["content"] for message in asked if message["role"] == "assistant" and message["content"]]
    assert {"reply 1", "reply 4", "typed 18"} <= set(said)
    if caller.newest_wins:
        users = [str(message["content"]) for message in asked if message["role"] == "user"]
        assert [text for text in users if "once 7" in text] == ["Say: once 7"]
    assert not {"models", "time"} & {name for message in asked for name in message}


async def check_facts(sonant: Sonant, key: Key, caller: Caller) -> None:
    """One fact for each request, with a receipt where it was stopped, and the series of how the user sounded."""
    requests = 23 if caller.asks_for_tools else 24
    async with log_of(sonant) as log:

        async def all_of_them() -> bool:
            return (
                len([fact for fact in await facts(log, key.organization) if fact.marker == caller.session]) == requests
            )

        await eventually(all_of_them)
        mine = [fact for fact in await facts(log, key.organization) if fact.marker == caller.session]
    kinds = [fact.kind for fact in mine]
    assert (kinds.count("interrupted"), kinds.count("completed")) == (6, requests - 6)
    reasons = [fact.payload["receipt"]["reason"] for fact in mine if fact.kind == "interrupted"]
    newer = 2 if caller.newest_wins else 0
    assert (reasons.count("user_interruption"), reasons.count("newer_request")) == (6 - newer, newer)
    ran = [tool["name"] for fact in mine for tool in fact.payload.get("tools") or ()]
    assert ran == (["calculator"] if caller.asks_for_tools else [])
    series = [each for fact in mine for each in fact.payload.get("prosody") or ()]
    if isinstance(caller, Hume):
        assert {**EXCITED, "Of Tomorrow": 0.5} in [each["scores"] for each in series]
        assert all("Anger" not in each["scores"] and each["end_ms"] - each["begin_ms"] == 800 for each in series)
    else:
        assert series == []


async def test_hume_hears_its_session_and_the_last_scores_in_every_chunk(line: aiohttp.ClientSession) -> None:
    caller = Hume(line)
    measured = await caller.says(caller.user("Say: nice to hear you", EXCITED))
    typed = await caller.says(caller.user("Say: and to read you"))
    for heard in (measured, typed):
        assert {event["system_fingerprint"] for event in heard.events} == {caller.session}
        deltas = [event["choices"][0]["delta"] for event in heard.events]
        assert [delta["models"]["prosody"]["scores"] for delta in deltas] == [EXCITED] * len(deltas)
        assert "usage" not in heard.events[-1]


@pytest.mark.parametrize(("header", "told"), [("include", True), ("omit", False), (None, False)])
async def test_any_caller_may_ask_for_the_scores(
    http: httpx.AsyncClient, line: aiohttp.ClientSession, header: str | None, told: bool
) -> None:
    spoken = Hume(line).user("Say: measured", CALM)
    headers = {} if header is None else {"x-sonant-prosody": header}
    answer = await http.post("/v1/chat/completions", json={"messages": [spoken]}, headers=headers)
    message = answer.json()["choices"][0]["message"]
    assert (message["content"], message.get("models")) == ("measured", {"prosody": {"scores": CALM}} if told else None)
    wrong = await http.post("/chat/completions", json={"messages": [spoken]}, headers={"x-sonant-prosody": "perhaps"})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "x-sonant-prosody")


async def test_a_greeting_is_asked_for_and_its_words_are_not_repeated(line: aiohttp.ClientSession) -> None:
    caller = Hume(line)
    glued = f"Speak your greeting to the user.Say: glued {caller.session}"
    assert (await caller.says(caller.user(glued))).text == f"glued {caller.session}"
    assert (await Hume(line).says(Hume(line).user("Speak your greeting to the user."))).text


async def test_the_dialect_is_found_out_where_it_is_not_named(
    http: httpx.AsyncClient, line: aiohttp.ClientSession
) -> None:
    path = "/v1/dialects/auto/chat/completions"
    body = {"messages": [Hume(line).user("Say: who am I", CALM)]}
    answer = await http.post(path, params={"custom_session_id": "chat-7"}, json=body)
    assert answer.json()["system_fingerprint"] == "chat-7"
    vapi = {"messages": [{"role": "user", "content": "Say: a call"}], "call": {"id": "call-7"}}
    answer = await http.post(path, json=vapi)
    assert answer.headers["x-sonant-session-id"] == "call-7"
    assert "system_fingerprint" not in answer.json()
    unknown = await http.post("/v1/dialects/klingon/chat/completions", json=vapi)
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "dialect_not_found")


async def test_retell_and_agora_get_their_numbers_back(http: httpx.AsyncClient) -> None:
    said = [{"role": "agent", "content": "Hello!"}, {"role": "user", "content": "Say: numbered"}]
    event = {"interaction_type": "response_required", "response_id": 3, "transcript": said, "call_id": "c-1"}
    answer = await http.post("/v1/dialects/retell/chat/completions", json=event)
    assert (answer.json()["response_id"], answer.headers["x-sonant-session-id"]) == (3, "c-1")
    assert answer.json()["choices"][0]["message"]["content"] == "numbered"
    update = await http.post("/v1/dialects/retell/chat/completions", json={**event, "interaction_type": "update_only"})
    assert (update.status_code, update.json()["error"]["param"]) == (400, "interaction_type")
    turn = {"turn_id": 2, "messages": [{"role": "user", "content": "Say: a turn", "turn_id": 2}]}
    answer = await http.post("/v1/dialects/agora/chat/completions", json=turn)
    assert answer.json()["turn_id"] == 2


async def test_the_header_names_the_user_before_the_body_does(
    http: httpx.AsyncClient, line: aiohttp.ClientSession, key: Key, sonant: Sonant
) -> None:
    caller = ElevenLabs(line)
    body = caller.request([caller.user("Say: whose")], "default")
    await http.post(caller.path, json=body, headers={"x-user-id": "by-header"})
    await http.post(caller.path, json=body)
    async with log_of(sonant) as log:

        async def both() -> bool:
            return len([fact for fact in await facts(log, key.organization) if fact.marker == caller.session]) == 2

        await eventually(both)
        users = [
            fact.payload["user_id"] for fact in await facts(log, key.organization) if fact.marker == caller.session
        ]
    assert sorted(users) == ["by-header", "caller-1"]
