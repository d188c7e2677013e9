"""Answers, tool calls, embeddings and models are as the provider gives them."""

import base64
import json
import struct
from typing import Any

import aiohttp
import openai
import pytest
from openai import AsyncOpenAI

from tests.support.openai_sandbox import ASK_WEATHER, HELLO, WEATHER, chunks_of, joined, raw, text_of


class TestAnswers:
    async def test_stream_and_whole_say_the_same(self, client: AsyncOpenAI) -> None:
        chunks = await chunks_of(client)
        assert joined(chunks) == await text_of(client)
        assert chunks[0].choices[0].delta.role == "assistant"
        assert chunks[-1].choices[0].finish_reason == "stop"
        assert {chunk.system_fingerprint for chunk in chunks} == {"fp_sandbox"}
        assert len({chunk.id for chunk in chunks}) == 1

    async def test_the_stream_helper_accumulates(self, client: AsyncOpenAI) -> None:
        async with client.chat.completions.stream(model="sandbox", messages=HELLO) as stream:
            final = await stream.get_final_completion()
        assert final.choices[0].message.content == await text_of(client)

    async def test_events_are_framed_as_the_provider_frames_them(self, http: aiohttp.ClientSession) -> None:
        events = (await raw(http, "sandbox")).split(b"\n\n")
        assert events[-2:] == [b"data: [DONE]", b""]
        first = json.loads(events[0].removeprefix(b"data: "))
        assert first["object"] == "chat.completion.chunk"
        assert "usage" not in first
        assert first["choices"][0]["finish_reason"] is None

    async def test_answers_carry_the_provider_headers(self, client: AsyncOpenAI) -> None:
        answer = await client.chat.completions.with_raw_response.create(model="sandbox", messages=HELLO)
        assert answer.request_id is not None
        assert answer.request_id.startswith("req_")
        assert int(answer.headers["openai-processing-ms"]) >= 0

    async def test_the_same_question_gets_the_same_answer(self, client: AsyncOpenAI) -> None:
        assert await text_of(client, seed=5) == await text_of(client, seed=5)

    async def test_usage_comes_last_and_only_when_asked(self, client: AsyncOpenAI) -> None:
        chunks = await chunks_of(client, stream_options={"include_usage": True})
        assert chunks[-1].choices == []
        assert chunks[-1].usage.total_tokens == chunks[-1].usage.prompt_tokens + chunks[-1].usage.completion_tokens
        assert all("usage" in chunk.model_fields_set and chunk.usage is None for chunk in chunks[:-1])
        whole = await client.chat.completions.create(model="sandbox", messages=HELLO)
        assert whole.usage is not None
        assert whole.usage.completion_tokens == chunks[-1].usage.completion_tokens

    async def test_several_choices(self, client: AsyncOpenAI) -> None:
        chunks = await chunks_of(client, n=3)
        assert [c.choices[0].index for c in chunks if c.choices[0].finish_reason] == [0, 1, 2]
        whole = await client.chat.completions.create(model="sandbox", messages=HELLO, n=3)
        assert [choice.index for choice in whole.choices] == [0, 1, 2]

    @pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
    async def test_a_token_limit_ends_with_length(self, client: AsyncOpenAI, limit: str) -> None:
        chunks = await chunks_of(client, "sandbox", **{limit: 3})
        assert chunks[-1].choices[0].finish_reason == "length"
        assert (await text_of(client)).startswith(joined(chunks))

    async def test_a_stop_sequence_ends_the_text_before_it(self, client: AsyncOpenAI) -> None:
        counting: Any = [{"role": "user", "content": "Count to 9"}]
        assert await text_of(client, messages=counting, stop=["4"]) == "1, 2, 3, "

    async def test_json_mode_gives_json(self, client: AsyncOpenAI) -> None:
        asked: Any = [{"role": "user", "content": "Say hello in JSON"}]
        text = await text_of(client, messages=asked, response_format={"type": "json_object"})
        assert isinstance(json.loads(text), dict)

    async def test_a_json_schema_is_filled(self, client: AsyncOpenAI) -> None:
        schema = WEATHER[0]["function"]["parameters"]
        wanted = {"type": "json_schema", "json_schema": {"name": "place", "schema": schema}}
        text = await text_of(client, messages=ASK_WEATHER, response_format=wanted)
        assert json.loads(text) == {"city": "Paris", "days": 3}

    async def test_a_broken_stream_continues_where_it_stopped(self, client: AsyncOpenAI) -> None:
        whole = await text_of(client)
        begun: Any = [*HELLO, {"role": "assistant", "content": whole[:23]}]
        note: Any = {"role": "system", "content": "Continue exactly where the text stops."}
        assert whole[:23] + await text_of(client, messages=begun) == whole
        assert whole[:23] + joined(await chunks_of(client, "sandbox-b", messages=[*begun, note])) == whole


class TestTools:
    async def test_deltas_name_the_call_once_and_cut_its_arguments(self, client: AsyncOpenAI) -> None:
        chunks = await chunks_of(client, messages=ASK_WEATHER, tools=WEATHER)
        deltas = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
        assert [bool(delta.id) for delta in deltas] == [True] + [False] * (len(deltas) - 1)
        assert deltas[0].function.name == "get_weather"
        assert chunks[0].choices[0].delta.role == "assistant"
        arguments = "".join(delta.function.arguments for delta in deltas)
        assert json.loads(arguments) == {"city": "Paris", "days": 3}
        assert len(deltas) > 5
        assert chunks[-1].choices[0].finish_reason == "tool_calls"

    async def test_the_stream_helper_builds_the_call(self, client: AsyncOpenAI) -> None:
        async with client.chat.completions.stream(model="sandbox", messages=ASK_WEATHER, tools=WEATHER) as stream:
            final = await stream.get_final_completion()
        calls = final.choices[0].message.tool_calls
        assert calls is not None
        assert calls[0].function.name == "get_weather"

    async def test_a_forced_tool_is_called_and_its_result_used(self, client: AsyncOpenAI) -> None:
        forced: Any = {"type": "function", "function": {"name": "get_weather"}}
        first = await client.chat.completions.create(model="sandbox", messages=HELLO, tools=WEATHER, tool_choice=forced)
        message = first.choices[0].message
        assert message.tool_calls is not None
        result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": '{"sky": "cloudy"}'}
        turns: Any = [*HELLO, message.model_dump(exclude_none=True), result]
        assert "cloudy" in await text_of(client, messages=turns, tools=WEATHER)


class TestOtherEndpoints:
    async def test_embeddings_are_stable_unit_vectors(self, client: AsyncOpenAI) -> None:
        first = await client.embeddings.create(model="text-embedding-3-small", input=["one", "two"], dimensions=64)
        again = await client.embeddings.create(
            model="text-embedding-3-small", input="one", dimensions=64, encoding_format="float"
        )
        assert [len(each.embedding) for each in first.data] == [64, 64]
        assert first.data[0].embedding == pytest.approx(again.data[0].embedding, abs=1e-6)
        assert sum(x * x for x in first.data[1].embedding) == pytest.approx(1.0, abs=1e-5)

    async def test_base64_holds_little_endian_floats(self, http: aiohttp.ClientSession) -> None:
        body = {"model": "text-embedding-3-large", "input": "x", "encoding_format": "base64"}
        async with http.post("/v1/embeddings", json=body) as response:
            encoded = (await response.json())["data"][0]["embedding"]
        assert len(struct.unpack("<3072f", base64.b64decode(encoded))) == 3072

    async def test_models_are_listed_and_found(self, client: AsyncOpenAI) -> None:
        names = [model.id async for model in client.models.list()]
        assert "sandbox" in names
        assert (await client.models.retrieve("sandbox")).id == "sandbox"
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("nowhere")
