"""Embeddings in llm-stream: the life, the failover and the facts of a chat turn, and vectors as they came."""

import base64
from contextlib import AsyncExitStack
from typing import Any

import orjson
import pytest

from common.bus.live.kept_bodies import open_kept_bodies
from tests.support.llm_stream import VALKEY_DATABASE, Heard, World, chunk, scripted, sse
from tests.support.service import numbered
from tests.support.waiting import eventually

VECTORS: dict[str, Any] = {"serves": "embeddings"}
SEVERAL = {**VECTORS, "same_vectors": True}


def answered(heard: Heard, fact: Any) -> list[Any]:
    """The client got every vector, and the fact says so; returns them."""
    assert heard.whole is not None
    assert heard.end["outcome"] == "completed"
    assert fact.spec.type == "embeddings.completed"
    payload = fact.payload
    assert payload.attempts[-1].outcome == "completed"
    assert heard.end["usage"]["total_tokens"] == payload.usage.total_tokens == payload.usage.prompt_tokens > 0
    assert heard.whole["usage"]["total_tokens"] == payload.usage.total_tokens
    assert payload.usage.completion_tokens == 0
    assert [each["index"] for each in heard.whole["data"]] == list(range(len(heard.whole["data"])))
    return [each["embedding"] for each in heard.whole["data"]]


def refused(heard: Heard, fact: Any, status: int, code: str | None) -> dict[str, Any]:
    """The client got an error, and the fact says the same; returns what the gateway is told."""
    assert len(heard.frames) == 1
    told: dict[str, Any] = heard.end["error"]
    assert (told["status"], told["code"]) == (status, code)
    assert fact.spec.type == "embeddings.failed"
    assert (fact.payload.error.status, fact.payload.error.message) == (status, told["message"])
    assert fact.payload.usage.total_tokens == 0
    return told


def outcomes(fact: Any) -> list[str]:
    return [attempt.outcome for attempt in fact.payload.attempts]


def sent(*vectors: Any, **members: Any) -> bytes:
    """A whole answer of an upstream: its head and these vectors."""
    data = [{"object": "embedding", "index": at, "embedding": each} for at, each in enumerate(vectors)]
    return whole({"object": "list", "data": data, "model": "scripted", **members})


def whole(body: Any) -> bytes:
    content = orjson.dumps(body)
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    return head.encode() + content


def scripted_upstream(url: str, **fields: Any) -> dict[str, Any]:
    return {"base_url": url, "provider": "openai", "model": "scripted", **fields}


async def embed(world: World, alias: Any, given: Any = "One is here.", **options: Any) -> tuple[Heard, Any]:
    """What was heard, and the whole event that tells of it."""
    async with world.embedding(alias, given, **options) as turn:
        heard = await turn.ended()
    return heard, await fact_of(world, turn.id)


async def fact_of(world: World, request_id: str) -> Any:
    await world.fact(request_id)
    [fact] = await world.facts(request_id)
    return fact


# -- nothing wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["One is here.", ["One.", "Two.", "Three."], [1, 2, 3], [[1, 2], [3]]])
async def test_every_form_of_input_gets_its_vectors(llm_world: World, given: Any) -> None:
    alias = await llm_world.alias({"price": {"input": 1.0}}, **VECTORS)
    heard, fact = await embed(llm_world, alias, given)
    wanted = len(given) if isinstance(given, list) and not isinstance(given[0], int) else 1
    vectors = answered(heard, fact)
    assert [len(each) for each in vectors] == [1536] * wanted
    assert heard.headers == {"x-sonant-provider": "sandbox"}
    payload = fact.payload
    assert (payload.upstream, payload.upstream_model) == (alias.upstreams[0], alias.models[0])
    assert payload.usage.estimated is False
    assert payload.cost_usd == pytest.approx(payload.usage.prompt_tokens / 1_000_000)
    assert payload.received_at <= payload.started_at <= payload.finished_at


async def test_the_upstream_is_asked_as_the_client_asked(llm_world: World) -> None:
    alias = await llm_world.alias("", **VECTORS)
    heard, fact = await embed(llm_world, alias, ["a"], encoding_format="base64", dimensions=8, user="u", user_id="x")
    [vector] = answered(heard, fact)
    assert len(base64.b64decode(vector)) == 8 * 4
    [call] = await llm_world.calls(alias.models[0])
    assert call["path"] == "/v1/embeddings"
    assert call["body"] == {
        "model": alias.models[0],
        "input": ["a"],
        "encoding_format": "base64",
        "dimensions": 8,
        "user": "u",
    }


async def test_an_upstream_that_knows_no_base64_is_asked_for_numbers(llm_world: World) -> None:
    alias = await llm_world.alias({"capabilities": []}, **VECTORS)
    heard, fact = await embed(llm_world, alias, encoding_format="base64", dimensions=4)
    [vector] = answered(heard, fact)
    assert len(base64.b64decode(vector)) == 4 * 4
    [call] = await llm_world.calls(alias.models[0])
    assert "encoding_format" not in call["body"]


async def test_usage_that_is_not_reported_is_estimated(llm_world: World) -> None:
    async with scripted([sent([0.5, 0.25])]) as upstream:
        alias = await llm_world.alias(scripted_upstream(upstream.url), **VECTORS)
        heard, fact = await embed(llm_world, alias, "x" * 400)
    assert answered(heard, fact) == [[0.5, 0.25]]
    assert fact.payload.usage.estimated is True
    assert fact.payload.usage.prompt_tokens == 100


async def test_large_answers_lie_in_the_live_store_byte_for_byte(llm_world: World, valkey_url: str) -> None:
    inputs = [f"text {number}" for number in range(200)]
    alias = await llm_world.alias("", **VECTORS, whole_timeout=20.0)
    heard, fact = await embed(llm_world, alias, inputs, dimensions=512)
    assert heard.end["outcome"] == "completed"
    assert fact.spec.type == "embeddings.completed"
    start, data, end = heard.frames
    size = orjson.loads(start.payload)["kept_bytes"]
    assert size > 256 * 1024
    assert data.payload == b""
    assert len(end.payload) < 1000
    async with open_kept_bodies(numbered(valkey_url, VALKEY_DATABASE)) as bodies:
        pieces = [piece async for piece in bodies.pieces(fact.payload.request_id, size)]
        found = orjson.loads(b"".join(pieces))
        await bodies.drop(fact.payload.request_id)
    assert sum(map(len, pieces)) == size
    assert [len(each["embedding"]) for each in found["data"]] == [512] * len(inputs)


async def test_few_large_requests_are_answered_at_a_time(llm_world: World) -> None:
    inputs = [f"text {number}" for number in range(65)]
    alias = await llm_world.alias("headers-300", **VECTORS, whole_timeout=20.0)
    async with AsyncExitStack() as stack:
        turns = [await stack.enter_async_context(llm_world.embedding(alias, inputs, dimensions=2)) for _ in range(7)]
        await eventually(lambda: llm_world.calls(alias.models[0]))
        # A small one passes all that wait.
        small = await stack.enter_async_context(llm_world.embedding(alias, "small"))
        heard = [await turn.ended() for turn in [small, *turns]]
    assert [each.end["outcome"] for each in heard] == ["completed"] * 8
    calls = sorted(await llm_world.calls(alias.models[0]), key=lambda call: call["at"])
    large = [call for call in calls if call["body"]["input"] != "small"]
    assert len(large) == 7
    # The fifth begins when one of the first four has ended.
    assert large[4]["at"] - large[0]["at"] >= 0.25


async def test_an_address_may_end_in_a_query(llm_world: World) -> None:
    alias = await llm_world.alias({"base_url": f"{llm_world.sandbox}/v1/?api-version=1"}, **VECTORS)
    answered(*await embed(llm_world, alias))


# -- an upstream fails ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["status-500", "status-429-ra-30", "quota", "reset", "silence", "html-502"])
async def test_another_upstream_takes_over(llm_world: World, fault: str) -> None:
    alias = await llm_world.alias(fault, "", **SEVERAL)
    heard, fact = await embed(llm_world, alias)
    answered(heard, fact)
    assert fact.payload.upstream == alias.upstreams[1]
    assert outcomes(fact) == ["busy" if fault in ("quota", "status-429-ra-30") else "broken", "completed"]


@pytest.mark.parametrize(
    "broken",
    [
        [sent([0.5])[:-20]],
        [b"HTTP/1.1 200 OK\r\n\r\n" + sent([0.5]).partition(b"\r\n\r\n")[2][:-20]],
        [sent([0.5], [0.5])],
        [whole({"object": "list", "data": []})],
        [whole({"error": {"message": "out of memory", "code": 500}})],
        [sse(chunk("no vector"))],
    ],
    ids=["cut", "cut without a length", "too many", "none", "error", "a chat answer"],
)
async def test_an_answer_that_is_not_whole_is_asked_for_elsewhere(llm_world: World, broken: list[bytes]) -> None:
    async with scripted(broken) as upstream:
        alias = await llm_world.alias(scripted_upstream(upstream.url), "", **SEVERAL, tries=1)
        heard, fact = await embed(llm_world, alias)
    [vector] = answered(heard, fact)
    assert len(vector) == 1536
    assert outcomes(fact) == ["broken", "completed"]


async def test_where_nobody_answers_the_client_is_told(llm_world: World) -> None:
    alias = await llm_world.alias("status-500", "reset", **SEVERAL, tries=1)
    refused(*await embed(llm_world, alias), 502, "upstream_error")


async def test_a_rate_limit_says_when_to_come_back(llm_world: World) -> None:
    alias = await llm_world.alias("status-429-ra-30", **VECTORS)
    told = refused(*await embed(llm_world, alias), 429, "rate_limit_exceeded")
    assert told["retry_after"] > 20


async def test_a_refusal_is_passed_on_and_no_other_model_is_asked(llm_world: World) -> None:
    alias = await llm_world.alias("context-length", "", **SEVERAL)
    heard, fact = await embed(llm_world, alias)
    told = refused(heard, fact, 400, "context_length_exceeded")
    assert "maximum context length" in told["message"]
    assert outcomes(fact) == ["refused"]


async def test_an_alias_serves_what_it_says(llm_world: World) -> None:
    chat, vectors = await llm_world.alias(""), await llm_world.alias("", **VECTORS)
    told = refused(*await embed(llm_world, chat), 404, "model_not_found")
    assert "makes no embeddings" in told["message"]
    heard, fact = await llm_world.ask(vectors)
    assert heard.end["error"]["code"] == fact.error.code == "model_not_found"
    assert "POST /v1/embeddings" in fact.error.message


# -- the turn ---------------------------------------------------------------------------------------------------------


async def test_the_upstream_is_left_when_the_client_leaves(llm_world: World) -> None:
    alias = await llm_world.alias("headers-5000", **VECTORS, whole_timeout=20.0)
    async with llm_world.embedding(alias) as turn:
        await eventually(lambda: llm_world.calls(alias.models[0]))
        await llm_world.stop(turn)
        heard = await turn.ended()
    assert heard.end["outcome"] == "interrupted"
    fact = await fact_of(llm_world, turn.id)
    assert fact.spec.type == "embeddings.interrupted"
    assert fact.payload.receipt.reason == "client_closed"
    assert fact.payload.usage.prompt_tokens > 0
    await llm_world.call_ended(alias.models[0], "client_closed")


async def test_the_deadline_ends_it(llm_world: World) -> None:
    alias = await llm_world.alias("headers-8000", **VECTORS, whole_timeout=20.0)
    heard, fact = await embed(llm_world, alias, seconds=1.2)
    assert heard.end["outcome"] == "failed"
    assert fact.payload.error.status == 504


async def test_a_request_delivered_twice_is_answered_once(llm_world: World) -> None:
    alias = await llm_world.alias("", **VECTORS)
    async with llm_world.embedding(alias, deliveries=2) as turn:
        heard = await turn.ended()
        # The second delivery has the same fact published again.
        facts = await eventually(lambda: _several(llm_world, turn.id))
    assert len({fact.id for fact in facts}) == 1
    answered(heard, facts[0])


async def _several(world: World, request_id: str) -> list[Any] | None:
    facts = await world.facts(request_id)
    return facts if len(facts) > 1 else None
