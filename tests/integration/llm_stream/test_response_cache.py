"""Exact repeats are answered from the cache: whole and streamed, once at a time, and for one organisation alone."""

import asyncio
import uuid
from typing import Any

import pytest

from common.events.keys import KeyBudget
from common.storage.resp import open_resp
from llm_stream.adapters.redis_answer_cache import RedisAnswerCache
from tests.support.llm_stream import PATIENCE, VALKEY_DATABASE, AliasUnderTest, World, alias_table
from tests.support.service import numbered
from tests.support.waiting import eventually

TEXT = "One is here. Two is here."


def question() -> str:
    """One that nobody has asked before."""
    return f"Say: {TEXT} {uuid.uuid4().hex}"


async def asked(world: World, alias: AliasUnderTest) -> int:
    return len(await world.calls(alias.models[0]))


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("second", [True, False])
async def test_a_repeat_is_answered_with_what_was_said_before(llm_world: World, first: bool, second: bool) -> None:
    alias, said = await llm_world.alias({"price": {"input": 1.0, "output": 1.0}}, cache_seconds=60), question()
    heard, fact = await llm_world.ask(alias, said, stream=first)
    assert (heard.headers or {})["x-sonant-cache"] == "miss"
    assert fact.cache == "miss"
    assert fact.cost_usd > 0
    again, repeat = await llm_world.ask(alias, said, stream=second, stream_options={"include_usage": True})
    assert again.text() == heard.text() == said.removeprefix("Say: ")
    assert (again.headers or {})["x-sonant-cache"] == "hit"
    assert again.finish_reasons() == ["stop"]
    assert (repeat.cache, repeat.served_by, repeat.cost_usd, repeat.upstream) == ("hit", "cache", 0.0, None)
    assert repeat.usage.total_tokens == 0
    told = again.whole["usage"] if again.whole else again.chunks[-1]["usage"]
    assert told["total_tokens"] == fact.usage.total_tokens
    assert await asked(llm_world, alias) == 1


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_others_look_at_is_kept_as_well(llm_world: World, stream: bool) -> None:
    alias, said = await llm_world.alias("", cache_seconds=60, moderation=["input", "output"]), question()
    budget = KeyBudget(id=uuid.uuid4().hex, period="day", tokens=10_000)
    outcomes = []
    for _ in range(2):
        heard, fact = await llm_world.ask(alias, said, stream=stream, budget=budget)
        assert heard.text() == said.removeprefix("Say: ")
        outcomes.append(fact.cache)
    assert outcomes == ["miss", "hit"]
    # What was cut is no answer to keep.
    flagged = f"Say: {TEXT} {uuid.uuid4().hex}. And vermin came."
    only_output = await llm_world.alias("", cache_seconds=60, moderation=["output"])
    for _ in range(2):
        _, fact = await llm_world.ask(only_output, flagged, stream=stream)
        assert (fact.cache, fact.ended_by) == ("miss", "moderation")


async def test_without_an_alias_or_a_request_that_wants_it_nothing_is_kept(llm_world: World) -> None:
    alias, said = await llm_world.alias(""), question()
    for _ in range(2):
        heard, fact = await llm_world.ask(alias, said)
        assert "x-sonant-cache" not in (heard.headers or {})
        assert fact.cache is None
    assert await asked(llm_world, alias) == 2
    for wanted, outcome in (("on", "miss"), ("on", "hit"), ("refresh", "refresh"), ("on", "hit"), ("off", None)):
        _, fact = await llm_world.ask(alias, said, cache=wanted)
        assert fact.cache == outcome
    _, fact = await llm_world.ask(alias, said, cache="bypass")
    assert fact.cache is None
    assert await asked(llm_world, alias) == 6


async def test_an_alias_that_keeps_answers_is_bypassed(llm_world: World) -> None:
    alias, said = await llm_world.alias("", cache_seconds=60), question()
    outcomes = [(await llm_world.ask(alias, said, cache=wanted))[1].cache for wanted in (None, "bypass", "off", None)]
    assert outcomes == ["miss", "refresh", None, "hit"]


async def test_organisations_share_nothing(llm_world: World) -> None:
    alias, said = await llm_world.alias("", cache_seconds=60), question()
    outcomes = [(await llm_world.ask(alias, said, org_id=org))[1].cache for org in ("org-1", "org-2", "org-1")]
    assert outcomes == ["miss", "miss", "hit"]


@pytest.mark.parametrize(
    "changes",
    [{"temperature": 0.5}, {"messages": [{"role": "system", "content": "Be brief."}]}, {"max_tokens": 7}, {"seed": 1}],
)
async def test_whatever_an_upstream_is_asked_differently_is_no_repeat(
    llm_world: World, changes: dict[str, Any]
) -> None:
    alias, said = await llm_world.alias("", cache_seconds=60), question()
    await llm_world.ask(alias, said)
    if "messages" in changes:
        changes = {"messages": [*changes["messages"], {"role": "user", "content": said}]}
    _, fact = await llm_world.ask(alias, said, **changes)
    assert fact.cache == "miss"


async def test_what_platforms_put_beside_the_words_is_no_difference(llm_world: World) -> None:
    alias, said = await llm_world.alias("", cache_seconds=60), question()
    for outcome, begin in (("miss", 100), ("hit", 9_000)):
        spoken = {"role": "user", "content": said, "time": {"begin": begin, "end": begin + 10}}
        _, fact = await llm_world.ask(alias, messages=[spoken], custom_session_id=str(begin))
        assert fact.cache == outcome


@pytest.mark.parametrize("faults", ["reasoning-3", "refusal", "content-filter-finish", "cut-after-3"])
async def test_what_is_no_plain_whole_text_is_not_kept(llm_world: World, faults: str) -> None:
    alias, said = await llm_world.alias(faults, cache_seconds=60, tries=1), question()
    for _ in range(2):
        _, fact = await llm_world.ask(alias, said)
        assert fact.cache == "miss"


async def test_turns_with_several_choices_or_tools_of_ours_are_not_kept(llm_world: World) -> None:
    alias = await llm_world.alias("", cache_seconds=60)
    for options in ({"n": 2}, {"logprobs": True}):
        _, fact = await llm_world.ask(alias, question(), **options)
        assert fact.cache is None
    with_tools = await llm_world.alias("", cache_seconds=60, tools=["current_time"])
    _, fact = await llm_world.ask(with_tools, question())
    assert fact.cache is None


async def test_many_at_once_are_asked_of_an_upstream_once(llm_world: World) -> None:
    alias, said = await llm_world.alias("first-200", cache_seconds=60), question()
    turns = [llm_world.ask(alias, said, stream=bool(number % 2)) for number in range(12)]
    heard = await asyncio.gather(*turns)
    assert sorted(fact.cache for _, fact in heard) == ["hit"] * 11 + ["miss"]
    assert {each.text() for each, _ in heard} == {said.removeprefix("Say: ")}
    assert await asked(llm_world, alias) == 1


async def test_two_processes_ask_once_as_well(llm_world: World, valkey_url: str) -> None:
    urls = numbered(valkey_url, VALKEY_DATABASE + 1), numbered(valkey_url, VALKEY_DATABASE)
    alias, said = await llm_world.alias("first-300", cache_seconds=60), question()
    upstream = llm_world._upstream(alias.name, 0, "first-300")
    table = alias_table(alias.name, [upstream], {**PATIENCE, "cache_seconds": 60})
    async with llm_world.second("llm-cached", table, urls) as second:
        turns = [world.ask(alias, said) for world in (llm_world, second) for _ in range(3)]
        heard = await asyncio.gather(*turns)
    assert sorted(fact.cache for _, fact in heard) == ["hit"] * 5 + ["miss"]
    assert await asked(llm_world, alias) == 1


async def test_a_leader_who_leaves_hands_over(llm_world: World) -> None:
    alias, said = await llm_world.alias("first-300", cache_seconds=60), question()
    async with llm_world.turn(alias, said) as turn:
        await eventually(lambda: asked(llm_world, alias))
        waiting = asyncio.gather(*(llm_world.ask(alias, said) for _ in range(3)))
        await llm_world.stop(turn)
        await turn.ended()
        facts = [fact for _, fact in await waiting]
    assert sorted(fact.cache for fact in facts) == ["hit", "hit", "miss"]
    assert await asked(llm_world, alias) == 2


async def test_those_who_waited_for_nothing_ask_at_once(llm_world: World) -> None:
    """The answer is none that can be kept: nobody waits for a second one of its kind."""
    alias, said = await llm_world.alias("reasoning-3+first-300", cache_seconds=60), question()
    heard = await asyncio.gather(*(llm_world.ask(alias, said) for _ in range(5)))
    assert [fact.cache for _, fact in heard] == ["miss"] * 5
    calls = await llm_world.calls(alias.models[0])
    assert len(calls) == 5


async def test_an_entry_ends_with_its_time(llm_world: World) -> None:
    alias, said = await llm_world.alias("", cache_seconds=0.2), question()
    await llm_world.ask(alias, said)

    async def ended() -> bool:
        _, fact = await llm_world.ask(alias, said)
        return bool(fact.cache == "miss")

    await eventually(ended)


async def test_what_is_kept_is_bounded_in_all_and_for_each_organisation(valkey_url: str) -> None:
    async with open_resp(valkey_url) as connection:
        await connection.execute("UNLINK", *[f"sonant:{{answers}}:{name}" for name in ("all", "known", "bytes")])
        cache = RedisAnswerCache(connection, max_bytes=8_000)
        value = b"x" * 500
        for org in ("a", "b", "c", "d", "e", "f"):
            for number in range(10):
                await cache.put(org, f"{org}{number}", value, 60)
            kept = [number for number in range(10) if await cache.get(f"{org}{number}") is not None]
            # A quarter of the whole; the newest are there.
            assert kept == [6, 7, 8, 9]
        # Four organisations fill it: those of the first two have gone.
        assert [org for org in "abcdef" if await cache.get(f"{org}9") is not None] == ["c", "d", "e", "f"]
        sizes = await connection.execute("HGETALL", "sonant:{answers}:bytes")
        told = dict(zip(sizes[::2], map(int, sizes[1::2]), strict=True))
        assert told[b""] == 8_000 == sum(size for org, size in told.items() if org)
        # Too large for any: what was there goes, since it is out of date.
        await cache.put("f", "f9", b"x" * 3_000, 60)
        assert await cache.get("f9") is None
        assert await cache.take("k", "one", 5)
        assert not await cache.take("k", "two", 5)
        await cache.release("k", "two")
        assert not await cache.take("k", "two", 5)
        await cache.release("k", "one")
        assert await cache.take("k", "two", 5)
