"""The OpenAI stand-in keeps the provider's contract, as seen by the official client."""

import asyncio
import base64
import json
import os
import signal
import struct
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import pytest
from openai import AsyncOpenAI

from sandbox.app import serve
from tests.support.waiting import eventually

HELLO: Any = [{"role": "user", "content": "Tell me about the history of the bicycle"}]
WEATHER: Any = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Current weather for a city",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
                "required": ["city"],
            },
        },
    }
]
ASK_WEATHER: Any = [{"role": "user", "content": "What's the weather in Paris for 3 days?"}]


@pytest.fixture(scope="module")
async def url() -> AsyncIterator[str]:
    async with serve() as address:
        yield address


@pytest.fixture(scope="module")
async def client(url: str) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="sk-any", max_retries=0, timeout=10) as opened:
        yield opened


@pytest.fixture(scope="module")
async def http(url: str) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"authorization": "Bearer sk-any"}
    async with aiohttp.ClientSession(url, headers=headers) as session:
        yield session


async def _chunks(client: AsyncOpenAI, model: str = "sandbox", **options: Any) -> list[Any]:
    messages = options.pop("messages", HELLO)
    stream = await client.chat.completions.create(model=model, messages=messages, stream=True, **options)
    return [chunk async for chunk in stream]


async def _text(client: AsyncOpenAI, model: str = "sandbox", **options: Any) -> str:
    messages = options.pop("messages", HELLO)
    answer = await client.chat.completions.create(model=model, messages=messages, **options)
    return str(answer.choices[0].message.content)


def _joined(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


async def _raw(http: aiohttp.ClientSession, model: str, **fields: Any) -> bytes:
    body = {"model": model, "messages": HELLO, "stream": True, **fields}
    async with http.post("/v1/chat/completions", json=body) as response:
        return await response.read()


async def _records(http: aiohttp.ClientSession, model: str) -> list[dict[str, Any]]:
    async with http.get("/sandbox/requests", params={"model": model, "limit": "5"}) as response:
        records: list[dict[str, Any]] = await response.json()
        return records


async def _until(stream: Any, count: int) -> list[Any]:
    """Read until `count` chunks with text have come."""
    got: list[Any] = []
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            got.append(chunk)
        if len(got) == count:
            break
    return got


class TestAnswers:
    async def test_stream_and_whole_say_the_same(self, client: AsyncOpenAI) -> None:
        chunks = await _chunks(client)
        assert _joined(chunks) == await _text(client)
        assert chunks[0].choices[0].delta.role == "assistant"
        assert chunks[-1].choices[0].finish_reason == "stop"
        assert {chunk.system_fingerprint for chunk in chunks} == {"fp_sandbox"}
        assert len({chunk.id for chunk in chunks}) == 1

    async def test_the_stream_helper_accumulates(self, client: AsyncOpenAI) -> None:
        async with client.chat.completions.stream(model="sandbox", messages=HELLO) as stream:
            final = await stream.get_final_completion()
        assert final.choices[0].message.content == await _text(client)

    async def test_events_are_framed_as_the_provider_frames_them(self, http: aiohttp.ClientSession) -> None:
        events = (await _raw(http, "sandbox")).split(b"\n\n")
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
        assert await _text(client, seed=5) == await _text(client, seed=5)

    async def test_usage_comes_last_and_only_when_asked(self, client: AsyncOpenAI) -> None:
        chunks = await _chunks(client, stream_options={"include_usage": True})
        assert chunks[-1].choices == []
        assert chunks[-1].usage.total_tokens == chunks[-1].usage.prompt_tokens + chunks[-1].usage.completion_tokens
        assert all("usage" in chunk.model_fields_set and chunk.usage is None for chunk in chunks[:-1])
        whole = await client.chat.completions.create(model="sandbox", messages=HELLO)
        assert whole.usage is not None
        assert whole.usage.completion_tokens == chunks[-1].usage.completion_tokens

    async def test_several_choices(self, client: AsyncOpenAI) -> None:
        chunks = await _chunks(client, n=3)
        assert [c.choices[0].index for c in chunks if c.choices[0].finish_reason] == [0, 1, 2]
        whole = await client.chat.completions.create(model="sandbox", messages=HELLO, n=3)
        assert [choice.index for choice in whole.choices] == [0, 1, 2]

    @pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
    async def test_a_token_limit_ends_with_length(self, client: AsyncOpenAI, limit: str) -> None:
        chunks = await _chunks(client, "sandbox", **{limit: 3})
        assert chunks[-1].choices[0].finish_reason == "length"
        assert (await _text(client)).startswith(_joined(chunks))

    async def test_a_stop_sequence_ends_the_text_before_it(self, client: AsyncOpenAI) -> None:
        counting: Any = [{"role": "user", "content": "Count to 9"}]
        assert await _text(client, messages=counting, stop=["4"]) == "1, 2, 3, "

    async def test_json_mode_gives_json(self, client: AsyncOpenAI) -> None:
        asked: Any = [{"role": "user", "content": "Say hello in JSON"}]
        text = await _text(client, messages=asked, response_format={"type": "json_object"})
        assert isinstance(json.loads(text), dict)

    async def test_a_json_schema_is_filled(self, client: AsyncOpenAI) -> None:
        schema = WEATHER[0]["function"]["parameters"]
        wanted = {"type": "json_schema", "json_schema": {"name": "place", "schema": schema}}
        text = await _text(client, messages=ASK_WEATHER, response_format=wanted)
        assert json.loads(text) == {"city": "Paris", "days": 3}

    async def test_a_broken_stream_continues_where_it_stopped(self, client: AsyncOpenAI) -> None:
        whole = await _text(client)
        begun: Any = [*HELLO, {"role": "assistant", "content": whole[:23]}]
        note: Any = {"role": "system", "content": "Continue exactly where the text stops."}
        assert whole[:23] + await _text(client, messages=begun) == whole
        assert whole[:23] + _joined(await _chunks(client, "sandbox-b", messages=[*begun, note])) == whole


class TestTools:
    async def test_deltas_name_the_call_once_and_cut_its_arguments(self, client: AsyncOpenAI) -> None:
        chunks = await _chunks(client, messages=ASK_WEATHER, tools=WEATHER)
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
        assert "cloudy" in await _text(client, messages=turns, tools=WEATHER)


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


class TestRefusals:
    async def test_keys_are_checked(self, url: str, http: aiohttp.ClientSession) -> None:
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key="sk-invalid", max_retries=0) as refused:
            with pytest.raises(openai.AuthenticationError) as caught:
                await refused.models.list()
        assert caught.value.code == "invalid_api_key"
        async with http.get("/v1/models", headers={"authorization": ""}) as response:
            assert response.status == 401

    async def test_an_unknown_model_is_not_found(self, client: AsyncOpenAI) -> None:
        with pytest.raises(openai.NotFoundError) as caught:
            await _text(client, "nowhere")
        assert caught.value.code == "model_not_found"

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"messages": []}, "messages"),
            ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
            ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
            ({"messages": [{"role": "user", "content": "x", "mood": 1}]}, "messages[0].mood"),
            ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]}, "messages.[0].role"),
            ({"temperature": 3}, "temperature"),
            ({"n": 0}, "n"),
            ({"max_tokens": "many"}, "max_tokens"),
            ({"stream_options": {"include_usage": True}}, "stream_options"),
            ({"tools": []}, "tools"),
            ({"tool_choice": "required"}, "tool_choice"),
            ({"response_format": {"type": "json_object"}}, "messages"),
            ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ],
    )
    async def test_what_is_wrong_is_named(
        self, http: aiohttp.ClientSession, fields: dict[str, Any], param: str
    ) -> None:
        body = {"model": "sandbox", "messages": HELLO, **fields}
        async with http.post("/v1/chat/completions", json=body) as response:
            assert response.status == 400
            error = (await response.json())["error"]
        assert (error["type"], error["param"]) == ("invalid_request_error", param)
        assert set(error) == {"message", "type", "param", "code"}

    @pytest.mark.parametrize("body", [b"", b"{", b"[]"])
    async def test_a_body_that_is_not_a_json_object(self, http: aiohttp.ClientSession, body: bytes) -> None:
        async with http.post("/v1/chat/completions", data=body) as response:
            assert response.status == 400

    async def test_an_unknown_path_answers_in_the_same_shape(self, http: aiohttp.ClientSession) -> None:
        async with http.post("/v1/nothing") as response:
            assert response.status == 404
            assert (await response.json())["error"]["type"] == "invalid_request_error"


class TestFaultsBeforeTheAnswer:
    @pytest.mark.parametrize(
        ("model", "status", "headers"),
        [
            ("sandbox+status-429-ra-1", 429, {"retry-after": "1"}),
            ("sandbox+retry-after-ms-20", 429, {"retry-after-ms": "20"}),
            ("sandbox+status-500+should-retry-false", 500, {"x-should-retry": "false"}),
            ("sandbox+status-403", 403, {}),
            ("sandbox+html-502", 502, {"content-type": "text/html; charset=utf-8"}),
        ],
    )
    async def test_statuses(self, client: AsyncOpenAI, model: str, status: int, headers: dict[str, str]) -> None:
        with pytest.raises(openai.APIStatusError) as caught:
            await _chunks(client, model)
        assert caught.value.status_code == status
        assert {name: caught.value.response.headers[name] for name in headers} == headers

    @pytest.mark.parametrize(
        ("model", "code"),
        [
            ("sandbox+context-length", "context_length_exceeded"),
            ("sandbox+content-filter", "content_filter"),
            ("sandbox+quota", "insufficient_quota"),
            ("sandbox+explode", "unknown_directive"),
        ],
    )
    async def test_refusals_by_code(self, client: AsyncOpenAI, model: str, code: str) -> None:
        with pytest.raises(openai.APIStatusError) as caught:
            await _text(client, model)
        assert caught.value.code == code

    async def test_the_header_asks_for_faults_too(self, client: AsyncOpenAI) -> None:
        with pytest.raises(openai.RateLimitError) as caught:
            await _text(client, extra_headers={"x-sandbox-fault": "status=429;retry_after=1"})
        assert caught.value.response.headers["retry-after"] == "1"

    async def test_reset_before_any_byte(self, http: aiohttp.ClientSession) -> None:
        with pytest.raises(aiohttp.ClientConnectionError):
            await _raw(http, "sandbox+reset")

    @pytest.mark.parametrize("stream", [True, False])
    async def test_silence_lasts_until_the_caller_leaves(self, http: aiohttp.ClientSession, stream: bool) -> None:
        model = f"sandbox-{stream}+silence"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(_raw(http, model, stream=stream), 0.1)
        record = await _ended(http, model)
        assert (record["end"], record["chunks_sent"]) == ("client_closed", 0)

    async def test_headers_then_silence(self, http: aiohttp.ClientSession) -> None:
        body = {"model": "sandbox+silence-after-headers", "messages": HELLO, "stream": True}
        async with http.post("/v1/chat/completions", json=body) as response:
            assert response.status == 200
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(response.content.readany(), 0.1)

    async def test_flaky_fails_first_and_then_answers(self, client: AsyncOpenAI) -> None:
        scenario = {"x-sandbox-scenario": "here"}
        for _ in range(2):
            with pytest.raises(openai.InternalServerError):
                await _text(client, "sandbox+flaky-2", extra_headers=scenario)
        assert await _text(client, "sandbox+flaky-2", extra_headers=scenario)

    async def test_the_client_retries_past_a_flaky_upstream(self, client: AsyncOpenAI) -> None:
        patient = client.with_options(max_retries=1)
        assert await _text(patient, "sandbox+flaky-1+status-429+retry-after-ms-10")

    async def test_an_outage_ends(self, client: AsyncOpenAI) -> None:
        model = "sandbox+outage-short-0.2"
        with pytest.raises(openai.InternalServerError):
            await _text(client, model)

        async def answered() -> bool:
            try:
                return bool(await _text(client, model))
            except openai.InternalServerError:
                return False

        assert await eventually(answered)


async def _ended(http: aiohttp.ClientSession, model: str, *, timeout: float = 10.0) -> dict[str, Any]:
    """Wait until a call of this model has ended and return its record."""

    async def ended() -> list[dict[str, Any]]:
        return [record for record in await _records(http, model) if record["end"]]

    records: list[dict[str, Any]] = await eventually(ended, timeout=timeout, interval=0.005)
    return records[0]


class TestFaultsDuringTheAnswer:
    async def test_an_exact_number_of_chunks(self, client: AsyncOpenAI) -> None:
        for count in (1, 7, 200):
            chunks = await _chunks(client, f"sandbox+chunks-{count}")
            assert sum(1 for chunk in chunks if chunk.choices[0].delta.content) == count

    @pytest.mark.parametrize("kind", ["reset", "drop"])
    async def test_a_broken_connection_after_n_chunks(
        self, client: AsyncOpenAI, http: aiohttp.ClientSession, kind: str
    ) -> None:
        model = f"sandbox+chunks-9+{kind}-after-3"
        stream = await client.chat.completions.create(model=model, messages=HELLO, stream=True)
        assert len(await _until(stream, 3)) == 3
        with pytest.raises(openai.APIConnectionError):
            await _until(stream, 1)
        record = await _ended(http, model)
        assert (record["end"], record["chunks_sent"]) == ("fault", 3)

    async def test_a_stall_is_left_by_the_caller(self, client: AsyncOpenAI, http: aiohttp.ClientSession) -> None:
        model = "sandbox+stall-after-2"
        stream = await client.chat.completions.create(model=model, messages=HELLO, stream=True)
        assert len(await _until(stream, 2)) == 2
        left_at = time.time()
        await stream.close()
        record = await _ended(http, model)
        assert (record["end"], record["chunks_sent"]) == ("client_closed", 2)
        assert record["closed_at"] >= left_at

    async def test_a_caller_who_leaves_between_slow_tokens_is_noticed(
        self, client: AsyncOpenAI, http: aiohttp.ClientSession
    ) -> None:
        model = "sandbox+delay-5000"
        stream = await client.chat.completions.create(model=model, messages=HELLO, stream=True)
        await _until(stream, 1)
        await stream.close()
        record = await _ended(http, model, timeout=3)
        assert record["end"] == "client_closed"

    async def test_a_clean_end_without_finish(self, http: aiohttp.ClientSession) -> None:
        body = await _raw(http, "sandbox+cut-after-2")
        assert body.count(b"data: ") == 3
        assert b"[DONE]" not in body
        assert b'"finish_reason":"' not in body

    async def test_a_stream_without_done(self, http: aiohttp.ClientSession) -> None:
        body = await _raw(http, "sandbox+no-done")
        assert b"[DONE]" not in body
        assert b'"finish_reason":"stop"' in body

    async def test_an_error_event(self, client: AsyncOpenAI) -> None:
        stream = await client.chat.completions.create(model="sandbox+error-after-2", messages=HELLO, stream=True)
        await _until(stream, 2)
        with pytest.raises(openai.APIError) as caught:
            await _until(stream, 1)
        assert caught.value.type == "server_error"

    async def test_a_malformed_chunk(self, client: AsyncOpenAI, http: aiohttp.ClientSession) -> None:
        with pytest.raises(json.JSONDecodeError):
            await _chunks(client, "sandbox+malformed-after-2")
        assert b"[DONE]" in await _raw(http, "sandbox+malformed-after-2")

    async def test_a_filtered_answer(self, client: AsyncOpenAI) -> None:
        chunks = await _chunks(client, "sandbox+content-filter-finish")
        assert chunks[-1].choices[0].finish_reason == "content_filter"

    async def test_keep_alive_comments_disturb_no_client(
        self, client: AsyncOpenAI, http: aiohttp.ClientSession
    ) -> None:
        model = "sandbox+keepalive-5+first-30"
        assert _joined(await _chunks(client, model)) == await _text(client)
        assert (await _raw(http, model)).startswith(b": keep-alive\n\n: keep-alive\n\n")

    async def test_characters_cut_across_segments(self, http: aiohttp.ClientSession) -> None:
        said: Any = [{"role": "user", "content": "Say: h\u00e9llo \U0001f389"}]
        body = {"model": "sandbox+split-bytes", "messages": said, "stream": True}
        async with http.post("/v1/chat/completions", json=body) as response:
            segments = [segment async for segment in response.content.iter_any()]
        assert any(_ends_inside_a_character(segment) for segment in segments)
        assert "h\u00e9llo" in b"".join(segments).decode()

    @pytest.mark.parametrize("kind", ["reset", "drop", "cut"])
    async def test_a_whole_answer_breaks_half_way(self, http: aiohttp.ClientSession, kind: str) -> None:
        with pytest.raises(aiohttp.ClientError):
            await _raw(http, f"sandbox+{kind}-after-1", stream=False)


def _ends_inside_a_character(segment: bytes) -> bool:
    try:
        segment.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"
    return False


class TestObservation:
    async def test_requests_are_recorded_without_the_key(
        self, client: AsyncOpenAI, http: aiohttp.ClientSession
    ) -> None:
        answer = await client.chat.completions.create(model="sandbox-seen", messages=HELLO, user="u1")
        (record,) = await _records(http, "sandbox-seen")
        assert record["id"] == answer._request_id
        assert record["body"]["user"] == "u1"
        assert record["end"] == "completed"
        assert record["at"] <= record["ended_at"]
        assert "authorization" not in record["headers"]
        assert "user-agent" in record["headers"]

    async def test_stats_count_ends_by_model(self, client: AsyncOpenAI, http: aiohttp.ClientSession) -> None:
        await _chunks(client, "sandbox-counted")
        stream = await client.chat.completions.create(
            model="sandbox-counted+stall-after-1", messages=HELLO, stream=True
        )
        await _until(stream, 1)
        stats = await _stats(http)
        assert stats["by_model"]["sandbox-counted"]["completed"] == 1
        assert stats["by_model"]["sandbox-counted+stall-after-1"]["open_streams"] == 1
        await stream.close()
        await _ended(http, "sandbox-counted+stall-after-1")
        after = (await _stats(http))["by_model"]["sandbox-counted+stall-after-1"]
        assert (after["client_disconnects"], after["open_streams"]) == (1, 0)

    async def test_reset_forgets(self, client: AsyncOpenAI, http: aiohttp.ClientSession) -> None:
        await _text(client, "sandbox-forgotten")
        async with http.post("/sandbox/reset") as response:
            assert response.status == 200
        assert await _records(http, "sandbox-forgotten") == []
        assert (await _stats(http))["requests"] == 0


async def _stats(http: aiohttp.ClientSession) -> dict[str, Any]:
    async with http.get("/sandbox/stats") as response:
        stats: dict[str, Any] = await response.json()
        return stats


async def test_the_command_announces_itself_and_ends_cleanly_with_a_stalled_stream() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sandbox",
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "SONANT_SANDBOX_PORT": "0"},
    )
    assert process.stdout is not None
    try:
        line = (await asyncio.wait_for(process.stdout.readline(), 10)).decode()
        address = line.removeprefix("sandbox ready on ").strip()
        headers = {"authorization": "Bearer k"}
        async with aiohttp.ClientSession(address, headers=headers) as session:
            body = {"model": "sandbox+stall-after-1", "messages": HELLO, "stream": True}
            async with session.get("/healthz") as health, session.post("/v1/chat/completions", json=body) as stalled:
                assert health.status == 200
                await stalled.content.readany()
                process.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(process.wait(), 10) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
