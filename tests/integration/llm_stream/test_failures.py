"""What llm-stream does when an upstream fails before it said anything, streaming or not."""

import asyncio
from typing import Any

import orjson
import pytest

from tests.support.llm_stream import HELLO_TEXT, AliasUnderTest, Heard, World, blocked_port, chunk, scripted, sse

both = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])


def answered(heard: Heard, fact: Any, stream: bool, text: str = HELLO_TEXT) -> None:
    """The client got a whole answer, and the fact says so."""
    assert heard.text() == text
    assert heard.end["outcome"] == "completed"
    assert heard.finish_reasons() == ["stop"]
    assert heard.done is stream if stream else heard.whole is not None
    assert fact.finish_reason == "stop"
    assert fact.attempts[-1].outcome == "completed"
    assert fact.usage.total_tokens == fact.usage.prompt_tokens + fact.usage.completion_tokens > 0


def refused(heard: Heard, fact: Any, status: int, code: str | None) -> dict[str, Any]:
    """The client got an error instead of an answer, and the fact says the same; returns what the gateway is told."""
    assert heard.headers is None
    assert len(heard.frames) == 1
    assert heard.end["outcome"] == "failed"
    told: dict[str, Any] = heard.end["error"]
    assert (told["status"], told["code"]) == (status, code)
    assert (fact.error.status, fact.error.code, fact.error.message) == (status, code, told["message"])
    assert fact.usage.total_tokens == 0
    assert fact.cost_usd == 0
    return told


def outcomes(fact: Any) -> list[str]:
    return [attempt.outcome for attempt in fact.attempts]


# -- nothing wrong ----------------------------------------------------------------------------------------------------


@both
async def test_a_whole_answer_is_billed_to_the_upstream_that_gave_it(llm_world: World, stream: bool) -> None:
    alias = await llm_world.alias({"price": {"input": 1.0, "output": 2.0}})
    heard, fact = await llm_world.ask(alias, stream=stream)
    answered(heard, fact, stream)
    assert heard.headers == {"x-sonant-provider": "sandbox"}
    assert (fact.upstream, fact.upstream_model) == (alias.upstreams[0], alias.models[0])
    assert fact.usage.estimated is False
    assert fact.cost_usd == pytest.approx((fact.usage.prompt_tokens + 2 * fact.usage.completion_tokens) / 1_000_000)
    assert heard.end["usage"]["total_tokens"] == fact.usage.total_tokens
    assert fact.first_token_at is not None
    assert fact.received_at <= fact.started_at <= fact.first_token_at <= fact.finished_at


@both
async def test_an_unknown_model_is_not_found(llm_world: World, stream: bool) -> None:
    heard, fact = await llm_world.ask("no-such-model", stream=stream)
    told = refused(heard, fact, 404, "model_not_found")
    assert told["param"] == "model"
    assert fact.attempts == ()


# -- rate limits ------------------------------------------------------------------------------------------------------


@both
async def test_the_only_upstream_is_asked_again_after_its_retry_after(llm_world: World, stream: bool) -> None:
    alias = await llm_world.alias("flaky-1+status-429-ra-1")
    heard, fact = await llm_world.ask(alias, stream=stream)
    answered(heard, fact, stream)
    assert outcomes(fact) == ["busy", "completed"]
    assert fact.attempts[0].status == 429
    first, second = await llm_world.calls(alias.models[0])
    assert second["at"] - first["at"] >= 1.0


async def test_all_who_wait_for_a_rate_limit_are_answered_after_it(llm_world: World) -> None:
    # It ends before anybody may come back, so that nobody is refused twice.
    alias = await llm_world.alias("outage-crowded-0.9+status-429-ra-1")
    turns = await asyncio.gather(*(llm_world.ask(alias) for _ in range(8)))
    for heard, fact in turns:
        answered(heard, fact, True)
    calls = await llm_world.calls(alias.models[0])
    assert [call["status"] for call in calls[-8:]] == [200] * 8
    limited_at = min(call["at"] for call in calls if call["status"] == 429)
    assert all(call["at"] - limited_at >= 1.0 for call in calls if call["status"] == 200)


@both
async def test_a_rate_limited_upstream_is_left_alone_while_another_answers(llm_world: World, stream: bool) -> None:
    alias = await llm_world.alias("status-429-ra-60", "")
    for number in range(3):
        heard, fact = await llm_world.ask(alias, stream=stream)
        answered(heard, fact, stream)
        assert outcomes(fact) == (["busy", "completed"] if number == 0 else ["completed"])
        assert fact.upstream == alias.upstreams[1]
    assert len(await llm_world.calls(alias.models[0])) == 1


async def test_an_upstream_is_returned_to_when_its_retry_after_is_over(llm_world: World) -> None:
    alias = await llm_world.alias("flaky-1+status-429-ra-1", "")
    _, limited = await llm_world.ask(alias)
    assert limited.upstream == alias.upstreams[1]
    first = (await llm_world.calls(alias.models[0]))[0]
    while True:
        _, fact = await llm_world.ask(alias)
        if fact.upstream == alias.upstreams[0]:
            break
    assert fact.started_at - first["at"] >= 0.9
    assert outcomes(fact) == ["completed"]


@both
async def test_without_a_retry_after_the_only_upstream_is_asked_again_after_a_pause(
    llm_world: World, stream: bool
) -> None:
    alias = await llm_world.alias("flaky-1+status-429")
    heard, fact = await llm_world.ask(alias, stream=stream)
    answered(heard, fact, stream)
    first, second = await llm_world.calls(alias.models[0])
    assert second["at"] - first["at"] >= 0.5


async def test_without_a_retry_after_another_upstream_is_asked_at_once(llm_world: World) -> None:
    alias = await llm_world.alias("status-429", "")
    heard, fact = await llm_world.ask(alias)
    answered(heard, fact, True)
    assert outcomes(fact) == ["busy", "completed"]


async def test_a_retry_after_in_milliseconds_is_understood(llm_world: World) -> None:
    alias = await llm_world.alias("flaky-1+retry-after-ms-300")
    heard, fact = await llm_world.ask(alias)
    answered(heard, fact, True)
    first, second = await llm_world.calls(alias.models[0])
    assert second["at"] - first["at"] >= 0.3


@both
async def test_a_retry_after_past_the_deadline_is_the_callers(llm_world: World, stream: bool) -> None:
    alias = await llm_world.alias("status-429-ra-30")
    told = refused(*await llm_world.ask(alias, stream=stream, seconds=5.0), 429, "rate_limit_exceeded")
    assert 29 < told["retry_after"] <= 30
    # The next caller is told the same, and the upstream is left alone.
    again, fact = await llm_world.ask(alias, stream=stream, seconds=5.0)
    assert 28 < refused(again, fact, 429, "rate_limit_exceeded")["retry_after"] <= 30
    assert fact.attempts == ()
    assert len(await llm_world.calls(alias.models[0])) == 1


async def test_where_all_are_rate_limited_the_one_that_is_back_first_is_waited_for(llm_world: World) -> None:
    alias = await llm_world.alias("status-429-ra-60", "flaky-1+status-429-ra-1")
    heard, fact = await llm_world.ask(alias)
    answered(heard, fact, True)
    assert outcomes(fact) == ["busy", "busy", "completed"]


@both
async def test_an_exhausted_quota_is_not_tried_again(llm_world: World, stream: bool) -> None:
    alias = await llm_world.alias("quota")
    heard, fact = await llm_world.ask(alias, stream=stream)
    told = refused(heard, fact, 429, "insufficient_quota")
    assert told["retry_after"] is None
    assert outcomes(fact) == ["busy"]
    assert len(await llm_world.calls(alias.models[0])) == 1


async def test_an_exhausted_quota_sends_the_turn_to_the_next_upstream(llm_world: World) -> None:
    alias = await llm_world.alias("quota", "")
    heard, fact = await llm_world.ask(alias)
    answered(heard, fact, True)
    assert outcomes(fact) == ["busy", "completed"]


# -- broken before the first byte -------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("fault", ["status-500", "status-503", "html-502", "reset"])
async def test_the_only_upstream_is_tried_again(llm_world: World, fault: str, stream: bool) -> None:
    alias = await llm_world.alias(f"flaky-1+{fault}")
    heard, fact = await llm_world.ask(alias, stream=stream)
    answered(heard, fact, stream)
    assert outcomes(fact) == ["broken", "completed"]
    assert len(await llm_world.calls(alias.models[0])) == 2


@both
@pytest.mark.parametrize("fault", ["status-500", "html-502", "reset"])
async def test_another_upstream_answers_for_a_broken_one(llm_world: World, fault: str, stream: bool) -> None:
    alias = await llm_world.alias(fault, "")
    heard, fact = await llm_world.ask(alias, stream=stream)
    answered(heard, fact, stream)
    assert outcomes(fact) == ["broken", "completed"]
    assert (fact.upstream, fact.upstream_model) == (alias.upstreams[1], alias.models[1])
    assert [attempt.upstream for attempt in fact.attempts] == list(alias.upstreams)


@both
async def test_tries_are_counted_over_all_upstreams_and_end_in_an_error(llm_world: World, stream: bool) -> None:
    alias = await llm_world.alias("status-500", "reset", tries=2)
    heard, fact = await llm_world.ask(alias, stream=stream)
    refused(heard, fact, 502, "upstream_error")
    assert outcomes(fact) == ["broken"] * 4
    assert [len(await llm_world.calls(model)) for model in alias.models] == [2, 2]


async def test_an_upstream_that_is_not_there_is_passed_over(llm_world: World) -> None:
    alias = await llm_world.alias({"base_url": "http://127.0.0.1:9"}, "")
    heard, fact = await llm_world.ask(alias)
    answered(heard, fact, True)


async def test_a_connection_that_is_not_accepted_costs_no_more_than_its_timeout(llm_world: World) -> None:
    with blocked_port() as port:
        alias = await llm_world.alias(
            {"base_url": f"http://127.0.0.1:{port}/v1"}, "", connect_timeout=0.2, first_byte_timeout=10.0
        )
        heard, fact = await llm_world.ask(alias)
    answered(heard, fact, True)
    assert outcomes(fact) == ["broken", "completed"]
    # Without the limit of its own it would have been the first byte's.
    assert fact.attempts[0].duration_ms < 5_000


# -- silence ----------------------------------------------------------------------------------------------------------


SILENCES = [(fault, stream) for fault in ("silence", "silence-after-headers") for stream in (True, False)]


async def test_silence_is_ended_and_another_upstream_asked(llm_world: World) -> None:
    async def is_ended(alias: AliasUnderTest, stream: bool) -> None:
        heard, fact = await llm_world.ask(alias, stream=stream)
        answered(heard, fact, stream)
        assert outcomes(fact) == ["broken", "completed"]
        assert fact.attempts[0].duration_ms >= 500
        await llm_world.call_ended(alias.models[0], "client_closed")

    aliases = [await llm_world.alias(fault, "") for fault, _ in SILENCES]
    await asyncio.gather(*(is_ended(alias, stream) for alias, (_, stream) in zip(aliases, SILENCES, strict=True)))


async def test_silence_of_every_upstream_is_told_in_time(llm_world: World) -> None:
    """Timeouts far longer than the deadline: the deadline is split over the tries."""

    async def is_told(alias: AliasUnderTest, stream: bool) -> None:
        heard, fact = await llm_world.ask(alias, stream=stream, seconds=1.6)
        refused(heard, fact, 504, "upstream_timeout")
        assert outcomes(fact) == ["broken", "broken"]
        assert fact.finished_at < fact.received_at + 1.6
        assert fact.attempts[0].duration_ms < 1_100

    long: dict[str, Any] = {"first_byte_timeout": 60.0, "whole_timeout": 60.0, "idle_timeout": 60.0}
    aliases = [await llm_world.alias(fault, fault, tries=1, **long) for fault, _ in SILENCES]
    await asyncio.gather(*(is_told(alias, stream) for alias, (_, stream) in zip(aliases, SILENCES, strict=True)))


async def test_keep_alive_comments_are_no_answer(llm_world: World) -> None:
    alias = await llm_world.alias("keepalive-50+silence-after-headers", "")
    heard, fact = await llm_world.ask(alias)
    answered(heard, fact, True)
    assert outcomes(fact) == ["broken", "completed"]


async def test_an_answer_that_is_not_streamed_may_take_longer_than_a_first_byte(llm_world: World) -> None:
    alias = await llm_world.alias("headers-500", first_byte_timeout=0.2, idle_timeout=0.2, whole_timeout=10.0)
    heard, fact = await llm_world.ask(alias, stream=False)
    answered(heard, fact, False)
    assert outcomes(fact) == ["completed"]


# -- refusals ---------------------------------------------------------------------------------------------------------


@both
async def test_a_refusal_is_not_tried_anywhere_else(llm_world: World, stream: bool) -> None:
    alias = await llm_world.alias("status-422", "")
    heard, fact = await llm_world.ask(alias, stream=stream)
    refused(heard, fact, 422, None)
    assert outcomes(fact) == ["refused"]
    assert await llm_world.calls(alias.models[1]) == []


@both
async def test_a_content_filter_refusal_is_passed_on_with_its_reason(llm_world: World, stream: bool) -> None:
    alias = await llm_world.alias("content-filter", "")
    heard, fact = await llm_world.ask(alias, stream=stream)
    told = refused(heard, fact, 400, "content_filter")
    assert told["message"] == "Your request was rejected as a result of our safety system."
    assert told["param"] == "prompt"
    assert await llm_world.calls(alias.models[1]) == []


async def test_a_content_filter_refusal_stays_one_whatever_its_status(llm_world: World) -> None:
    body = orjson.dumps({"error": {"message": "No.", "type": "invalid_request_error", "code": "content_filter"}})
    answer = b"HTTP/1.1 403 Forbidden\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
    async with scripted([answer, 0.1, body]) as upstream:
        alias = await llm_world.alias({"base_url": upstream.url}, "")
        heard, fact = await llm_world.ask(alias)
    assert refused(heard, fact, 403, "content_filter")["message"] == "No."


@both
async def test_what_is_too_long_goes_to_the_larger_alias(llm_world: World, stream: bool) -> None:
    larger = await llm_world.alias("status-500", "")
    alias = await llm_world.alias("context-length", "", larger=larger.name)
    heard, fact = await llm_world.ask(alias, stream=stream)
    answered(heard, fact, stream)
    assert outcomes(fact) == ["refused", "broken", "completed"]
    assert fact.model == alias.name
    assert fact.upstream == larger.upstreams[1]
    assert await llm_world.calls(alias.models[1]) == []


async def test_what_is_too_long_for_every_upstream_is_refused(llm_world: World) -> None:
    alias = await llm_world.alias("context-length", "context-length")
    heard, fact = await llm_world.ask(alias)
    refused(heard, fact, 400, "context_length_exceeded")
    assert outcomes(fact) == ["refused", "refused"]


# -- our own configuration --------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("status", [401, 403, 404])
async def test_our_own_misconfiguration_is_not_the_callers_fault(llm_world: World, status: int, stream: bool) -> None:
    alias = await llm_world.alias(f"status-{status}")
    heard, fact = await llm_world.ask(alias, stream=stream)
    told = refused(heard, fact, 502, "upstream_error")
    assert fact.attempts[0].error not in told["message"]
    # Asking the same upstream again would be to no purpose.
    assert [attempt.status for attempt in fact.attempts] == [status]


@both
@pytest.mark.parametrize("status", [401, 403, 404])
async def test_the_next_upstream_answers_for_a_misconfigured_one(llm_world: World, status: int, stream: bool) -> None:
    alias = await llm_world.alias(f"status-{status}", "")
    heard, fact = await llm_world.ask(alias, stream=stream)
    answered(heard, fact, stream)
    assert outcomes(fact) == ["broken", "completed"]


async def test_what_a_provider_says_about_our_key_stays_with_us(llm_world: World) -> None:
    alias = await llm_world.alias({"key_env": "LLM_TEST_REFUSED_KEY"})
    heard, fact = await llm_world.ask(alias)
    assert "sk-invalid" not in refused(heard, fact, 502, "upstream_error")["message"]
    assert fact.attempts[0].error == "Incorrect API key provided: [redacted]"


@both
async def test_an_upstream_without_its_key_is_passed_over(llm_world: World, stream: bool) -> None:
    alias = await llm_world.alias({"key_env": "LLM_TEST_NO_SUCH_KEY"}, "")
    heard, fact = await llm_world.ask(alias, stream=stream)
    answered(heard, fact, stream)


@both
async def test_a_provider_without_its_key_is_not_configured(llm_world: World, stream: bool) -> None:
    alias = await llm_world.alias({"key_env": "LLM_TEST_NO_SUCH_KEY"})
    for _ in range(7):  # more often than a breaker would bear
        heard, fact = await llm_world.ask(alias, stream=stream)
        told = refused(heard, fact, 503, "provider_unconfigured")
        assert "LLM_TEST_NO_SUCH_KEY" in told["message"]
    assert await llm_world.calls(alias.models[0]) == []


async def test_tools_go_to_an_upstream_that_can_call_them(llm_world: World) -> None:
    alias = await llm_world.alias({"capabilities": ["stream_usage", "done"]}, "")
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    _, fact = await llm_world.ask(alias, "How is the weather?", tools=tools)
    assert fact.upstream == alias.upstreams[1]
    assert fact.finish_reason == "tool_calls"
    none = await llm_world.alias({"capabilities": ["stream_usage", "done"]})
    assert refused(*await llm_world.ask(none, "The weather?", tools=tools), 400, None)["param"] == "tools"


async def test_a_redirect_is_not_followed(llm_world: World) -> None:
    async with scripted([sse(chunk("Stolen."), chunk(finish="stop"), b"[DONE]")]) as elsewhere:
        moved = b"HTTP/1.1 307 Moved\r\nlocation: %s/chat/completions\r\ncontent-length: 0\r\n\r\n"
        async with scripted([moved % elsewhere.url.encode()]) as upstream:
            alias = await llm_world.alias({"base_url": upstream.url}, "")
            heard, fact = await llm_world.ask(alias)
        answered(heard, fact, True)
        assert elsewhere.requests == []
