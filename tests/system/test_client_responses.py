"""The official Python client, unmodified, uses `/v1/responses` as it uses OpenAI's."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import orjson
import pytest
from openai import AsyncOpenAI
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel

from tests.support.clients import Key, calls, client, new_key, upstream_asked, upstream_end
from tests.support.sonant import Sonant

WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": True,
}
STOP = {"type": "user_interruption", "time": {"timestamp": 1_700_000_000_000}}
# In the order of a response that is one text.
ONE_TEXT = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]


class Drawn(BaseModel):
    """What the sandbox drafts in JSON mode."""

    name: str


@pytest.fixture(scope="module")
def key(sonant: Sonant) -> Key:
    return new_key(sonant)


@pytest.fixture
async def ai(sonant: Sonant, key: Key) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{sonant.url}/v1", api_key=key.text, max_retries=0) as opened:
        yield opened


@pytest.fixture
async def http(sonant: Sonant, key: Key) -> AsyncIterator[httpx.AsyncClient]:
    async with client(sonant.url, key.headers) as opened:
        yield opened


def once_each(events: list[ResponseStreamEvent]) -> list[str]:
    """The types of events, each once where it follows itself."""
    kinds = [event.type for event in events]
    return [kind for at, kind in enumerate(kinds) if at == 0 or kinds[at - 1] != kind]


async def raw(response: httpx.Response, count: int | None = None) -> list[dict[str, Any]]:
    """Events as they are sent, `count` of them or all; each has its name, its id and its data."""
    told: list[dict[str, Any]] = []
    event: dict[str, Any] = {}
    async for line in response.aiter_lines():
        name, _, value = line.partition(": ")
        if line and not line.startswith(":"):
            event[name] = orjson.loads(value) if name == "data" else value
        elif event:
            told.append(event)
            event = {}
            if len(told) == count:
                break
    return told


async def test_a_response_in_one_piece(ai: AsyncOpenAI) -> None:
    response = await ai.responses.create(
        model="default", input="Say: all of it at once", instructions="Be brief.", metadata={"call": "7"}, user="u"
    )
    assert response.id.startswith("resp_")
    assert response.output_text == "all of it at once"
    assert (response.status, response.instructions, response.metadata) == ("completed", "Be brief.", {"call": "7"})
    assert response.usage
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens > 0
    Response.model_validate(response.to_dict())


async def test_a_stream_has_openais_events_in_their_order(ai: AsyncOpenAI) -> None:
    stream = await ai.responses.create(model="default", input="Say: piece by piece", stream=True)
    events = [event async for event in stream]
    assert once_each(events) == ONE_TEXT
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == "piece by piece"
    completed = events[-1]
    assert completed.type == "response.completed"
    assert completed.response.output_text == "piece by piece"
    assert completed.response.usage
    assert completed.response.usage.output_tokens > 0


async def test_the_stream_helper_puts_a_response_together(ai: AsyncOpenAI) -> None:
    async with ai.responses.stream(model="default", input="Say: with a helper") as stream:
        told = [event async for event in stream]
        final = await stream.get_final_response()
    assert final.output_text == "with a helper"
    assert [event.text for event in told if event.type == "response.output_text.done"] == ["with a helper"]


@pytest.mark.parametrize("streaming", [True, False], ids=["stream", "whole"])
async def test_a_function_is_called_and_its_output_put_into_words(ai: AsyncOpenAI, streaming: bool) -> None:
    asked: list[Any] = [{"role": "user", "content": "What is the weather in Lisbon?"}]
    if streaming:
        async with ai.responses.stream(model="default", input=asked, tools=[WEATHER]) as stream:
            response: Response = await stream.get_final_response()
    else:
        response = await ai.responses.create(model="default", input=asked, tools=[WEATHER])
    (call,) = [item for item in response.output if item.type == "function_call"]
    assert (call.name, orjson.loads(call.arguments), call.status) == ("get_weather", {"city": "Lisbon"}, "completed")
    asked += [item.to_dict() for item in response.output]
    asked.append({"type": "function_call_output", "call_id": call.call_id, "output": '{"sky": "cloudless"}'})
    answer = await ai.responses.create(model="default", input=asked, tools=[WEATHER])
    assert "cloudless" in answer.output_text


async def test_what_a_platform_server_says_beside_the_text_has_items_of_its_own(ai: AsyncOpenAI) -> None:
    async with ai.responses.stream(model="thinking", input="Weather in Porto?", tools=[WEATHER]) as stream:
        final = await stream.get_final_response()
    assert [item.type for item in final.output] == ["reasoning", "message", "function_call"]


async def test_a_refusal_is_a_part_of_the_message(ai: AsyncOpenAI) -> None:
    response = await ai.responses.create(model="declining", input="hello")
    parts = [part.type for item in response.output if item.type == "message" for part in item.content]
    assert parts == ["refusal"]


async def test_the_model_gets_chat_messages(ai: AsyncOpenAI, sonant: Sonant) -> None:
    marker = f"marker {uuid.uuid4().hex}"
    await ai.responses.create(
        model="default",
        instructions="Be brief.",
        input=[{"role": "user", "content": [{"type": "input_text", "text": marker}]}],
        max_output_tokens=64,
        reasoning={"effort": "low"},
        include=["reasoning.encrypted_content"],
        store=False,
        metadata={"a": "b"},
    )
    (call,) = calls(sonant, marker)
    assert call["body"]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": marker},
    ]
    assert (call["body"]["max_completion_tokens"], call["body"]["reasoning_effort"]) == (64, "low")
    assert not {"input", "instructions", "include", "store", "metadata", "reasoning"} & call["body"].keys()


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"metadata": {"a": "b" * 513}}, "metadata"),
        ({"input": []}, "input"),
    ],
)
async def test_what_is_not_served_is_a_bad_request_that_says_so(
    ai: AsyncOpenAI, asked: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await ai.responses.create(**{"model": "default", "input": "hi", **asked})
    assert str(refused.value.param).startswith(param)


async def test_an_unknown_model_and_a_failing_one_are_openais_errors(ai: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        await ai.responses.create(model="nobody", input="hi")
    with pytest.raises(openai.InternalServerError):
        await ai.responses.create(model="failing", input="hi", stream=True)


async def test_a_failure_in_the_middle_is_told_as_an_event_and_raised(ai: AsyncOpenAI) -> None:
    stream = await ai.responses.create(model="erring", input="Say: this will not be said to its end", stream=True)
    heard: list[Any] = []

    async def listen() -> None:
        async for event in stream:
            heard.append(event)

    with pytest.raises(openai.APIError):
        await listen()
    failed = heard[-1]
    assert failed.type == "response.failed"
    assert failed.response.error.message
    assert failed.response.output


async def test_a_dropped_stream_is_resumed_behind_the_last_event(http: httpx.AsyncClient) -> None:
    asked = {"model": "steady", "input": "Say: " + "on and on " * 20, "stream": True}
    async with http.stream("POST", "/v1/responses", json=asked, headers={"x-sonant-resume-grace": "10"}) as response:
        began = await raw(response, 12)
    assert [event["event"] for event in began] == [event["data"]["type"] for event in began]
    path = f"/v1/responses/{began[0]['data']['response']['id']}"
    last = began[-1]["data"]["sequence_number"]
    async with http.stream("GET", path, params={"stream": "true", "starting_after": last}) as response:
        assert response.status_code == 200, await response.aread()
        rest = await raw(response)
    numbers = [event["data"]["sequence_number"] for event in began + rest]
    assert numbers == list(range(len(numbers)))
    assert rest[-1]["event"] == "response.completed"
    deltas = [event["data"]["delta"] for event in began + rest if event["event"] == "response.output_text.delta"]
    assert "".join(deltas) == rest[-1]["data"]["response"]["output"][0]["content"][0]["text"]
    by_id = await http.get(path, params={"stream": "true"}, headers={"Last-Event-ID": rest[-2]["id"]})
    assert by_id.text.startswith("event: response.completed\n")
    # Without a stream it is read in one piece.
    read = (await http.get(path)).json()
    assert read["output"][0]["content"] == rest[-1]["data"]["response"]["output"][0]["content"]


async def test_an_interruption_stops_a_response_with_a_receipt(http: httpx.AsyncClient, sonant: Sonant) -> None:
    session, text = f"s-{uuid.uuid4().hex}", f"to be stopped {uuid.uuid4().hex}"
    asked = {"model": "slow", "input": text, "stream": True}
    async with http.stream("POST", "/v1/responses", json=asked, headers={"x-session-id": session}) as response:
        listening = asyncio.create_task(raw(response))
        await upstream_asked(sonant, text)
        stopped = await http.post(f"/v1/sessions/{session}/interrupt", json=STOP)
        heard = await listening
    assert stopped.status_code == 200, stopped.text
    (receipt,) = stopped.json()["receipts"]
    assert receipt["reason"] == "user_interruption"
    deltas = [event for event in heard if event["event"] == "response.output_text.delta"]
    assert receipt["delivered_tokens"] == len(deltas)
    assert not heard or heard[-1]["event"] != "response.completed"
    assert await upstream_end(sonant, text) == "client_closed"


async def test_a_repetition_with_the_same_idempotency_key_gets_the_same_response(http: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    asked = {"model": "default", "input": "Say: once", "metadata": {"a": "b"}}
    first = await http.post("/v1/responses", json=asked, headers=headers)
    again = await http.post("/v1/responses", json=asked, headers=headers)
    assert first.json() == again.json()
    assert again.headers["idempotency-replayed"] == "true"
    other = await http.post("/v1/responses", json={**asked, "metadata": {"a": "c"}}, headers=headers)
    assert other.status_code == 422


async def test_limits_of_a_key_hold(sonant: Sonant) -> None:
    limited = new_key(sonant, limits={"requests_per_minute": 1})
    async with client(sonant.url, limited.headers) as http:
        first = await http.post("/v1/responses", json={"input": "hi"})
        second = await http.post("/v1/responses", json={"input": "hi"})
    assert (first.status_code, second.status_code) == (200, 429), second.text
