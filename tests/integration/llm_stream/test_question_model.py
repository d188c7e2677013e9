"""A follow-up question is searched for as a model writes it, in a running service: the test plays media."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from common.bus.request_reply import send_reply
from common.events.envelope import open_event
from common.events.keys import KeyBudget
from common.events.media_topics import MEDIA_QUERIES
from common.events.reply import Reply
from common.events.search import SEARCH_REQUESTED, SearchResults
from common.storage.key_budgets import KeyBudgets, Spent, nanos_of, period_of
from common.storage.resp import open_resp
from tests.support.found_passages import passage
from tests.support.llm_stream import VALKEY_DATABASE, World, scripted
from tests.support.service import numbered
from tests.support.set_cache import Sets
from tests.support.waiting import eventually

FOLLOW_UP: list[dict[str, Any]] = [
    {"role": "user", "content": "Which kettle is the quietest?"},
    {"role": "assistant", "content": "The Hush 2."},
    {"role": "user", "content": "And how much does it cost?"},
]
BY_RULES = "Which kettle is the quietest?\nAnd how much does it cost?"
BY_MODEL = "How much does the kettle Hush 2 cost?"
PRICE = {"input": 10.0, "output": 100.0}
METRIC = "sonant_chat_question_models_total"


@pytest.fixture
def redis_url(valkey_url: str) -> str:
    return numbered(valkey_url, VALKEY_DATABASE)


@asynccontextmanager
async def media(world: World, project: str) -> AsyncIterator[list[str]]:
    """Answers the searches of a project with one passage while the block runs; what was searched for."""
    queries: list[str] = []
    over = asyncio.Event()

    async def serve() -> None:
        after: dict[int, str] | None = None
        while not over.is_set():
            for record in await world.log.read(MEDIA_QUERIES, limit=500, after=after):
                after = {record.partition.number: record.offset}
                event = open_event(record, SEARCH_REQUESTED)
                if event.payload.project_id == project:
                    queries.append(event.payload.query)
                    send_reply(world.live, event, Reply(found(event.payload.mode)))
            await asyncio.sleep(0.01)

    serving = asyncio.create_task(serve())
    yield queries
    # A connection that is left in the middle of a command would stay open.
    over.set()
    await serving


def found(mode: Any) -> SearchResults:
    price = passage("The Hush 2 costs 40 euros.")
    return SearchResults(object="search.results", mode=mode, model="all-minilm-l6-v2", data=(price,), seconds={})


def written(text: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 90, "completion_tokens": 9, "total_tokens": 99}
    body = orjson.dumps({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage})
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


async def test_a_follow_up_is_searched_for_as_the_model_writes_it(llm_world: World, redis_url: str) -> None:
    async with scripted([written(BY_MODEL)]) as upstream:
        writer = await llm_world.alias({"base_url": upstream.url, "price": PRICE})
        alias = await llm_world.alias("")
        project = await Sets(redis_url).on({"retrieval": {"question_model": writer.name, "deadline_secs": 10}})
        async with media(llm_world, project) as queries:
            heard, fact = await llm_world.ask(alias, project_id=project, messages=FOLLOW_UP)
    assert queries == [BY_MODEL]
    assert (fact.retrieval.outcome, fact.retrieval.question_model) == ("used", "used")
    assert "x-sonant-sources" in (heard.headers or {})
    [question] = upstream.requests
    assert question["temperature"] == 0
    assert "assistant: The Hush 2." in question["messages"][-1]["content"]
    [call] = await llm_world.calls(alias.models[0])
    assert "40 euros" in call["body"]["messages"][-1]["content"]
    assert BY_MODEL not in str(call["body"])
    asked = await llm_world.fact_within(fact.request_id)
    assert (asked.model, asked.org_id, asked.key_id) == (writer.name, fact.org_id, fact.key_id)
    assert (asked.usage.total_tokens, asked.cost_usd) == (99, pytest.approx(0.0018))


@pytest.mark.parametrize(("faults", "outcome"), [("silence", "late"), ("status-500", "failed")])
async def test_a_model_that_does_not_write_leaves_the_question_to_the_rules_in_time(
    llm_world: World, redis_url: str, faults: str, outcome: str
) -> None:
    # Its own patience is longer than that of the search.
    writer, alias = await llm_world.alias(faults, whole_timeout=None), await llm_world.alias("")
    project = await Sets(redis_url).on({"retrieval": {"question_model": writer.name, "deadline_secs": 3.0}})
    before = await llm_world.metric(METRIC, f'outcome="{outcome}"')
    async with media(llm_world, project) as queries:
        heard, fact = await llm_world.ask(alias, project_id=project, messages=FOLLOW_UP)
    assert heard.finish_reasons() == ["stop"]
    assert queries == [BY_RULES]
    assert (fact.retrieval.outcome, fact.retrieval.question_model) == ("used", outcome)
    assert fact.retrieval.seconds < 3.0
    assert await llm_world.metric(METRIC, f'outcome="{outcome}"') == before + 1
    assert len(await llm_world.calls(writer.models[0])) == 1


async def test_without_the_setting_nothing_is_asked(llm_world: World, redis_url: str) -> None:
    alias = await llm_world.alias("")
    project = await Sets(redis_url).on({"retrieval": {"deadline_secs": 10}})
    async with media(llm_world, project) as queries:
        _, fact = await llm_world.ask(alias, project_id=project, messages=FOLLOW_UP)
    assert queries == [BY_RULES]
    assert (fact.retrieval.outcome, fact.retrieval.question_model) == ("used", None)
    assert len(await llm_world.calls(alias.models[0])) == 1


async def test_what_the_model_costs_is_spent_of_the_budget_of_the_key(llm_world: World, redis_url: str) -> None:
    # It leases what it may say, and leaves the rest to the answer.
    budget = KeyBudget(id=f"key-{uuid.uuid4().hex[:8]}", period="day", tokens=1_000, usd=1.0)
    async with scripted([written(BY_MODEL)]) as upstream, open_resp(redis_url) as connection:
        writer = await llm_world.alias({"base_url": upstream.url, "price": PRICE})
        alias = await llm_world.alias({"price": PRICE})
        project = await Sets(redis_url).on({"retrieval": {"question_model": writer.name, "deadline_secs": 10}})
        async with media(llm_world, project) as queries:
            _, fact = await llm_world.ask(alias, project_id=project, messages=FOLLOW_UP, budget=budget)
        asked = await llm_world.fact_within(fact.request_id)
        assert queries == [BY_MODEL]
        used = fact.usage.prompt_tokens + fact.usage.completion_tokens + 99
        cost = nanos_of(fact.cost_usd) + nanos_of(asked.cost_usd)
        spent = KeyBudgets(connection).spent

        async def settled() -> bool:
            return await spent("org-1", budget, period_of(budget, time.time())) == Spent(used, cost)

        await eventually(settled)
