"""The stand-in speaks as other servers do, on request, and as OpenAI otherwise."""

import json
from typing import Any

import aiohttp
import pytest

from sandbox.openai.dialects import BY_NAME
from tests.support.openai_sandbox import ASK_WEATHER, HELLO, WEATHER, raw

DIALECTS = pytest.mark.parametrize("dialect", BY_NAME)


async def asked(http: aiohttp.ClientSession, model: str, dialect: str = "", **fields: Any) -> tuple[int, Any]:
    """The status and the body of an answer."""
    body = {"model": model, "messages": HELLO, **fields}
    headers = {"x-sandbox-dialect": dialect} if dialect else {}
    async with http.post("/v1/chat/completions", json=body, headers=headers) as response:
        return response.status, await response.json()


async def chunks(http: aiohttp.ClientSession, model: str, **fields: Any) -> list[Any]:
    events = (await raw(http, model, **fields)).split(b"\n\n")
    assert events[-2:] == [b"data: [DONE]", b""]
    return [json.loads(event.removeprefix(b"data: ")) for event in events[:-2]]


def texts(said: list[Any]) -> str:
    return "".join(choice.get("delta", {}).get("content") or "" for each in said for choice in each["choices"])


@DIALECTS
async def test_name_and_header_mean_the_same(http: aiohttp.ClientSession, dialect: str) -> None:
    status, named = await asked(http, f"{dialect}/sandbox")
    assert (status, named["model"]) == (200, "sandbox")
    _, plain = await asked(http, "sandbox")
    assert named["choices"][0]["message"]["content"] == plain["choices"][0]["message"]["content"]
    _, by_header = await asked(http, "sandbox", dialect)
    assert by_header.keys() == named.keys()
    assert texts(await chunks(http, f"{dialect}/sandbox")) == plain["choices"][0]["message"]["content"]


async def test_a_dialect_that_there_is_not_is_refused(http: aiohttp.ClientSession) -> None:
    status, body = await asked(http, "sandbox", "klingon")
    assert (status, body["error"]["code"]) == (400, "unknown_dialect")
    status, body = await asked(http, "klingon/sandbox")
    assert (status, body["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("dialect", "status", "told"),
    [
        ("azure", 400, {"code": "context_length_exceeded"}),
        ("llama.cpp", 400, {"code": 400, "type": "exceed_context_size_error", "n_ctx": 128000}),
        ("mistral", 400, {"code": "3051"}),
        ("ollama", 400, {"code": None, "type": "invalid_request_error"}),
        ("sglang", 400, {"code": 400, "object": "error"}),
        ("vllm", 400, {"code": 400, "type": "BadRequestError"}),
    ],
)
async def test_what_is_too_long(http: aiohttp.ClientSession, dialect: str, status: int, told: dict[str, Any]) -> None:
    found, body = await asked(http, f"{dialect}/sandbox+context-length")
    assert found == status
    error = body.get("error", body)
    assert told.items() <= error.items()


async def test_sglang_finds_out_within_the_stream(http: aiohttp.ClientSession) -> None:
    (event,) = await chunks(http, "sglang/sandbox+context-length")
    assert event["error"]["message"].startswith("The input (131072 tokens) is longer")


@pytest.mark.parametrize(
    ("dialect", "messages", "status"),
    [
        ("vllm", [{"role": "developer", "content": "x"}], 400),
        ("vllm", [{"role": "system", "content": "x"}, {"role": "system", "content": "y"}], 400),
        ("sglang", [{"role": "user", "content": "x"}, {"role": "user", "content": "y"}], 400),
        ("llama.cpp", [{"role": "user", "content": "x"}, {"role": "user", "content": "y"}], 500),
        ("mistral", [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}], 400),
        ("mistral", [{"role": "developer", "content": "x"}], 422),
        ("ollama", [{"role": "developer", "content": "x"}], 200),
        ("azure", [{"role": "developer", "content": "x"}], 200),
    ],
)
async def test_templates_refuse_what_does_not_fit(
    http: aiohttp.ClientSession, dialect: str, messages: list[Any], status: int
) -> None:
    found, _ = await asked(http, f"{dialect}/sandbox", messages=messages)
    assert found == status


@DIALECTS
async def test_a_tool_call_is_put_in_the_servers_own_way(http: aiohttp.ClientSession, dialect: str) -> None:
    said = await chunks(http, f"{dialect}/sandbox", messages=ASK_WEATHER, tools=WEATHER)
    pieces = [piece for each in said for c in each["choices"] for piece in c.get("delta", {}).get("tool_calls") or ()]
    named = [piece for piece in pieces if piece["function"].get("name")]
    indexes = {piece.get("index") for piece in pieces}
    assert indexes == ({None} if dialect == "mistral" else {0})
    assert (len(named) == len(pieces) > 1) is (dialect == "vllm")
    assert (len(pieces) == 1) is (dialect in ("ollama", "mistral"))
    assert isinstance(pieces[0]["function"].get("arguments"), dict) is (dialect == "mistral")
    assert any(c["finish_reason"] == "tool_calls" for each in said for c in each["choices"])


@DIALECTS
async def test_an_error_keeps_the_servers_envelope_and_its_headers(http: aiohttp.ClientSession, dialect: str) -> None:
    body = {"model": f"{dialect}/sandbox+status-429-ra-3", "messages": HELLO}
    async with http.post("/v1/chat/completions", json=body) as response:
        assert (response.status, response.headers["retry-after"]) == (429, "3")
        assert await response.json()
