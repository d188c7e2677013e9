"""The errors of upstreams, in the shapes and words of the servers that send them."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_stream.ports import UpstreamBroken, UpstreamBusy, UpstreamRefused
from llm_stream.upstream.errors import ErrorKind, error_in, read_error_body
from llm_stream.upstream.verdict import verdict

LONG, BUSY, LOADED = ErrorKind.TOO_LONG, ErrorKind.RATE_LIMITED, ErrorKind.OVERLOADED
REFUSED, OURS, BROKEN = ErrorKind.REFUSED, ErrorKind.OURS, ErrorKind.BROKEN


def error(message: str, **members: Any) -> dict[str, Any]:
    return {"error": {"message": message, **members}}


def flat(message: str, **members: Any) -> dict[str, Any]:
    return {"object": "error", "message": message, **members}


TOO_LONG: dict[str, tuple[int, Any]] = {
    "openai": (400, error("Too long.", type="invalid_request_error", param="messages", code="context_length_exceeded")),
    "openai in words": (400, error("Your input exceeds the context window of this model. Please adjust your input.")),
    "openai per minute": (
        429,
        error("Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 40000.", type="tokens"),
    ),
    "vllm": (
        400,
        error(
            "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (4500 in the "
            "messages, 500 in the completion). Please reduce the length of the messages or completion.",
            type="BadRequestError",
            param=None,
            code=400,
        ),
    ),
    "vllm newer": (
        400,
        error(
            "You passed 5001 input tokens and requested 0 output tokens. However, the model's context length is only "
            "4096 tokens, resulting in a maximum input length of 4096 tokens. Please reduce the length of the input "
            "prompt. (parameter=input_tokens, value=5001)",
            type="BadRequestError",
            param="input_tokens",
            code=400,
        ),
    ),
    "vllm flat": (400, flat("The prompt (total length 5000) is too long to fit into the model.", code=400)),
    "vllm decoder": (400, flat("The decoder prompt (length 5000) is longer than the maximum model length of 4096.")),
    "llama.cpp": (
        400,
        error("request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it", code=400),
    ),
    "llama.cpp type": (400, error("no", type="exceed_context_size_error", code=400, n_ctx=4096)),
    "llama.cpp 500": (500, error("Context size has been exceeded.", type="server_error", code=500)),
    "sglang": (
        400,
        flat("The input (61709 tokens) is longer than the model's context length (40960 tokens).", code=400),
    ),
    "sglang total": (400, flat("Requested token count exceeds the model's maximum context length of 4096 tokens.")),
    "sglang allowed": (400, flat("Input length (5000 tokens) exceeds the maximum allowed length (4090 tokens).")),
    "anthropic": (
        400,
        {"type": "error", **error("prompt is too long: 208310 tokens > 199999 maximum", type="invalid_request_error")},
    ),
    "anthropic both": (400, error("input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000")),
    "anthropic size": (413, error("Request exceeds the maximum size", type="request_too_large")),
    "gemini": (
        400,
        [
            error(
                "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).",
                code=400,
                status="INVALID_ARGUMENT",
            )
        ],
    ),
    "groq": (400, error("Please reduce the length of the messages or completion.", param="messages")),
    "groq per minute": (
        413,
        error("Request too large for model `x`: Limit 6000, Requested 7000, please reduce your message size.",
              type="tokens", code="rate_limit_exceeded"),
    ),
    "mistral": (
        400,
        flat("Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length"),
    ),
    "tgi": (422, {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096."}),
    "xai": (400, {"code": "Client specified an invalid argument", "error": "This model's maximum prompt length is 13"}),
    "openrouter": (
        400,
        {
            "error": {
                "message": "Provider returned error",
                "code": 400,
                "metadata": {"raw": "This endpoint's maximum context length is 131072 tokens."},
            }
        },
    ),
    "ollama": (400, error("the input length exceeds the context length", type="api_error")),
    "ollama chat": (400, error("prompt too long; exceeded max context length by 12 tokens", type="api_error")),
    "dashscope": (400, error("Range of input length should be [1, 129024]", type="invalid_request_error")),
    "kimi": (400, error("total message size 2306631 exceeds limit 2097152", type="invalid_request_error")),
    "zhipu": (400, error("Prompt exceeds max length", code="1261")),
    "bedrock": (400, {"message": "Input is too long for requested model."}),
    "detail": (400, {"detail": "This model's maximum context length is 4096 tokens."}),
    "detail with an error": (400, {"detail": error("prompt is too long: 2 tokens > 1 maximum")}),
}  # fmt: skip


@pytest.mark.parametrize("shape", TOO_LONG)
def test_a_conversation_that_is_too_long_is_known_in_every_servers_words(shape: str) -> None:
    status, body = TOO_LONG[shape]
    reported = read_error_body(orjson.dumps(body), status)
    assert (reported.kind, reported.code) == (LONG, "context_length_exceeded")
    refusal = verdict(reported)
    assert isinstance(refusal, UpstreamRefused)
    assert refusal.too_long
    assert 400 <= (refusal.status or 0) < 500


OTHERS: dict[str, tuple[int, Any, ErrorKind, str | None]] = {
    "openai 429": (429, error("Rate limit reached", code="rate_limit_exceeded"), BUSY, "rate_limit_exceeded"),
    "per minute": (429, error("You exceed the limit of 60 requests per minute"), BUSY, None),
    "per minute tokens": (429, error("exceeds your limit of 6000 tokens per minute"), BUSY, None),
    "a rate limit as a 400": (400, error("slow", type="rate_limit_error"), BUSY, None),
    "gemini quota": (429, [error("Resource exhausted", code=429, status="RESOURCE_EXHAUSTED")], BUSY, None),
    "anthropic overloaded": (529, {"type": "error", **error("Overloaded", type="overloaded_error")}, LOADED, None),
    "llama.cpp loading": (503, error("Loading model", type="unavailable_error", code=503), LOADED, None),
    "overloaded as a 500": (500, error("engine", type="engine_overloaded_error"), LOADED, None),
    "vllm refuses": (400, flat("top_k must be", type="BadRequestError", code=400), REFUSED, None),
    "a number as a code": (400, error("no", code=3051), REFUSED, "3051"),
    "filtered at 500": (500, error("No.", code="content_filter"), ErrorKind.FILTERED, "content_filter"),
    "text": (400, {"error": "bad temperature"}, REFUSED, None),
    "our key at gemini": (400, [error("API key not valid. Please pass a valid API key.", code=400)], OURS, None),
    "our model": (400, error("The model `x` does not exist.", code="model_not_found"), OURS, "model_not_found"),
    "our model at llama.cpp": (400, error("model 'qwen2.5-7b.gguf' not found", code=400), OURS, None),
    "our model at mistral": (400, flat("Invalid model: x", type="invalid_model", code="1500"), OURS, "1500"),
    "a dot that ends a sentence": (400, error("The model is x. The tool y is not found", code=400), REFUSED, None),
    "our login": (401, {"detail": "Unauthorized"}, OURS, None),
    "server": (500, error("boom", type="server_error"), BROKEN, None),
    "timeout": (408, {"message": "late"}, BROKEN, None),
}


@pytest.mark.parametrize("shape", OTHERS)
def test_every_other_error_is_sorted_by_what_to_do_about_it(shape: str) -> None:
    status, body, kind, code = OTHERS[shape]
    reported = read_error_body(orjson.dumps(body), status)
    assert (reported.kind, reported.code, reported.status) == (kind, code, status)
    assert reported.reason


@pytest.mark.parametrize(
    ("body", "reason", "param"),
    [
        (b'{"detail": "Not like this"}', "Not like this", None),
        (
            b'{"detail": [{"type": "missing", "loc": ["body", "messages", 0], "msg": "Field required"}]}',
            "messages.0: Field required",
            "messages.0",
        ),
        (
            b'{"object":"error","message":{"detail":[{"loc":["body","x"],"msg":"Extra inputs"}]}}',
            "x: Extra inputs",
            None,
        ),
        (b'{"detail": {"message": "an object", "code": 7}}', "an object", None),
        (b'{"errors": [{"code": 10000, "message": "at the edge"}], "success": false}', "at the edge", None),
        (b'{"error": {"error": {"message": "nested"}}}', "nested", None),
        (b"<html><head><title>400 Bad\n Request</title></head></html>", "400 Bad Request", None),
        (b"plainly no", "plainly no", None),
        (b"", "the upstream answered 400", None),
        (b"\xff\xfe\x00", "the upstream answered 400", None),
        (b"[]", "the upstream answered 400", None),
        (b'{"error": {"message": "a\\u0000b"}}', "ab", None),
    ],
)
def test_the_reason_is_found_wherever_it_stands(body: bytes, reason: str, param: str | None) -> None:
    reported = read_error_body(body, 400)
    assert (reported.reason, reported.param) == (reason, param)


@pytest.mark.parametrize("status", [400, 401, 408, 413, 422, 429, 500, 503, 529])
def test_no_reason_quotes_a_secret(status: int) -> None:
    for body in (error("bad key sk-abcdefgh"), {"detail": "Bearer abcdefgh"}, {"error": "sk-abcdefgh"}):
        assert "abcdefgh" not in read_error_body(orjson.dumps(body), status).reason
    assert "abcdefgh" not in read_error_body(b"x" * 1990 + b" sk-abcdefgh", status).reason


IN_BAND: dict[str, tuple[Any, ErrorKind, int | None]] = {
    "server error": ({"error": {"message": "boom", "type": "server_error"}}, BROKEN, None),
    "text alone": ({"error": "overloaded"}, LOADED, None),
    "vllm": (error("bad", type="BadRequestError", code=400), REFUSED, 400),
    "sglang": (error("slow", code=429), BUSY, 429),
    "flat": (flat("too many", code=429), BUSY, 429),
    "anthropic": ({"type": "error", **error("Overloaded", type="overloaded_error")}, LOADED, None),
    "too long": (error("prompt is too long: 2 tokens > 1 maximum"), LONG, None),
    "list": ([error("Quota", code=429)], BUSY, 429),
    "detail": ({"detail": "Too many requests"}, BUSY, None),
    "our key": (error("no", code="invalid_api_key"), OURS, None),
    "openrouter": ({"error": {"code": 502, "message": "gone"}, "choices": []}, BROKEN, 502),
}


@pytest.mark.parametrize("shape", IN_BAND)
def test_an_error_in_a_200_has_its_kind(shape: str) -> None:
    body, kind, status = IN_BAND[shape]
    reported = error_in(body)
    assert reported is not None
    assert (reported.kind, reported.status) == (kind, status)


@pytest.mark.parametrize(
    "value",
    [
        {"choices": [], "message": "hi", "code": 7},
        {"type": "ping"},
        {"error": None, "choices": []},
        {},
        [],
        7,
        None,
        {"detail": None},
    ],
)
def test_what_is_no_error_is_none(value: Any) -> None:
    assert error_in(value) is None


def test_each_kind_is_raised_as_what_to_do_about_it() -> None:
    def raised(body: Any, status: int) -> Exception:
        return verdict(read_error_body(orjson.dumps(body), status), {"retry-after": "3"})

    busy = raised(error("slow"), 429)
    assert isinstance(busy, UpstreamBusy)
    assert (busy.retry_after, busy.exhausted) == (3.0, False)
    spent = raised(error("no", type="insufficient_quota"), 429)
    assert isinstance(spent, UpstreamBusy)
    assert spent.exhausted
    ours, broken = raised(error("API key not valid"), 400), raised(error("boom"), 500)
    assert isinstance(ours, UpstreamBroken)
    assert ours.ours
    assert isinstance(broken, UpstreamBroken)
    assert not broken.ours


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "message", "code", "type", "detail", "status", "param", "msg", "loc", "errors"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(value=JSON, status=st.integers(300, 599))
def test_every_json_is_read_as_some_error(value: Any, status: int) -> None:
    reported = read_error_body(json.dumps(value).encode(), status)
    assert reported.reason
    assert "\x00" not in reported.reason + (reported.code or "") + (reported.param or "") + (reported.type or "")
    verdict(reported)
    error_in(value)
