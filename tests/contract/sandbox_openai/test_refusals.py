"""What is wrong is refused in the provider's shape, and so are faults ordered before the answer."""

import asyncio
from typing import Any

import aiohttp
import openai
import pytest
from openai import AsyncOpenAI

from tests.support.openai_sandbox import (
    HELLO,
    call_ended,
    chunks_of,
    raw,
    text_of,
)
from tests.support.waiting import eventually


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
            await text_of(client, "nowhere")
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
            await chunks_of(client, model)
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
            await text_of(client, model)
        assert caught.value.code == code

    async def test_the_header_asks_for_faults_too(self, client: AsyncOpenAI) -> None:
        with pytest.raises(openai.RateLimitError) as caught:
            await text_of(client, extra_headers={"x-sandbox-fault": "status=429;retry_after=1"})
        assert caught.value.response.headers["retry-after"] == "1"

    async def test_reset_before_any_byte(self, http: aiohttp.ClientSession) -> None:
        with pytest.raises(aiohttp.ClientConnectionError):
            await raw(http, "sandbox+reset")

    @pytest.mark.parametrize("stream", [True, False])
    async def test_silence_lasts_until_the_caller_leaves(self, http: aiohttp.ClientSession, stream: bool) -> None:
        model = f"sandbox-{stream}+silence"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(raw(http, model, stream=stream), 0.1)
        record = await call_ended(http, model)
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
                await text_of(client, "sandbox+flaky-2", extra_headers=scenario)
        assert await text_of(client, "sandbox+flaky-2", extra_headers=scenario)

    async def test_the_client_retries_past_a_flaky_upstream(self, client: AsyncOpenAI) -> None:
        patient = client.with_options(max_retries=1)
        assert await text_of(patient, "sandbox+flaky-1+status-429+retry-after-ms-10")

    async def test_an_outage_ends(self, client: AsyncOpenAI) -> None:
        model = "sandbox+outage-short-0.2"
        with pytest.raises(openai.InternalServerError):
            await text_of(client, model)

        async def answered() -> bool:
            try:
                return bool(await text_of(client, model))
            except openai.InternalServerError:
                return False

        assert await eventually(answered)
