"""The official Python client, unmodified, gets from the gateway what it gets from OpenAI."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

import openai
import orjson
import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam, ChatCompletionToolParam

from tests.support.clients import Key, all_events, chat, client, new_key, text_of
from tests.support.sonant import Sonant
from tests.support.waiting import eventually

WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


# With two upstreams text is held back to the end of its sentence.
ONE_AND_TWO = pytest.mark.parametrize("twice", ["", "-twice"], ids=["one upstream", "two"])
# Of the sandbox, in the order in which it says them.
THOUGHTS = "Thought 1 of 3. Thought 2 of 3. Thought 3 of 3. "
ALOUD = "Let me look that up. One moment"


def said(text: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


def kinds(chunks: list[ChatCompletionChunk]) -> list[str]:
    """What a stream says, in order: each kind of delta once, as often as it follows another one."""
    told: list[str] = []
    for chunk in chunks:
        delta = chunk.choices[0].delta.model_dump(exclude_unset=True)
        told += [kind for kind, value in delta.items() if value and kind not in ("role", told[-1] if told else "")]
    return told


async def listen(stream: openai.AsyncStream[ChatCompletionChunk], heard: list[str]) -> None:
    async for chunk in stream:
        heard.append(chunk.choices[0].delta.content or "")


@pytest.fixture(scope="module")
def key(sonant: Sonant) -> Key:
    return new_key(sonant)


@pytest.fixture
async def ai(sonant: Sonant, key: Key) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{sonant.url}/v1", api_key=key.text, max_retries=0) as opened:
        yield opened


async def test_a_whole_answer(ai: AsyncOpenAI) -> None:
    answer = await ai.chat.completions.create(model="default", messages=said("Say: all of it at once"))
    assert answer.id.startswith("chatcmpl-")
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.content == "all of it at once"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.system_fingerprint is None
    assert answer.usage
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
    assert answer._request_id


async def test_every_chunk_carries_what_clients_rely_on(ai: AsyncOpenAI) -> None:
    stream = await ai.chat.completions.create(model="default", messages=said("Say: piece by piece"), stream=True)
    chunks = [chunk async for chunk in stream]
    assert len({chunk.id for chunk in chunks}) == len({chunk.model for chunk in chunks}) == 1
    assert all(chunk.object == "chat.completion.chunk" and chunk.created > 0 for chunk in chunks)
    assert all(chunk.usage is None and "usage" not in chunk.model_fields_set for chunk in chunks)
    assert all(chunk.system_fingerprint is None for chunk in chunks)
    assert chunks[0].choices[0].delta.role == "assistant"
    reasons = [chunk.choices[0].finish_reason for chunk in chunks]
    assert reasons == [None] * (len(chunks) - 1) + ["stop"]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "piece by piece"


async def test_the_stream_helper_tells_events_and_the_final_completion(ai: AsyncOpenAI) -> None:
    async with ai.chat.completions.stream(model="default", messages=said("Say: with a helper")) as stream:
        told = [event async for event in stream]
        final = await stream.get_final_completion()
    assert "".join(event.delta for event in told if event.type == "content.delta") == "with a helper"
    assert [event.content for event in told if event.type == "content.done"] == ["with a helper"]
    assert final.choices[0].message.content == "with a helper"
    assert final.choices[0].finish_reason == "stop"


async def test_usage_is_told_only_when_asked_for_and_then_last(ai: AsyncOpenAI) -> None:
    stream = await ai.chat.completions.create(
        model="default", messages=said("Say: count me"), stream=True, stream_options={"include_usage": True}
    )
    *ordinary, last = [chunk async for chunk in stream]
    assert all("usage" in chunk.model_fields_set and chunk.usage is None for chunk in ordinary)
    assert last.choices == []
    assert last.usage
    assert last.usage.completion_tokens > 0
    assert ordinary[-1].choices[0].finish_reason == "stop"


async def test_the_usage_of_a_stream_is_that_of_the_whole_answer(ai: AsyncOpenAI) -> None:
    whole = await ai.chat.completions.create(model="default", messages=said("Say: the same price"))
    async with ai.chat.completions.stream(
        model="default", messages=said("Say: the same price"), stream_options={"include_usage": True}
    ) as stream:
        streamed = await stream.get_final_completion()
    assert whole.usage
    assert streamed.usage
    assert streamed.usage.total_tokens == whole.usage.total_tokens


async def test_a_tool_is_called_in_deltas_and_its_result_is_put_into_words(ai: AsyncOpenAI) -> None:
    messages = said("What is the weather in Lisbon?")
    stream = await ai.chat.completions.create(model="default", messages=messages, tools=[WEATHER], stream=True)
    deltas, reasons = [], []
    async for chunk in stream:
        deltas += chunk.choices[0].delta.tool_calls or []
        reasons.append(chunk.choices[0].finish_reason)
    assert reasons[-1] == "tool_calls"
    assert len(deltas) > 2
    assert [bool(delta.id) for delta in deltas] == [True] + [False] * (len(deltas) - 1)
    arguments = "".join((delta.function and delta.function.arguments) or "" for delta in deltas)
    assert orjson.loads(arguments) == {"city": "Lisbon"}
    opening = deltas[0]
    assert opening.id
    assert opening.function
    assert opening.function.name == "get_weather"
    call: Any = {"id": opening.id, "type": "function", "function": {"name": "get_weather", "arguments": arguments}}
    messages += [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": opening.id, "content": '{"sky": "cloudless"}'},
    ]
    answer = await ai.chat.completions.create(model="default", messages=messages, tools=[WEATHER])
    assert "cloudless" in (answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason == "stop"


async def test_the_stream_helper_assembles_tool_calls(ai: AsyncOpenAI) -> None:
    async with ai.chat.completions.stream(
        model="default", messages=said("How is the weather in Porto?"), tools=[WEATHER]
    ) as stream:
        final = await stream.get_final_completion()
    (call,) = final.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert orjson.loads(call.function.arguments) == {"city": "Porto"}
    assert final.choices[0].finish_reason == "tool_calls"


async def test_a_tool_call_without_streaming(ai: AsyncOpenAI) -> None:
    answer = await ai.chat.completions.create(
        model="default", messages=said("Hello"), tools=[WEATHER], tool_choice="required"
    )
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert answer.choices[0].message.content is None


@ONE_AND_TWO
async def test_reasoning_text_and_tool_calls_come_in_order(ai: AsyncOpenAI, twice: str) -> None:
    stream = await ai.chat.completions.create(
        model=f"thinking{twice}", messages=said("What is the weather in Lisbon?"), tools=[WEATHER], stream=True
    )
    chunks = [chunk async for chunk in stream]
    assert kinds(chunks) == ["reasoning_content", "content", "tool_calls"]
    assert len({chunk.id for chunk in chunks}) == 1
    deltas: list[Any] = [chunk.choices[0].delta for chunk in chunks]
    assert "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas) == THOUGHTS
    assert "".join(delta.content or "" for delta in deltas) == ALOUD
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["tool_calls"]


@ONE_AND_TWO
@pytest.mark.parametrize("streaming", [False, True])
async def test_reasoning_and_tool_calls_are_put_together(ai: AsyncOpenAI, twice: str, streaming: bool) -> None:
    asked: Any = {
        "model": f"thinking{twice}",
        "messages": said("What is the weather in Lisbon?"),
        "tools": [WEATHER],
    }
    if streaming:
        async with ai.chat.completions.stream(**asked) as stream:
            choice: Any = (await stream.get_final_completion()).choices[0]
    else:
        choice = (await ai.chat.completions.create(**asked)).choices[0]
    assert (choice.message.reasoning_content, choice.message.content) == (THOUGHTS, ALOUD)
    (call,) = choice.message.tool_calls
    assert (call.type, call.function.name) == ("function", "get_weather")
    assert call.id.startswith("call_")
    assert orjson.loads(call.function.arguments) == {"city": "Lisbon"}
    assert choice.finish_reason == "tool_calls"


@ONE_AND_TWO
async def test_logprobs_travel_with_their_text(ai: AsyncOpenAI, twice: str) -> None:
    model, text = "twice" if twice else "default", "One is here. Two is, and no more"
    stream = await ai.chat.completions.create(
        model=model, messages=said(f"Say: {text}"), logprobs=True, top_logprobs=0, stream=True
    )
    heard = [choice async for chunk in stream for choice in chunk.choices if choice.delta.content]
    assert "".join(choice.delta.content or "" for choice in heard) == text
    for choice in heard:
        assert choice.logprobs
        assert "".join(each.token for each in choice.logprobs.content or []) == choice.delta.content
    async with ai.chat.completions.stream(model=model, messages=said(f"Say: {text}"), logprobs=True) as helper:
        joined = (await helper.get_final_completion()).choices[0]
    whole = (await ai.chat.completions.create(model=model, messages=said(f"Say: {text}"), logprobs=True)).choices[0]
    for told in (joined, whole):
        assert told.logprobs
        assert "".join(each.token for each in told.logprobs.content or []) == text


@ONE_AND_TWO
@pytest.mark.parametrize("streaming", [False, True])
async def test_a_refusal_of_the_models_own_is_told_as_one(ai: AsyncOpenAI, twice: str, streaming: bool) -> None:
    asked: Any = {"model": f"declining{twice}", "messages": said("Say: I will not. Ask me another"), "logprobs": True}
    if streaming:
        chunks = [chunk async for chunk in await ai.chat.completions.create(**asked, stream=True)]
        assert kinds(chunks) == ["reasoning_content", "refusal"]
        async with ai.chat.completions.stream(**asked) as stream:
            choice = (await stream.get_final_completion()).choices[0]
    else:
        choice = (await ai.chat.completions.create(**asked)).choices[0]
    assert choice.message.refusal == "I will not. Ask me another"
    assert not choice.message.content
    assert choice.finish_reason == "stop"
    assert choice.logprobs
    assert "".join(each.token for each in choice.logprobs.refusal or []) == choice.message.refusal


@pytest.mark.parametrize("streaming", [False, True])
async def test_several_choices(ai: AsyncOpenAI, streaming: bool) -> None:
    if streaming:
        async with ai.chat.completions.stream(model="default", messages=said("Say: twice"), n=2) as stream:
            choices: Any = (await stream.get_final_completion()).choices
    else:
        choices = (await ai.chat.completions.create(model="default", messages=said("Say: twice"), n=2)).choices
    assert [(choice.index, choice.message.content) for choice in choices] == [(0, "twice"), (1, "twice")]
    assert [choice.finish_reason for choice in choices] == ["stop", "stop"]


async def test_stop_sequences_and_token_limits_reach_the_model(ai: AsyncOpenAI) -> None:
    stopped = await ai.chat.completions.create(model="default", messages=said("Say: to here, no more"), stop=[","])
    assert stopped.choices[0].message.content == "to here"
    short = await ai.chat.completions.create(model="default", messages=said("Say: a b c d e f g"), max_tokens=3)
    assert short.choices[0].finish_reason == "length"
    with pytest.raises(openai.LengthFinishReasonError):
        async with ai.chat.completions.stream(
            model="default", messages=said("Say: a b c d e f g"), max_completion_tokens=3
        ) as stream:
            await stream.get_final_completion()


async def test_unicode_survives(ai: AsyncOpenAI) -> None:
    text = 'Say: grüße 🌍 — 你好 "quoted" \\ and\ttabs'
    stream = await ai.chat.completions.create(model="default", messages=said(text), stream=True)
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text.removeprefix("Say: ")


async def test_models_are_listed_and_described(ai: AsyncOpenAI) -> None:
    names = [model.id async for model in ai.models.list()]
    assert {"default", "slow"} <= set(names)
    model = await ai.models.retrieve("default")
    assert (model.id, model.object) == ("default", "model")
    with pytest.raises(openai.NotFoundError) as caught:
        await ai.models.retrieve("nonesuch")
    assert caught.value.code == "model_not_found"


async def test_refusals_are_the_exceptions_of_the_client(ai: AsyncOpenAI) -> None:
    with pytest.raises(openai.AuthenticationError) as unknown:
        await ai.with_options(api_key="sk-sonant-nobody").chat.completions.create(model="default", messages=said("hi"))
    assert unknown.value.code == "invalid_api_key"
    with pytest.raises(openai.NotFoundError) as missing:
        await ai.chat.completions.create(model="nonesuch", messages=said("hi"))
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as wrong:
        await ai.chat.completions.create(model="default", messages=said("hi"), temperature=9)
    assert (wrong.value.param, wrong.value.type) == ("temperature", "invalid_request_error")
    assert wrong.value.request_id


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_content_filter_refusal_is_passed_on(ai: AsyncOpenAI, streaming: bool) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await ai.chat.completions.create(model="refusing", messages=said("hi"), stream=streaming)
    assert refused.value.code == "content_filter"
    assert "safety system" in refused.value.message


@pytest.mark.parametrize("streaming", [False, True])
async def test_an_answer_that_the_filter_ended_says_so(ai: AsyncOpenAI, streaming: bool) -> None:
    messages = said("Say: one two three four five six")
    if streaming:
        stream = await ai.chat.completions.create(model="filtering", messages=messages, stream=True)
        reason = [chunk async for chunk in stream][-1].choices[0].finish_reason
    else:
        reason = (await ai.chat.completions.create(model="filtering", messages=messages)).choices[0].finish_reason
    assert reason == "content_filter"


async def test_upstream_failures_are_server_errors(ai: AsyncOpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as failed:
        await ai.chat.completions.create(model="failing", messages=said("hi"))
    assert failed.value.status_code in (502, 503)
    assert failed.value.type == "server_error"


@pytest.mark.parametrize("model", ["breaking", "erring"])
async def test_a_break_in_the_middle_raises_and_is_never_done(
    sonant: Sonant, key: Key, ai: AsyncOpenAI, model: str
) -> None:
    text = "Say: a b c d e f g h"
    stream = await ai.chat.completions.create(model=model, messages=said(text), stream=True)
    heard: list[str] = []
    with pytest.raises(openai.APIError) as broken:
        await listen(stream, heard)
    assert broken.value.code
    assert broken.value.type == "server_error"
    assert text.removeprefix("Say: ").startswith("".join(heard))
    async with (
        client(sonant.url, key.headers) as http,
        http.stream("POST", "/v1/chat/completions", json=chat(text, model, stream=True)) as response,
    ):
        received = await all_events(response)
    assert response.status_code == 200
    assert set(received[-1].json["error"]) == {"message", "type", "param", "code"}
    assert not any(event.done for event in received)
    assert text_of(received) == "".join(heard)


async def test_the_request_id_of_the_caller_comes_back(ai: AsyncOpenAI) -> None:
    raw = await ai.chat.completions.with_raw_response.create(
        model="default", messages=said("hi"), extra_headers={"x-request-id": "my-trace-1"}
    )
    assert raw.request_id == "my-trace-1"
    assert raw.parse()._request_id == "my-trace-1"


async def test_a_failed_request_is_found_in_every_log_by_its_ids(sonant: Sonant, ai: AsyncOpenAI) -> None:
    request_id, trace_id = f"failed-{uuid.uuid4().hex}", uuid.uuid4().hex
    sent = {"x-request-id": request_id, "traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
    with pytest.raises(openai.APIStatusError) as failed:
        await ai.chat.completions.create(model="failing", messages=said("hi"), extra_headers=sent)

    def logged(service: str) -> list[dict[str, Any]]:
        lines = sonant.log(service).splitlines()
        return [orjson.loads(line) for line in lines if trace_id in line]

    await eventually(lambda: logged("gateway"))
    (answered,) = logged("gateway")
    assert (answered["request_id"], answered["trace_id"], answered["level"]) == (request_id, trace_id, "warning")
    assert answered["completion_id"] == failed.value.response.headers["x-sonant-completion-id"]
    told = {"attempt failed", "event handled"}
    await eventually(lambda: {line["event"] for line in logged("llm-stream")} == told)


async def test_the_headers_tell_what_is_left_of_the_limits(sonant: Sonant) -> None:
    limited = new_key(sonant, limits={"requests_per_minute": 100, "tokens_per_minute": 10_000})
    async with AsyncOpenAI(base_url=f"{sonant.url}/v1", api_key=limited.text) as ai:
        raw = await ai.chat.completions.with_raw_response.create(model="default", messages=said("hi"))
        stream = await ai.chat.completions.with_raw_response.create(model="default", messages=said("hi"), stream=True)
        [chunk async for chunk in stream.parse()]
    for headers in (raw.headers, stream.headers):
        assert headers["x-ratelimit-limit-requests"] == "100"
        assert int(headers["x-ratelimit-remaining-requests"]) < 100
        assert headers["x-ratelimit-limit-tokens"] == "10000"
        assert int(headers["x-ratelimit-remaining-tokens"]) < 10_000
        assert headers["x-ratelimit-reset-requests"].endswith("s")


async def test_unknown_fields_are_passed_through(ai: AsyncOpenAI) -> None:
    answer = await ai.chat.completions.create(
        model="default", messages=said("Say: fine"), seed=3, user="someone", extra_body={"of_tomorrow": {"a": 1}}
    )
    assert answer.choices[0].message.content == "fine"
