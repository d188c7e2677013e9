"""Sessions as callers see them: what is kept, what goes on from it, what was really said, and how it is forgotten."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from tests.support.clients import Key, all_events, calls, chat, client, new_key, text_of, upstream_asked
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
async def ai(sonant: Sonant, key: Key) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{sonant.url}/v1", api_key=key.text, max_retries=0) as opened:
        yield opened


@pytest.fixture
def session() -> str:
    return f"session-{uuid.uuid4().hex[:12]}"


def asked_with(sonant: Sonant, marker: str) -> list[dict[str, Any]]:
    """The messages that the upstream saw of the request whose last message holds the marker."""
    call = calls(sonant, marker)[-1]
    messages: list[dict[str, Any]] = call["body"]["messages"]
    return messages


async def says(ai: AsyncOpenAI, session: str, text: str, **fields: Any) -> str:
    """A turn of which only the newest message is sent."""
    asked = {"model": "default", "messages": [{"role": "user", "content": text}], "store": True, **fields}
    headers = {"x-session-id": session}
    completion = await ai.chat.completions.create(**asked, extra_headers=headers)
    return completion.choices[0].message.content or ""


async def shown(http: httpx.AsyncClient, session: str) -> dict[str, Any]:
    answer = await http.get(f"/v1/sessions/{session}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_caller_that_sends_only_its_newest_message_goes_on(
    sonant: Sonant, ai: AsyncOpenAI, http: httpx.AsyncClient, session: str
) -> None:
    assert await says(ai, session, "Say: one") == "one"
    assert await says(ai, session, "Say: two") == "two"
    stream = await ai.chat.completions.create(
        model="default",
        messages=[{"role": "user", "content": f"Say: three {session}"}],
        store=True,
        stream=True,
        extra_headers={"x-session-id": session},
    )
    said = "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
    assert said == f"three {session}"
    told = [
        {"role": "user", "content": "Say: one"},
        {"role": "assistant", "content": "one"},
        {"role": "user", "content": "Say: two"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": f"Say: three {session}"},
    ]
    assert asked_with(sonant, f"three {session}") == told
    found = await shown(http, session)
    assert found["messages"] == [*told, {"role": "assistant", "content": f"three {session}"}]
    assert [turn["spoken"] for turn in found["turns"]] == ["one", "two", f"three {session}"]
    assert all(turn["generated"] == turn["delivered"] == turn["spoken"] for turn in found["turns"])


async def test_a_caller_that_sends_its_whole_history_gets_it_once(
    sonant: Sonant, ai: AsyncOpenAI, http: httpx.AsyncClient, session: str
) -> None:
    history: list[dict[str, Any]] = [{"role": "system", "content": "Be brief."}]
    for number in range(3):
        history.append({"role": "user", "content": f"Say: {number} {session}"})
        completion = await ai.chat.completions.create(
            model="default",
            messages=history,  # type: ignore[arg-type]
            store=True,
            extra_headers={"x-session-id": session},
        )
        assert asked_with(sonant, f"{number} {session}") == history
        history.append({"role": "assistant", "content": completion.choices[0].message.content})
    found = await shown(http, session)
    assert found["messages"] == history[1:]
    assert [len(turn["messages"]) for turn in found["turns"]] == [1, 1, 1]
    # From here on the server's memory does.
    await says(ai, session, f"Say: last {session}")
    assert asked_with(sonant, f"last {session}") == [*history[1:], {"role": "user", "content": f"Say: last {session}"}]
    # And whoever says so gets nothing in front.
    await says(ai, session, f"Say: alone {session}", extra_body={"sonant_history": "sent"})
    assert asked_with(sonant, f"alone {session}") == [{"role": "user", "content": f"Say: alone {session}"}]


async def cut_off(
    sonant: Sonant, http: httpx.AsyncClient, session: str, text: str, *, after: int, heard: dict[str, Any] | None = None
) -> tuple[str, dict[str, Any]]:
    """A turn that is interrupted after so many events; what was received of it, and what the interruption says."""
    received = []
    body = chat(text, model="slow", stream=True, store=True)
    async with http.stream("POST", "/v1/chat/completions", json=body, headers={"x-session-id": session}) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                received.append(line)
            if len(received) == after:
                break
        interruption = {"type": "user_interruption", "time": {"timestamp": 1}, **({"heard": heard} if heard else {})}
        stopped = await http.post(f"/v1/sessions/{session}/interrupt", json=interruption)
        assert stopped.status_code == 200, stopped.text
    return "".join(received), stopped.json()


LONG = "A long answer is told here and goes on for a while. It has a second sentence, and then it has a third one."


async def test_after_an_interruption_the_next_turn_knows_only_what_was_delivered(
    sonant: Sonant, ai: AsyncOpenAI, http: httpx.AsyncClient, session: str
) -> None:
    await cut_off(sonant, http, session, f"Say: {LONG}", after=4)
    await says(ai, session, f"Say: next {session}")
    first, answer, following = asked_with(sonant, f"next {session}")
    turn = (await shown(http, session))["turns"][0]
    assert first["content"] == f"Say: {LONG}"
    assert LONG.startswith(answer["content"])
    assert answer["content"] == turn["spoken"] == turn["delivered"] != ""
    assert turn["generated"].startswith(turn["delivered"])
    assert (turn["outcome"], turn["cut_off"]) == ("interrupted", True)
    assert turn["receipt"]["reason"] == "user_interruption"
    assert following["content"].startswith("(You were interrupted.")
    assert following["content"].endswith(f"Say: next {session}")


@pytest.mark.parametrize(
    ("heard", "spoken"),
    [
        ({"text": "one two"}, "one two"),
        ({"text": "One, two - thr"}, "one two"),
        ({"characters": 3}, "one"),
        ({"audio_ms": 500, "of_ms": 1000}, "one two"),
        ({"text": ""}, ""),
    ],
)
async def test_what_the_platform_says_was_heard_is_what_was_spoken(
    sonant: Sonant, ai: AsyncOpenAI, http: httpx.AsyncClient, session: str, heard: dict[str, Any], spoken: str
) -> None:
    await says(ai, session, "Say: one two three four")
    told = {"type": "user_interruption", "time": {"timestamp": 1}, "heard": heard}
    stopped = await http.post(f"/v1/sessions/{session}/interrupt", json=told)
    assert stopped.status_code == 200, stopped.text
    assert stopped.json()["spoken"]["spoken"] == spoken
    await says(ai, session, f"Say: next {session}")
    said = [message["content"] for message in asked_with(sonant, f"next {session}") if message["role"] == "assistant"]
    assert said == ([spoken] if spoken else [])
    turn = (await shown(http, session))["turns"][0]
    assert (turn["generated"], turn["delivered"], turn["spoken"]) == ("one two three four",) * 2 + (spoken,)
    assert turn["spoken_by"] == "platform"


async def test_what_was_never_said_cannot_have_been_heard(
    ai: AsyncOpenAI, http: httpx.AsyncClient, session: str
) -> None:
    await says(ai, session, "Say: one two")
    refused = await http.post(f"/v1/sessions/{session}/spoken", json={"heard": {"text": "something else"}})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "not_what_was_said")
    for wrong in ({}, {"text": "a", "characters": 1}, {"of_ms": 5.0, "text": "a"}, {"characters": -1}, {"audio": 1}):
        assert (await http.post(f"/v1/sessions/{session}/spoken", json={"heard": wrong})).status_code == 400
    assert (await http.post("/v1/sessions/nobody/spoken", json={"heard": {"text": "a"}})).status_code == 404


async def test_the_history_of_the_next_request_shows_what_was_heard(
    sonant: Sonant, http: httpx.AsyncClient, session: str
) -> None:
    path = f"/v1/dialects/hume/chat/completions?custom_session_id={session}"
    said = [{"role": "user", "content": "Say: one two three four"}]
    first = await http.post(path, json={"messages": said, "store": True})
    assert first.status_code == 200, first.text
    said += [{"role": "assistant", "content": "one two"}, {"role": "user", "content": f"Say: next {session}"}]
    await http.post(path, json={"messages": said, "store": True})
    told = asked_with(sonant, f"next {session}")
    assert [message["content"] for message in told[:2]] == ["Say: one two three four", "one two"]
    assert told[2]["content"].startswith("(You were interrupted.")
    turn = (await shown(http, session))["turns"][0]
    assert (turn["spoken"], turn["spoken_by"], turn["cut_off"]) == ("one two", "history", True)


async def test_a_false_interruption_is_taken_up_where_it_stopped(
    sonant: Sonant, ai: AsyncOpenAI, http: httpx.AsyncClient, session: str
) -> None:
    await says(ai, session, f"Say: {LONG}")
    await http.post(f"/v1/sessions/{session}/spoken", json={"heard": {"characters": 20}})
    async with http.stream("POST", f"/v1/sessions/{session}/resume") as response:
        assert response.status_code == 200
        events = await all_events(response)
    assert events[-1].done
    assert LONG[:20] + text_of(events) == LONG
    assert (await shown(http, session))["messages"] == [
        {"role": "user", "content": f"Say: {LONG}"},
        {"role": "assistant", "content": LONG},
    ]
    again = await http.post(f"/v1/sessions/{session}/resume")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "nothing_to_resume")


async def test_an_answer_whose_upstream_was_cut_goes_on_to_its_end(
    sonant: Sonant, http: httpx.AsyncClient, session: str
) -> None:
    await cut_off(sonant, http, session, f"Say: {LONG}", after=5)
    turn = (await shown(http, session))["turns"][0]
    async with http.stream("POST", f"/v1/sessions/{session}/resume") as response:
        assert response.status_code == 200
        events = await all_events(response)
    assert events[-1].done
    # The sandbox says more than it was told to, up to a hundred words.
    whole = turn["spoken"] + text_of(events)
    assert whole.startswith(LONG)
    assert whole.count(LONG) == 1
    assert (await shown(http, session))["messages"][-1] == {"role": "assistant", "content": whole}
    assert (await http.post(f"/v1/sessions/{session}/resume")).status_code == 409


async def test_responses_follow_one_another(sonant: Sonant, ai: AsyncOpenAI, session: str) -> None:
    first = await ai.responses.create(model="default", input="Say: one", instructions="Be brief.", metadata={"a": "b"})
    second = await ai.responses.create(model="default", input=f"Say: two {session}", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    assert asked_with(sonant, f"two {session}") == [
        {"role": "user", "content": "Say: one"},
        {"role": "assistant", "content": "one"},
        {"role": "user", "content": f"Say: two {session}"},
    ]
    # Another branch knows nothing of the second.
    async with ai.responses.stream(
        model="default", input=f"Say: other {session}", previous_response_id=first.id
    ) as stream:
        other = await stream.get_final_response()
    assert other.output_text == f"other {session}"
    assert [message["content"] for message in asked_with(sonant, f"other {session}")][:2] == ["Say: one", "one"]
    assert len(asked_with(sonant, f"other {session}")) == 3
    read = await ai.responses.retrieve(first.id)
    assert (read.id, read.output_text, read.instructions, read.metadata) == (first.id, "one", "Be brief.", {"a": "b"})
    assert read.status == "completed"
    await ai.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        await ai.responses.retrieve(first.id)
    with pytest.raises(openai.BadRequestError) as refused:
        await ai.responses.create(model="default", input="hi", previous_response_id=first.id)
    assert refused.value.code == "previous_response_not_found"


async def test_calls_of_functions_go_on_by_their_results_alone(sonant: Sonant, ai: AsyncOpenAI, session: str) -> None:
    weather: Any = {
        "type": "function",
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
    first = await ai.responses.create(
        model="default", input=f"What is the weather in Lisbon? {session}", tools=[weather]
    )
    (call,) = [item for item in first.output if item.type == "function_call"]
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": f"cloudless {session}"}
    second = await ai.responses.create(model="default", input=[result], tools=[weather], previous_response_id=first.id)
    assert second.output_text
    question, called, told = asked_with(sonant, f"cloudless {session}")
    assert question["role"] == "user"
    assert [each["id"] for each in called["tool_calls"]] == [call.call_id]
    assert (told["role"], told["tool_call_id"], told["content"]) == ("tool", call.call_id, f"cloudless {session}")


async def test_a_response_that_is_not_kept_cannot_be_followed(ai: AsyncOpenAI) -> None:
    first = await ai.responses.create(model="default", input="Say: one", store=False)
    assert first.model_dump()["store"] is False
    for id in (first.id, "resp_1", "resp_" + "0" * 32):
        with pytest.raises(openai.BadRequestError) as refused:
            await ai.responses.create(model="default", input="hi", previous_response_id=id)
        assert (refused.value.param, refused.value.code) == ("previous_response_id", "previous_response_not_found")
        with pytest.raises(openai.NotFoundError):
            await ai.responses.retrieve(id)


async def test_no_session_and_no_response_crosses_organisations(
    sonant: Sonant, ai: AsyncOpenAI, http: httpx.AsyncClient, session: str
) -> None:
    await says(ai, session, "Say: secret")
    response = await ai.responses.create(model="default", input="Say: secret")
    stranger = new_key(sonant)
    async with (
        client(sonant.url, stranger.headers) as other,
        AsyncOpenAI(base_url=f"{sonant.url}/v1", api_key=stranger.text, max_retries=0) as theirs,
    ):
        assert (await other.get(f"/v1/sessions/{session}")).status_code == 404
        assert (await other.post(f"/v1/sessions/{session}/resume")).status_code == 404
        heard = {"heard": {"characters": 0}}
        assert (await other.post(f"/v1/sessions/{session}/spoken", json=heard)).status_code == 404
        assert (await other.delete(f"/v1/sessions/{session}")).status_code == 200
        assert (await other.get("/v1/sessions")).json()["data"] == []
        with pytest.raises(openai.NotFoundError):
            await theirs.responses.retrieve(response.id)
        with pytest.raises(openai.NotFoundError):
            await theirs.responses.delete(response.id)
        with pytest.raises(openai.BadRequestError):
            await theirs.responses.create(model="default", input="hi", previous_response_id=response.id)
        # A session of the same name is another one.
        assert await says(theirs, session, f"Say: mine {session}") == f"mine {session}"
        assert len(asked_with(sonant, f"mine {session}")) == 1
    assert [turn["spoken"] for turn in (await shown(http, session))["turns"]] == ["secret"]


async def test_a_deleted_session_is_gone_and_stays_gone(
    sonant: Sonant, ai: AsyncOpenAI, http: httpx.AsyncClient, session: str
) -> None:
    await says(ai, session, "Say: one")
    asked = chat(f"Say: {LONG} {session}", model="slow", store=True)
    late = asyncio.create_task(http.post("/v1/chat/completions", json=asked, headers={"x-session-id": session}))
    await upstream_asked(sonant, session)
    deleted = await http.delete(f"/v1/sessions/{session}")
    assert deleted.json() == {"id": session, "object": "session.deleted", "deleted": True}
    assert (await http.get(f"/v1/sessions/{session}")).status_code == 404
    assert (await late).status_code == 200
    # What was received before ends later, and is not kept either.
    assert (await http.get(f"/v1/sessions/{session}")).status_code == 404
    assert await says(ai, session, f"Say: anew {session}") == f"anew {session}"
    assert len(asked_with(sonant, f"anew {session}")) == 1
    await eventually(lambda: _listed(sonant, http, session))
    assert [turn["spoken"] for turn in (await shown(http, session))["turns"]] == [f"anew {session}"]


async def _listed(sonant: Sonant, http: httpx.AsyncClient, session: str) -> dict[str, Any] | None:
    rows = (await http.get("/v1/sessions", params={"limit": 1000})).json()["data"]
    return next((row for row in rows if row["id"] == session), None)


async def test_sessions_are_listed_page_by_page(sonant: Sonant) -> None:
    key = new_key(sonant)
    async with client(sonant.url, key.headers) as http:
        for number in range(5):
            headers = {"x-session-id": f"s-{number}", "x-user-id": f"user {number % 2}"}
            answer = await http.post("/v1/chat/completions", json=chat("Say: x", store=True), headers=headers)
            assert answer.status_code == 200

        async def count() -> bool:
            return len((await http.get("/v1/sessions")).json()["data"]) == 5

        await eventually(count)
        found: list[str] = []
        after: dict[str, str] = {}
        while True:
            page = (await http.get("/v1/sessions", params={"limit": "2", **after})).json()
            found += [row["id"] for row in page["data"]]
            if not page["has_more"]:
                break
            after = {"after": page["next"]}
        assert found == [f"s-{number}" for number in reversed(range(5))]
        mine = (await http.get("/v1/sessions", params={"user": "user 1"})).json()["data"]
        assert [(row["id"], row["user_id"], row["turns"]) for row in mine] == [
            ("s-3", "user 1", 1),
            ("s-1", "user 1", 1),
        ]
        for wrong in ("x", "bnVsbA==", "WzEsMl0=", "[1]"):
            refused = await http.get("/v1/sessions", params={"after": wrong})
            assert refused.status_code in (200, 400), wrong


async def test_without_store_a_named_session_keeps_no_text(
    ai: AsyncOpenAI, http: httpx.AsyncClient, sonant: Sonant, session: str
) -> None:
    await says(ai, session, "Say: one", store=False)
    await eventually(lambda: _listed(sonant, http, session))
    found = await shown(http, session)
    (turn,) = found["turns"]
    assert (turn["kept"], turn["messages"], turn["answer"], turn["spoken"]) == ("metadata", [], [], None)
    assert (turn["outcome"], turn["usage"]["completion_tokens"] > 0) == ("completed", True)
    assert found["messages"] == []
    assert (await http.post(f"/v1/sessions/{session}/resume")).status_code == 404
