"""A call of twenty turns as each platform makes it: doubled turns, interruptions, growing transcripts, silence."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.support.clients import Key, calls, client, new_key, upstream_asked, upstream_end
from tests.support.log import facts, log_of
from tests.support.sonant import Sonant
from tests.support.voice_caller import Caller, ElevenLabs, ElevenLabsResponses, Heard, Hume, Vapi
from tests.support.waiting import eventually

CALM = {"Calmness": 0.8, "Joy": 0.3, "Surprise (positive)": 0.0}
EXCITED = {"Excitement": 0.9, "Joy": 0.7, "Aesthetic Appreciation": 0.1}
ODD: dict[str, Any] = {**EXCITED, "Of Tomorrow": 0.5, "Anger": None, "Fear": "much"}
PLATFORMS = pytest.mark.parametrize("platform", [Hume, Vapi, ElevenLabs, ElevenLabsResponses])


@pytest.fixture(scope="module")
def key(sonant: Sonant) -> Key:
    return new_key(sonant)


@pytest.fixture
async def http(sonant: Sonant, key: Key) -> AsyncIterator[httpx.AsyncClient]:
    async with client(sonant.url, key.headers) as opened:
        yield opened


async def spoken_over(caller: Caller, sonant: Sonant, text: str) -> tuple[Heard, list[dict[str, Any]]]:
    """A turn that the user interrupts: what was heard of it, and the receipts. It does not enter the history."""
    async with caller.opened(caller.user(text, CALM), model="slow") as response:
        listening = asyncio.create_task(caller.listens(response))
        await upstream_asked(sonant, text)
        receipts = await caller.interrupts()
        return await listening, receipts


async def outgrown(caller: Caller, sonant: Sonant, begun: str, whole: str) -> tuple[Heard, Heard]:
    """An utterance that was taken for complete too early: the second request replaces the first."""
    async with caller.opened(caller.user(begun, CALM), model="slow") as response:
        early = asyncio.create_task(caller.listens(response))
        await upstream_asked(sonant, begun)
        late = await caller.says(caller.user(whole, EXCITED))
        return await early, late


@PLATFORMS
async def test_a_call_of_twenty_turns(
    sonant: Sonant, key: Key, http: httpx.AsyncClient, platform: type[Caller]
) -> None:
    caller = platform(http)
    mine = caller.session
    # 1 to 6: said and answered.
    for number in range(1, 7):
        heard = await caller.says(caller.user(f"Say: reply {number}", EXCITED if number % 2 else CALM))
        assert (heard.status, heard.text, heard.done) == (200, f"reply {number}", True)
        assert heard.headers["x-sonant-session-id"] == mine
    # 7 and 8: a turn that is sent twice is one turn.
    for number in (7, 8):
        twice = caller.user(f"Say: once {number} {mine}", ODD)
        before = len(caller.history)
        assert (await caller.says(twice, twice)).text == f"once {number} {mine}"
        del caller.history[before]
        (call,) = calls(sonant, f"once {number} {mine}")
        assert [message["content"] for message in call["body"]["messages"]].count(twice["content"]) == 1
    # 9 to 12: spoken over, each time somewhere else; the history does not know the answer.
    for number in range(9, 13):
        text = f"spoken over {number} {mine}"
        heard, receipts = await spoken_over(caller, sonant, text)
        assert not heard.done
        (receipt,) = receipts
        assert receipt["reason"] == "user_interruption"
        assert receipt["delivered_tokens"] <= receipt["generated_tokens"]
        assert await upstream_end(sonant, text) == "client_closed"
    # 13 and 14: an utterance that goes on replaces its beginning.
    for number in (13, 14):
        early, late = await outgrown(caller, sonant, f"the beginning {number} {mine}", f"Say: whole {number}")
        assert (early.done, late.text, late.done) == (False, f"whole {number}", True)
        assert await upstream_end(sonant, f"the beginning {number} {mine}") == "client_closed"
    # 15: the user says nothing, and the platform asks all the same.
    assert (await caller.says(caller.user("  "))).done
    del caller.history[-2]
    # 16: the history ends with the assistant.
    assert (await caller.says()).done
    # 17 and 18: typed, so nobody measured anything.
    for number in (17, 18):
        assert (await caller.says(caller.user(f"Say: typed {number}"))).text == f"typed {number}"
    # 19: all that was said is known, and nothing that was not.
    await caller.says(caller.user(f"Say: what is known {mine}", CALM))
    (call,) = calls(sonant, f"what is known {mine}")
    known = [message["content"] for message in call["body"]["messages"]]
    assert {"reply 1", "reply 6", "whole 13", "typed 18"} <= set(known)
    assert not any("spoken over" in text or "the beginning" in text for text in known)
    assert not {"models", "time"} & {name for message in call["body"]["messages"] for name in message}
    # 20: goodbye.
    assert (await caller.says(caller.user("Say: goodbye", EXCITED))).text == "goodbye"
    await check_facts(sonant, key, mine, measured=platform is Hume)


async def check_facts(sonant: Sonant, key: Key, session: str, *, measured: bool) -> None:
    """22 requests, of which four were spoken over and two outgrown; the series of how the user sounded."""
    async with log_of(sonant) as log:

        async def all_of_them() -> bool:
            return len([fact for fact in await facts(log, key.organization) if fact.marker == session]) == 22

        await eventually(all_of_them)
        mine = [fact for fact in await facts(log, key.organization) if fact.marker == session]
    kinds = [fact.kind for fact in mine]
    assert (kinds.count("interrupted"), kinds.count("completed")) == (6, 16)
    reasons = [fact.payload["receipt"]["reason"] for fact in mine if fact.kind == "interrupted"]
    assert (reasons.count("user_interruption"), reasons.count("newer_request")) == (4, 2)
    series = [fact.payload["prosody"] for fact in mine if "prosody" in fact.payload]
    assert len(series) == (18 if measured else 0)
    if measured:
        assert series[0] == [{"scores": EXCITED, "begin_ms": 1000.0, "end_ms": 1800.0}]
        odd = [each for spoken in series for each in spoken if "Of Tomorrow" in each["scores"]]
        assert [each["scores"] for each in odd] == [{**EXCITED, "Of Tomorrow": 0.5}] * 2


async def test_hume_hears_its_session_and_the_last_scores_in_every_chunk(http: httpx.AsyncClient) -> None:
    caller = Hume(http)
    measured = await caller.says(caller.user("Say: nice to hear you", EXCITED))
    typed = await caller.says(caller.user("Say: and to read you"))
    for heard in (measured, typed):
        assert {event["system_fingerprint"] for event in heard.events} == {caller.session}
        deltas = [event["choices"][0]["delta"] for event in heard.events]
        assert [delta["models"]["prosody"]["scores"] for delta in deltas] == [EXCITED] * len(deltas)
        assert "usage" not in heard.events[-1]


@pytest.mark.parametrize(("header", "told"), [("include", True), ("omit", False), (None, False)])
async def test_any_caller_may_ask_for_the_scores(http: httpx.AsyncClient, header: str | None, told: bool) -> None:
    spoken = Hume(http).user("Say: measured", CALM)
    headers = {} if header is None else {"x-sonant-prosody": header}
    answer = await http.post("/v1/chat/completions", json={"messages": [spoken]}, headers=headers)
    message = answer.json()["choices"][0]["message"]
    assert (message["content"], message.get("models")) == ("measured", {"prosody": {"scores": CALM}} if told else None)
    wrong = await http.post("/chat/completions", json={"messages": [spoken]}, headers={"x-sonant-prosody": "perhaps"})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "x-sonant-prosody")


async def test_a_greeting_is_asked_for_and_its_words_are_not_repeated(http: httpx.AsyncClient, sonant: Sonant) -> None:
    caller = Hume(http)
    glued = f"Speak your greeting to the user.Say: glued {caller.session}"
    assert (await caller.says(caller.user(glued))).text == f"glued {caller.session}"
    assert (await Hume(http).says(Hume(http).user("Speak your greeting to the user."))).text


async def test_the_dialect_is_found_out_where_it_is_not_named(http: httpx.AsyncClient) -> None:
    path = "/v1/dialects/auto/chat/completions"
    body = {"messages": [Hume(http).user("Say: who am I", CALM)]}
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
    http: httpx.AsyncClient, key: Key, sonant: Sonant
) -> None:
    caller = ElevenLabs(http)
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
