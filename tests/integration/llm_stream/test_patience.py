"""Silence is silence, whatever fills it; and where one upstream is all there is, it is waited for."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

import orjson
import pytest

from tests.support.llm_stream import HELLO_TEXT, Heard, World, chunk, messages, scripted

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


async def asked_beside_a_sound_one(
    world: World, answers: Mapping[str, Sequence[bytes | float]], *, stream: bool = True, **options: Any
) -> AsyncIterator[tuple[str, Heard, list[str]]]:
    """What is heard where the first upstream answers so and the second is well, and how its attempts ended.

    All are asked at the same time, since each is waited for.
    """
    async with AsyncExitStack() as stack:
        aliases = []
        for answer in answers.values():
            upstream = await stack.enter_async_context(scripted(answer))
            aliases.append(await world.alias({"base_url": upstream.url}, "", **options))
        asked = await asyncio.gather(*(world.ask(alias, stream=stream) for alias in aliases))
    for name, (heard, fact) in zip(answers, asked, strict=True):
        yield name, heard, [attempt.outcome for attempt in fact.attempts]


async def test_what_says_nothing_is_no_sign_of_life(llm_world: World) -> None:
    answers = {name: filled(EVENTS, filler=filler) for name, filler in FILLERS.items()}
    async for name, heard, outcomes in asked_beside_a_sound_one(llm_world, answers):
        assert (heard.text().lstrip(), heard.done) == (HELLO_TEXT, True), name
        assert outcomes == ["broken", "completed"], name


async def test_nor_is_it_in_the_middle_of_an_answer(llm_world: World) -> None:
    begin = messages(chunk("One is here. "))
    fillers = ("empty deltas", "comments", "no choices")
    answers = {name: filled(EVENTS, begin, filler=FILLERS[name]) for name in fillers}
    async for name, heard, outcomes in asked_beside_a_sound_one(llm_world, answers):
        assert (heard.text(), heard.done) == (HELLO_TEXT, True), name
        assert outcomes == ["broken", "completed"], name


async def test_the_limit_of_an_answer_that_comes_whole_holds_for_the_whole(llm_world: World) -> None:
    parts = {
        "white space": (b"", b" "),
        "lines": (b"", b"\r\n"),
        "white space within": (b'{"choices": [', b" "),
        "a drip": (b'{"id": "', b"a"),
    }
    answers = {name: filled(JSON + begin, filler=filler) for name, (begin, filler) in parts.items()}
    async for name, heard, outcomes in asked_beside_a_sound_one(llm_world, answers, stream=False, whole_timeout=1.0):
        assert heard.text() == HELLO_TEXT, name
        assert outcomes == ["broken", "completed"], name


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


async def test_the_only_upstream_is_waited_for(llm_world: World) -> None:
    """Its second try would have been kept back half of the deadline."""
    others: list[tuple[Any, ...]] = [(), ({"key_env": "LLM_TEST_NO_SUCH_KEY"},)]
    cases = [(beside, stream) for beside in others for stream in (True, False)]
    aliases = [await llm_world.alias(*beside, "headers-2200", **UNLIMITED) for beside, _ in cases]
    asked = await asyncio.gather(
        *(llm_world.ask(alias, stream=stream, seconds=4.0) for alias, (_, stream) in zip(aliases, cases, strict=True))
    )
    for alias, case, (heard, fact) in zip(aliases, cases, asked, strict=True):
        assert heard.text() == HELLO_TEXT, case
        assert [attempt.outcome for attempt in fact.attempts][-1] == "completed", case
        assert len(await llm_world.calls(alias.models[-1])) == 1, case


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
