"""Silence is silence, whatever fills it; and where one upstream is all there is, it is waited for."""

from typing import Any

import orjson
import pytest

from tests.support.llm_stream import HELLO_TEXT, World, chunk, messages, scripted

both = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n"
# No limit of the alias's own.
UNLIMITED = {"first_byte_timeout": None, "idle_timeout": None, "whole_timeout": None}
# What comes without end is longer than any turn of a test.
ENDLESS = 300
FILLERS = {
    "empty deltas": messages(chunk("")),
    "roles": messages(chunk("", role="assistant")),
    "null contents": messages({"choices": [{"index": 0, "delta": {"content": None}, "finish_reason": None}]}),
    "no choices": messages({"choices": [], "model": "m"}),
    "usage": messages({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 0}}),
    "pings": b'event: ping\ndata: {"type": "ping"}\n\n',
    "comments": b": OPENROUTER PROCESSING\n\n",
    "white space": messages(chunk(" "), chunk("\n")),
    "empty calls": messages(chunk(tool_calls=[])),
    "empty lines": b"\n",
}


def filled(*begin: bytes, filler: bytes) -> list[bytes | float]:
    """An answer that never ends and says nothing more."""
    return [*begin, *(step for _ in range(ENDLESS) for step in (filler, 0.1))]


@pytest.mark.parametrize("filler", FILLERS)
async def test_what_says_nothing_is_no_sign_of_life(llm_world: World, filler: str) -> None:
    async with scripted(filled(EVENTS, filler=FILLERS[filler])) as upstream:
        alias = await llm_world.alias({"base_url": upstream.url}, "")
        heard, fact = await llm_world.ask(alias)
    assert (heard.text().lstrip(), heard.done) == (HELLO_TEXT, True)
    assert [attempt.outcome for attempt in fact.attempts] == ["broken", "completed"]


@pytest.mark.parametrize("filler", ["empty deltas", "comments", "no choices"])
async def test_nor_is_it_in_the_middle_of_an_answer(llm_world: World, filler: str) -> None:
    begin = messages(chunk("One is here. "))
    async with scripted(filled(EVENTS, begin, filler=FILLERS[filler])) as upstream:
        alias = await llm_world.alias({"base_url": upstream.url}, "")
        heard, fact = await llm_world.ask(alias)
    assert (heard.text(), heard.done) == (HELLO_TEXT, True)
    assert [attempt.outcome for attempt in fact.attempts] == ["broken", "completed"]


@pytest.mark.parametrize(
    ("begin", "filler"),
    [(b"", b" "), (b"", b"\r\n"), (b'{"choices": [', b" "), (b'{"id": "', b"a")],
    ids=["white space", "lines", "white space within", "a drip"],
)
async def test_the_limit_of_an_answer_that_comes_whole_holds_for_the_whole(
    llm_world: World, begin: bytes, filler: bytes
) -> None:
    async with scripted(filled(JSON + begin, filler=filler)) as upstream:
        alias = await llm_world.alias({"base_url": upstream.url}, "", whole_timeout=1.0)
        heard, fact = await llm_world.ask(alias, stream=False)
    assert heard.text() == HELLO_TEXT
    assert [attempt.outcome for attempt in fact.attempts] == ["broken", "completed"]


async def test_white_space_before_a_whole_answer_does_it_no_harm(llm_world: World) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}
    body = orjson.dumps({"id": "x", "model": "m", "choices": [choice]})
    async with scripted([JSON, *(step for _ in range(8) for step in (b" \n", 0.1)), body]) as upstream:
        alias = await llm_world.alias({"base_url": upstream.url}, idle_timeout=0.3, whole_timeout=10.0)
        heard, fact = await llm_world.ask(alias, stream=False)
    assert (heard.text(), [attempt.outcome for attempt in fact.attempts]) == ("Hi.", ["completed"])


@pytest.mark.parametrize("others", [(), ("",)], ids=["alone", "beside another"])
async def test_a_server_that_has_said_all_and_does_not_hang_up_has_cut_nothing(
    llm_world: World, others: tuple[str, ...]
) -> None:
    said = messages(chunk("One is here."), chunk(finish="stop"))
    async with scripted([EVENTS + said, 30.0]) as upstream:
        alias = await llm_world.alias({"base_url": upstream.url}, *others)
        heard, fact = await llm_world.ask(alias)
    assert (heard.text(), heard.done, heard.finish_reasons()) == ("One is here.", True, ["stop"])
    assert [attempt.outcome for attempt in fact.attempts] == ["completed"]


# -- one upstream is all there is -------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    "others", [(), ({"key_env": "LLM_TEST_NO_SUCH_KEY"},)], ids=["alone", "beside one that is not set up"]
)
async def test_the_only_upstream_is_waited_for(llm_world: World, stream: bool, others: tuple[Any, ...]) -> None:
    """Its second try would have been kept back half of the deadline."""
    alias = await llm_world.alias(*others, "headers-2200", **UNLIMITED)
    heard, fact = await llm_world.ask(alias, stream=stream, seconds=4.0)
    assert heard.text() == HELLO_TEXT
    assert [attempt.outcome for attempt in fact.attempts][-1] == "completed"
    assert len(await llm_world.calls(alias.models[-1])) == 1


async def test_a_pause_of_the_only_upstream_is_waited_for(llm_world: World) -> None:
    first, rest = messages(chunk("One ")), messages(chunk("is here."), chunk(finish="stop"), b"[DONE]")
    async with scripted([EVENTS + first, 2.2, rest]) as upstream:
        alias = await llm_world.alias({"base_url": upstream.url}, **UNLIMITED)
        heard, fact = await llm_world.ask(alias, seconds=4.0)
    assert (heard.text(), heard.done) == ("One is here.", True)
    assert len(fact.attempts) == 1


async def test_the_deadline_decides_where_the_only_upstream_stays_silent(llm_world: World) -> None:
    alias = await llm_world.alias("silence", **UNLIMITED)
    heard, fact = await llm_world.ask(alias, seconds=1.5)
    assert (fact.error.status, fact.error.code) == (504, "upstream_timeout")
    assert heard.end["outcome"] == "failed"
    assert fact.finished_at < fact.received_at + 1.5


async def test_a_limit_that_the_alias_names_holds_for_the_only_upstream_too(llm_world: World) -> None:
    alias = await llm_world.alias("flaky-1+silence")
    heard, fact = await llm_world.ask(alias)
    assert heard.text() == HELLO_TEXT
    assert [attempt.outcome for attempt in fact.attempts] == ["broken", "completed"]


# -- slow, not dead ---------------------------------------------------------------------------------------------------


async def test_a_drip_is_slow_and_not_dead(llm_world: World) -> None:
    alias = await llm_world.alias("delay-300+chunks-5", "")
    heard, fact = await llm_world.ask(alias)
    assert heard.done
    assert [attempt.outcome for attempt in fact.attempts] == ["completed"]


async def test_a_drip_below_the_rate_of_the_alias_is_given_up(llm_world: World) -> None:
    begin = messages(chunk("One is here. "))
    async with scripted(filled(EVENTS, begin, filler=messages(chunk("x")))) as upstream:
        alias = await llm_world.alias({"base_url": upstream.url}, "", minimum_rate=100)
        heard, fact = await llm_world.ask(alias, seconds=60)
    assert (heard.text(), heard.done) == (HELLO_TEXT, True)
    assert [attempt.outcome for attempt in fact.attempts] == ["broken", "completed"]
    assert fact.attempts[0].error == "the answer came with less than 100 tokens a second"
