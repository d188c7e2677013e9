"""The budget of a key within the stream: leased, cut at the end of a sentence, settled by what an answer cost."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from common.events.keys import KeyBudget
from common.events.token_estimate import answer_tokens
from common.storage.key_budgets import BudgetedTurn, KeyBudgets, Spent, Wanted, nanos_of, period_of
from common.storage.resp import Resp, open_resp
from llm_stream.answer.gate import MAX_WAITING
from tests.support.llm_stream import (
    PATIENCE,
    VALKEY_DATABASE,
    World,
    alias_table,
    scripted,
    sse,
)
from tests.support.llm_stream import chunk as a_chunk
from tests.support.service import numbered

# Ten tokens a sentence, a word each.
SENTENCE = "One two three four five six seven eight nine ten. "
SENTENCE_TOKENS = 13
LONG = "Say: " + SENTENCE * 60
PRICE = {"input": 1.0, "output": 2.0}


def a_budget(tokens: int | None = None, usd: float | None = None) -> KeyBudget:
    return KeyBudget(id=f"key-{uuid.uuid4().hex[:8]}", period="day", tokens=tokens, usd=usd)


@pytest.fixture
async def store(valkey_url: str) -> AsyncIterator[KeyBudgets]:
    """Where the service under test counts."""
    async with open_resp(urlsplit(valkey_url)._replace(path=f"/{VALKEY_DATABASE}").geturl()) as connection:
        yield KeyBudgets(connection)


async def spent(store: KeyBudgets, budget: KeyBudget) -> Spent:
    return await store.spent("org-1", budget, period_of(budget, time.time()))


def ends_a_sentence(text: str) -> bool:
    return text.rstrip().endswith(".")


async def test_an_answer_within_its_budget_is_whole_and_costs_what_it_used(llm_world: World, store: KeyBudgets) -> None:
    alias, budget = await llm_world.alias({"price": PRICE}), a_budget(tokens=100_000, usd=1.0)
    heard, fact = await llm_world.ask(alias, budget=budget)
    assert heard.finish_reasons() == ["stop"]
    assert fact.ended_by is None
    used = fact.usage.prompt_tokens + fact.usage.completion_tokens
    assert await spent(store, budget) == Spent(used, nanos_of(fact.cost_usd))
    assert fact.cost_usd > 0


async def test_an_answer_ends_at_a_sentence_when_the_budget_is_spent(llm_world: World, store: KeyBudgets) -> None:
    alias, budget = await llm_world.alias(""), a_budget(tokens=1_200)
    heard, fact = await llm_world.ask(alias, LONG, budget=budget)
    assert heard.finish_reasons() == ["length"]
    assert heard.done
    assert heard.chunks[-1]["sonant"] == {"ended_by": "budget"}
    assert ends_a_sentence(heard.text())
    assert LONG.removeprefix("Say: ").startswith(heard.text())
    assert fact.ended_by == "budget"
    assert fact.finish_reason == "length"
    said = answer_tokens(len(heard.text().split()), len(heard.text()))
    assert 1_200 - 100 <= fact.usage.prompt_tokens + said <= 1_200 + SENTENCE_TOKENS
    # What it had leased for nothing is given back.
    assert (await spent(store, budget)).tokens == fact.usage.prompt_tokens + fact.usage.completion_tokens


async def test_money_is_a_budget_too(llm_world: World, store: KeyBudgets) -> None:
    alias, budget = await llm_world.alias({"price": PRICE, "faults": "delay-1"}), a_budget(usd=0.0015)
    _, fact = await llm_world.ask(alias, LONG, budget=budget)
    assert fact.ended_by == "budget"
    assert fact.cost_usd <= 0.0015 + SENTENCE_TOKENS * PRICE["output"] / 1_000_000
    assert (await spent(store, budget)).nanos == nanos_of(fact.cost_usd)
    # Nobody goes on generating what nobody hears.
    await llm_world.call_ended(alias.models[0], "client_closed")


@pytest.mark.parametrize("stream", [True, False])
async def test_nothing_is_asked_once_it_is_spent(llm_world: World, store: KeyBudgets, stream: bool) -> None:
    alias, budget = await llm_world.alias(""), a_budget(tokens=50)
    wanted = Wanted(fixed_tokens=50)
    await store.lease(BudgetedTurn("org-1", budget, period_of(budget, time.time()), "another"), wanted, anew=True)
    _, fact = await llm_world.ask(alias, budget=budget, stream=stream)
    assert (fact.error.status, fact.error.code) == (429, "insufficient_quota")
    assert await llm_world.calls(alias.models[0]) == []
    assert (await spent(store, budget)).tokens == 50


async def test_an_answer_in_one_piece_is_as_long_as_the_budget_allows(llm_world: World, store: KeyBudgets) -> None:
    alias, budget = await llm_world.alias(""), a_budget(tokens=1_200)
    heard, fact = await llm_world.ask(alias, LONG, budget=budget, stream=False)
    [call] = await llm_world.calls(alias.models[0])
    assert 0 < call["body"]["max_tokens"] < 1_200
    assert heard.finish_reasons() == ["length"]
    total = fact.usage.prompt_tokens + fact.usage.completion_tokens
    assert (await spent(store, budget)).tokens == total


async def test_what_fails_costs_nothing(llm_world: World, store: KeyBudgets) -> None:
    alias, budget = await llm_world.alias("status-500", tries=1), a_budget(tokens=10_000)
    _, fact = await llm_world.ask(alias, budget=budget)
    assert fact.error.status == 502
    assert (await spent(store, budget)).tokens == 0


async def test_what_is_interrupted_costs_what_was_generated(llm_world: World, store: KeyBudgets) -> None:
    alias, budget = await llm_world.alias("stall-after-5"), a_budget(tokens=10_000)
    async with llm_world.turn(alias, LONG, budget=budget) as turn:
        await turn.hears(4)
        leased = (await spent(store, budget)).tokens
        await llm_world.stop(turn)
        await turn.ended()
    fact = await llm_world.fact(turn.id)
    total = fact.usage.prompt_tokens + fact.usage.completion_tokens
    assert leased > total
    assert (await spent(store, budget)).tokens == total


async def test_a_burst_that_outruns_its_lease_waits_for_the_next_one(llm_world: World, store: KeyBudgets) -> None:
    """All of it comes in one read, so nothing can be leased in between."""
    words = [f"{word} " for word in (SENTENCE * 80).split()]
    body = sse(*(a_chunk(word) for word in words), a_chunk(finish="stop"), b"[DONE]")
    async with scripted([body]) as upstream:
        alias = await llm_world.alias({"base_url": upstream.url})
        heard, fact = await llm_world.ask(alias, budget=a_budget(tokens=100_000))
        assert heard.text() == "".join(words)
    async with scripted([body]) as upstream:
        alias = await llm_world.alias({"base_url": upstream.url})
        heard, fact = await llm_world.ask(alias, budget=a_budget(tokens=500))
        assert fact.ended_by == "budget"
        assert ends_a_sentence(heard.text())
        assert len(heard.text().split()) <= 500 + SENTENCE_TOKENS
        said = answer_tokens(len(heard.text().split()), len(heard.text()))
        # Of what came behind the lease no more is taken, and counted, than may wait.
        assert said <= fact.usage.completion_tokens <= said + 2 * MAX_WAITING


async def test_two_processes_on_one_key_exceed_it_by_a_sentence_at_most(
    llm_world: World, store: KeyBudgets, valkey_url: str
) -> None:
    urls = numbered(valkey_url, VALKEY_DATABASE + 1), numbered(valkey_url, VALKEY_DATABASE)
    paced = "delay-2"
    alias = await llm_world.alias(paced)
    table = alias_table("second", [llm_world._upstream("second", 0, paced)], PATIENCE)
    async with llm_world.second("llm-second", table, urls) as second:
        for _ in range(2):
            budget = a_budget(tokens=7_000)
            asked = [
                world.ask(name, LONG, budget=budget)
                for world, name in ((llm_world, alias), (second, "second"))
                for _ in range(3)
            ]
            facts = [fact for _, fact in await asyncio.gather(*asked)]
            assert any(fact.ended_by == "budget" for fact in facts)
            total = sum(fact.usage.prompt_tokens + fact.usage.completion_tokens for fact in facts)
            assert 7_000 - 6 * 100 <= total <= 7_000 + SENTENCE_TOKENS
            assert (await spent(store, budget)).tokens == total


async def test_leases_of_many_never_exceed_the_budget(valkey_url: str) -> None:
    """The store alone: leases at random, settled or not."""
    url = urlsplit(valkey_url)._replace(path=f"/{VALKEY_DATABASE}").geturl()
    budget = a_budget(tokens=5_000, usd=0.02)
    period = period_of(budget, time.time())
    connections = [Resp(url) for _ in range(2)]
    stores = [KeyBudgets(connection) for connection in connections]

    async def taken(number: int) -> int:
        store, total = stores[number % 2], 0
        for round in range(6):
            wanted = Wanted(10 if not round else 0, 0, 200, 1, 2_000.0, 80)
            granted, now = await store.lease(
                BudgetedTurn("org-1", budget, period, f"r{number}"), wanted, anew=not round
            )
            assert now.tokens <= 5_000
            assert now.nanos <= nanos_of(0.02)
            if granted is None:
                break
            total += granted + wanted.fixed_tokens
        return total

    totals = await asyncio.gather(*(taken(number) for number in range(20)))
    assert sum(totals) == (await stores[0].spent("org-1", budget, period)).tokens <= 5_000
    for number in range(20):
        assert await stores[0].settle(BudgetedTurn("org-1", budget, period, f"r{number}"), 1, 5) == (totals[number] > 0)
        assert not await stores[1].settle(BudgetedTurn("org-1", budget, period, f"r{number}"), 1, 5)
    settled = sum(total > 0 for total in totals)
    assert await stores[0].spent("org-1", budget, period) == Spent(settled, 5 * settled)
    for connection in connections:
        connection.close()


async def test_a_request_answered_anew_gives_back_what_its_dead_answerer_had_leased(store: KeyBudgets) -> None:
    budget = a_budget(tokens=1_000)
    period = period_of(budget, time.time())
    for _ in range(5):
        granted, now = await store.lease(
            BudgetedTurn("org-1", budget, period, "r"), Wanted(100, most=600, least=1), anew=True
        )
        assert (granted, now.tokens) == (600, 700)
