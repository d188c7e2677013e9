"""Whom llm-stream asks next, and what it reports where nobody answers."""

import asyncio
from typing import Any

import orjson
import pytest

from tests.support.llm_stream import HELLO_TEXT, AliasUnderTest, World, chunk, messages, scripted

both = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])


def outcomes(fact: Any) -> list[str]:
    return [attempt.outcome for attempt in fact.attempts]


def asked(alias: Any, fact: Any) -> str:
    """The upstreams that were asked, as letters in the order of the alias."""
    return "".join("abcde"[alias.upstreams.index(attempt.upstream)] for attempt in fact.attempts)


# -- refusals after failures, and what is too long --------------------------------------------------------------------


@both
async def test_a_refusal_after_a_failure_retires_the_one_that_refused(llm_world: World, stream: bool) -> None:
    alias = await llm_world.alias("flaky-1+status-500", "status-400")
    heard, fact = await llm_world.ask(alias, stream=stream)
    assert heard.text() == HELLO_TEXT
    assert outcomes(fact) == ["broken", "refused", "completed"]
    assert asked(alias, fact) == "aba"


@both
@pytest.mark.parametrize("refusal", ["status-400", "status-422", "context-length"])
@pytest.mark.parametrize(("fault", "status"), [("status-500", 502), ("status-429", 429), ("reset", 502)])
async def test_a_refusal_is_reported_only_where_nobody_failed_otherwise(
    llm_world: World, fault: str, status: int, refusal: str, stream: bool
) -> None:
    alias = await llm_world.alias(fault, refusal, tries=1)
    heard, fact = await llm_world.ask(alias, stream=stream)
    assert (heard.end["error"]["status"], fact.error.status) == (status, status)
    assert asked(alias, fact) == "ab"


async def test_one_that_is_not_set_up_explains_less_than_a_refusal(llm_world: World) -> None:
    alias = await llm_world.alias({"key_env": "LLM_TEST_NO_SUCH_KEY"}, "status-422")
    heard, fact = await llm_world.ask(alias)
    assert heard.end["error"]["status"] == 422
    assert asked(alias, fact) == "ab"


async def test_what_is_filtered_stays_so_after_a_failure(llm_world: World) -> None:
    alias = await llm_world.alias("status-500", "content-filter", "")
    heard, fact = await llm_world.ask(alias)
    assert heard.end["error"]["code"] == "content_filter"
    assert asked(alias, fact) == "ab"


@both
async def test_what_is_too_long_for_one_is_offered_to_the_others(llm_world: World, stream: bool) -> None:
    alias = await llm_world.alias("context-length", "")
    heard, fact = await llm_world.ask(alias, stream=stream)
    assert heard.text() == HELLO_TEXT
    assert outcomes(fact) == ["refused", "completed"]


@pytest.mark.parametrize(
    ("second", "status", "code"),
    [("status-422", 400, "context_length_exceeded"), ("status-500", 502, "upstream_error"), ("quota", 429, None)],
)
async def test_what_explains_most_is_reported(llm_world: World, second: str, status: int, code: str | None) -> None:
    alias = await llm_world.alias("context-length", second, tries=1)
    heard, fact = await llm_world.ask(alias)
    assert heard.end["error"]["status"] == status
    assert fact.error.code == code or code is None
    assert asked(alias, fact) == "ab"


async def test_the_failure_of_a_continuation_is_not_what_is_reported(llm_world: World) -> None:
    alias = await llm_world.alias("cut-after-7", "status-429", tries=1)
    heard, fact = await llm_world.ask(alias)
    assert heard.error is not None
    assert (fact.error.status, fact.error.code) == (502, "upstream_error")
    assert outcomes(fact) == ["broken", "busy"]


# -- what an alias may want -------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("fault", ["status-500", "status-503", "html-502"])
async def test_the_first_upstream_is_tried_again_first_where_the_alias_wants_it(
    llm_world: World, fault: str, stream: bool
) -> None:
    alias = await llm_world.alias(f"flaky-1+{fault}", "", retry_first=2)
    heard, fact = await llm_world.ask(alias, stream=stream)
    assert heard.text() == HELLO_TEXT
    assert asked(alias, fact) == "aa"


@pytest.mark.parametrize(("retry_first", "order"), [(0, "ab"), (1, "ab"), (2, "aab"), (3, "aaab")])
async def test_the_next_one_is_asked_when_the_first_had_its_tries(
    llm_world: World, retry_first: int, order: str
) -> None:
    alias = await llm_world.alias("status-500", "", retry_first=retry_first)
    _, fact = await llm_world.ask(alias)
    assert asked(alias, fact) == order


async def test_a_first_upstream_that_is_not_set_up_has_one_try(llm_world: World) -> None:
    alias = await llm_world.alias("status-401", "", retry_first=3)
    _, fact = await llm_world.ask(alias)
    assert asked(alias, fact) == "ab"


@pytest.mark.parametrize(("worth", "order"), [(0, "ab"), (0.5, "ab"), (2, "aa")])
async def test_a_rate_limit_is_waited_for_where_the_alias_finds_it_worth(
    llm_world: World, worth: float, order: str
) -> None:
    alias = await llm_world.alias("flaky-1+status-429-ra-1", "", wait_for_rate_limit=worth)
    heard, fact = await llm_world.ask(alias)
    assert heard.text() == HELLO_TEXT
    assert asked(alias, fact) == order
    if order == "aa":
        first, second = await llm_world.calls(alias.models[0])
        assert second["at"] - first["at"] >= 1.0


async def test_a_rate_limit_past_the_deadline_is_not_waited_for(llm_world: World) -> None:
    alias = await llm_world.alias("status-429-ra-60", "", wait_for_rate_limit=100)
    _, fact = await llm_world.ask(alias, seconds=5.0)
    assert asked(alias, fact) == "ab"


# -- Retry-After of a server that failed ------------------------------------------------------------------------------


async def test_a_retry_after_of_a_server_that_failed_is_kept(llm_world: World) -> None:
    async def is_kept(alias: AliasUnderTest, stream: bool) -> None:
        heard, fact = await llm_world.ask(alias, stream=stream)
        assert heard.text() == HELLO_TEXT
        assert outcomes(fact) == ["broken", "completed"]
        first, second = await llm_world.calls(alias.models[0])
        assert second["at"] - first["at"] >= 1.0

    cases = [(status, stream) for status in (500, 503, 529) for stream in (True, False)]
    aliases = [await llm_world.alias(f"flaky-1+status-{status}-ra-1") for status, _ in cases]
    await asyncio.gather(*(is_kept(alias, stream) for alias, (_, stream) in zip(aliases, cases, strict=True)))


async def test_a_retry_after_past_the_deadline_is_the_callers(llm_world: World) -> None:
    alias = await llm_world.alias("status-503-ra-30")
    heard, _ = await llm_world.ask(alias, seconds=5.0)
    assert heard.end["error"]["status"] == 502
    assert 29 < heard.end["error"]["retry_after"] <= 30
    again, fact = await llm_world.ask(alias, seconds=5.0)
    # It is no rate limit.
    assert (again.end["error"]["status"], again.end["error"]["code"]) == (503, "upstreams_unavailable")
    assert 28 < again.end["error"]["retry_after"] <= 30
    assert fact.attempts == ()


# -- kept connections -------------------------------------------------------------------------------------------------


def kept(stream: bool) -> bytes:
    """A whole answer on a connection that is kept."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}
    body = orjson.dumps({"id": "x", "model": "m", "choices": [choice]})
    if stream:
        body = messages(chunk("Hi."), chunk(finish="stop"), b"[DONE]")
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body


@both
async def test_a_kept_connection_that_was_closed_meanwhile_is_nobodys_failure(llm_world: World, stream: bool) -> None:
    """The server closes the connection it has kept in the moment of the second request."""
    async with scripted([kept(stream)], [b""], [kept(stream)]) as upstream:
        alias = await llm_world.alias({"base_url": upstream.url}, tries=1)
        for _ in range(2):
            heard, fact = await llm_world.ask(alias, stream=stream)
            assert heard.text() == "Hi."
            assert outcomes(fact) == ["completed"]
        assert (upstream.connections, len(upstream.requests)) == (2, 3)


async def test_a_new_connection_that_is_closed_is_a_failure(llm_world: World) -> None:
    async with scripted([kept(True)], [b""], [b""], [kept(True)]) as upstream:
        alias = await llm_world.alias({"base_url": upstream.url}, tries=1)
        await llm_world.ask(alias)
        _, fact = await llm_world.ask(alias)
        assert outcomes(fact) == ["broken"]
        assert (upstream.connections, len(upstream.requests)) == (2, 3)
