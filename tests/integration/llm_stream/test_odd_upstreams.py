"""The service beside upstreams that are not OpenAI: their errors, their bodies, and what of an answer is in flight."""

from typing import Any

import orjson
import pytest

from tests.support.llm_stream import HELLO_TEXT, World, chunk, scripted, sse

both = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
LONG = "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens."


def answer(status: int, body: Any, kind: str = "application/json") -> bytes:
    """A whole HTTP answer."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(content)}\r\nconnection: close\r\n\r\n"
    return head.encode() + content


def completion(**members: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}
    return {"id": "x", "object": "chat.completion", "created": 1, "model": "scripted", "choices": [choice], **members}


# -- errors -----------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": {"message": LONG, "type": "BadRequestError", "param": None, "code": 400}}),
        (400, {"object": "error", "message": LONG, "code": 400}),
        (400, [{"error": {"code": 400, "message": "The input token count (9) exceeds the maximum number of tokens"}}]),
        (200, {"error": {"message": LONG, "code": 400}}),
    ],
    ids=["vllm", "sglang", "gemini", "in a 200"],
)
async def test_what_is_too_long_goes_to_the_larger_alias(
    llm_world: World, stream: bool, status: int, body: Any
) -> None:
    larger = await llm_world.alias("")
    async with scripted([answer(status, body)]) as upstream:
        alias = await llm_world.alias({"base_url": upstream.url}, larger=larger.name)
        heard, fact = await llm_world.ask(alias, stream=stream)
    assert heard.text() == HELLO_TEXT
    assert [attempt.outcome for attempt in fact.attempts] == ["refused", "completed"]


@both
async def test_a_refusal_with_a_number_as_its_code_is_passed_on(llm_world: World, stream: bool) -> None:
    body = {"object": "error", "message": "top_k must be -1 or more", "type": "BadRequestError", "code": 400}
    async with scripted([answer(400, body)]) as upstream:
        alias = await llm_world.alias({"base_url": upstream.url})
        heard, fact = await llm_world.ask(alias, stream=stream)
    assert (heard.end["error"]["status"], heard.end["error"]["message"]) == (400, "top_k must be -1 or more")
    assert (fact.error.code, fact.error.type) == (None, "BadRequestError")


@both
@pytest.mark.parametrize("events", [True, False], ids=["events", "json"])
async def test_a_rate_limit_within_a_200_is_one(llm_world: World, stream: bool, events: bool) -> None:
    body = {"error": {"message": "Slow down, sk-abcdefgh", "code": 429}}
    script = sse(body) if events and stream else answer(200, body)
    async with scripted([script], [script]) as upstream:
        alias = await llm_world.alias({"base_url": upstream.url}, "", tries=1)
        heard, fact = await llm_world.ask(alias, stream=stream)
    assert heard.text() == HELLO_TEXT
    assert [attempt.outcome for attempt in fact.attempts] == ["busy", "completed"]
    assert fact.attempts[0].error == "Slow down, [redacted]"


@pytest.mark.parametrize("status", [408, 413, 529])
async def test_no_status_lets_a_secret_through(llm_world: World, status: int) -> None:
    script = answer(status, {"error": {"message": "bad sk-abcdefgh"}})
    async with scripted([script], [script]) as upstream:
        alias = await llm_world.alias({"base_url": upstream.url}, tries=1)
        heard, _ = await llm_world.ask(alias)
    assert "[redacted]" in heard.end["error"]["message"]


# -- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [7, None, ["x"], "a\x00b"])
@pytest.mark.parametrize("tokens", [1e30, 10**12, -1, "3", None, 2.5])
async def test_odd_types_cost_neither_the_answer_nor_its_fact(llm_world: World, model: Any, tokens: Any) -> None:
    usage = {"prompt_tokens": tokens, "completion_tokens": tokens, "total_tokens": tokens}
    script = answer(200, completion(model=model, usage=usage))
    events = [{**each, "model": model} for each in (chunk("Hi."), chunk(finish="stop"))]
    last = {"choices": [], "usage": usage}
    for stream, steps in ((False, [script]), (True, [sse(*events, last, b"[DONE]")])):
        async with scripted(steps) as upstream:
            alias = await llm_world.alias({"base_url": upstream.url})
            heard, fact = await llm_world.ask(alias, stream=stream)
        llm_world.forget()
        assert heard.text() == "Hi."
        assert (fact.finish_reason, fact.attempts[-1].outcome) == ("stop", "completed")
        assert 0 <= fact.usage.total_tokens < 2**31
        assert "\x00" not in fact.upstream_model


async def test_a_server_that_does_not_stream_is_heard(llm_world: World) -> None:
    async with scripted([answer(200, completion())]) as upstream:
        alias = await llm_world.alias({"base_url": upstream.url})
        heard, fact = await llm_world.ask(alias, stream=True)
    assert (heard.text(), heard.done, heard.finish_reasons()) == ("Hi.", True, ["stop"])
    assert fact.finish_reason == "stop"


@pytest.mark.parametrize("capabilities", [["done"], []])
async def test_a_cut_stream_of_empty_finish_reasons_is_never_whole(llm_world: World, capabilities: list[str]) -> None:
    async with scripted([sse(chunk("Hi. ", finish=""), chunk("There. ", finish=""))]) as upstream:
        alias = await llm_world.alias({"base_url": upstream.url, "capabilities": capabilities}, tries=1)
        heard, fact = await llm_world.ask(alias)
    assert not heard.done
    assert heard.error is not None
    assert fact.error.code == "upstream_error"


# -- what another upstream may go on with -----------------------------------------------------------------------------


async def test_an_answer_of_which_only_reasoning_was_heard_begins_anew(llm_world: World) -> None:
    async with scripted([sse(chunk(reasoning_content="Hm"))]) as upstream:
        alias = await llm_world.alias({"base_url": upstream.url}, "", tries=1)
        heard, fact = await llm_world.ask(alias)
        [call] = await llm_world.calls(alias.models[1])
    assert heard.choices()[0]["delta"] == {"role": "assistant", "reasoning_content": "Hm"}
    assert (heard.text(), heard.done) == (HELLO_TEXT, True)
    assert len(call["body"]["messages"]) == 1
    assert [attempt.outcome for attempt in fact.attempts] == ["broken", "completed"]


async def test_nobody_goes_on_behind_half_a_refusal(llm_world: World) -> None:
    async with scripted([sse(chunk(refusal="I wo"))]) as upstream:
        alias = await llm_world.alias({"base_url": upstream.url}, "", tries=1)
        heard, _ = await llm_world.ask(alias)
        assert await llm_world.calls(alias.models[1]) == []
    assert heard.error is not None
    assert not heard.done


async def test_a_refusal_of_our_continuation_is_a_failed_attempt(llm_world: World) -> None:
    refusal = answer(400, {"object": "error", "message": "roles must alternate", "code": 400})
    async with scripted([refusal]) as strict:
        alias = await llm_world.alias("cut-after-7", {"base_url": strict.url}, "", tries=1)
        heard, fact = await llm_world.ask(alias)
    assert (heard.text(), heard.done) == (HELLO_TEXT, True)
    assert [attempt.outcome for attempt in fact.attempts] == ["broken", "refused", "completed"]


async def test_what_is_reported_is_the_first_failure_and_not_our_own_requests(llm_world: World) -> None:
    refusal = answer(400, {"object": "error", "message": "roles must alternate", "code": 400})
    async with scripted([refusal]) as strict:
        alias = await llm_world.alias("cut-after-7", {"base_url": strict.url}, tries=1)
        heard, fact = await llm_world.ask(alias)
    assert heard.error is not None
    assert (fact.error.status, fact.error.code) == (502, "upstream_error")
    assert "alternate" not in fact.error.message


@pytest.mark.parametrize("release", ["tokens", "sentences"])
@pytest.mark.parametrize("message", ["bad request", "Context size has been exceeded."])
async def test_an_answer_that_had_begun_is_broken_and_not_refused(llm_world: World, message: str, release: str) -> None:
    larger = await llm_world.alias("")
    async with scripted(
        [sse(chunk("One is here. "), chunk("Two"), {"error": {"message": message, "code": 400}})]
    ) as one:
        alias = await llm_world.alias({"base_url": one.url}, "", tries=1, release=release, larger=larger.name)
        heard, fact = await llm_world.ask(alias)
    assert fact.attempts[0].outcome == "refused"
    assert await llm_world.calls(larger.models[0]) == []
    if release == "sentences":
        assert (heard.text(), heard.done) == (HELLO_TEXT, True)
    else:
        assert not heard.done
        assert heard.error is not None
        assert fact.error.code == "upstream_error"


async def test_what_is_filtered_midway_is_not_asked_of_another(llm_world: World) -> None:
    error = {"error": {"message": "No.", "code": "content_filter"}}
    async with scripted([sse(chunk("One is here. "), error)]) as upstream:
        alias = await llm_world.alias({"base_url": upstream.url}, "", tries=1)
        heard, fact = await llm_world.ask(alias)
        assert await llm_world.calls(alias.models[1]) == []
    assert heard.error is not None
    assert fact.error.code == "content_filter"
