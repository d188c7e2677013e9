"""The official Python client, unmodified, gets from the gateway the vectors that it gets from OpenAI."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
from langchain_openai import OpenAIEmbeddings
from openai import AsyncOpenAI, OpenAI
from pydantic import SecretStr

from tests.support.clients import Key, client, new_key
from tests.support.sonant import Sonant
from tests.support.waiting import eventually

PATH = "/v1/embeddings"
TEXTS = ["a bicycle", "two bicycles", "the sea"]
# More than goes into a frame, in base64 and as numbers.
MANY = [f"text number {number}" for number in range(300)]


@pytest.fixture(scope="module")
def key(sonant: Sonant) -> Key:
    return new_key(sonant)


@pytest.fixture
async def ai(sonant: Sonant, key: Key) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{sonant.url}/v1", api_key=key.text, max_retries=0) as opened:
        yield opened


@pytest.fixture
async def direct(sonant: Sonant) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{sonant.sandbox_url}/v1", api_key="sk-any", max_retries=0) as opened:
        yield opened


@pytest.fixture
async def http(sonant: Sonant, key: Key) -> AsyncIterator[httpx.AsyncClient]:
    async with client(sonant.url, key.headers) as opened:
        yield opened


def vectors(answer: Any) -> list[list[float]]:
    return [each.embedding for each in answer.data]


def test_the_synchronous_client_unpacks_what_it_asks_for(sonant: Sonant, key: Key) -> None:
    with OpenAI(base_url=f"{sonant.url}/v1", api_key=key.text, max_retries=0) as ai:
        answer = ai.embeddings.create(model="embeddings", input=TEXTS)
    with OpenAI(base_url=f"{sonant.sandbox_url}/v1", api_key="sk-any", max_retries=0) as direct:
        wanted = direct.embeddings.create(model="text-embedding-3-small", input=TEXTS)
    assert vectors(answer) == vectors(wanted)
    assert [each.index for each in answer.data] == [0, 1, 2]
    assert answer.model == "text-embedding-3-small"
    assert answer.object == "list"
    assert answer.usage == wanted.usage


@pytest.mark.parametrize("model", ["embeddings", "embeddings-numbers"])
@pytest.mark.parametrize("options", [{}, {"encoding_format": "float"}, {"dimensions": 256, "user": "u"}])
async def test_the_asynchronous_client_gets_the_same_vectors(
    ai: AsyncOpenAI, direct: AsyncOpenAI, model: str, options: dict[str, Any]
) -> None:
    answer = await ai.embeddings.create(model=model, input=TEXTS, **options)
    name = {"embeddings": "text-embedding-3-small", "embeddings-numbers": "text-embedding-3-large"}[model]
    wanted = await direct.embeddings.create(model=name, input=TEXTS, **options)
    for mine, theirs in zip(vectors(answer), vectors(wanted), strict=True):
        assert mine == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize("given", ["one text", [1, 2, 3], [[1, 2], [3]]])
async def test_every_form_of_input(ai: AsyncOpenAI, direct: AsyncOpenAI, given: Any) -> None:
    answer = await ai.embeddings.create(model="embeddings", input=given)
    wanted = await direct.embeddings.create(model="text-embedding-3-small", input=given)
    assert vectors(answer) == vectors(wanted)


@pytest.mark.parametrize("encoding_format", ["base64", "float"])
async def test_large_answers_arrive_byte_for_byte(
    sonant: Sonant, http: httpx.AsyncClient, encoding_format: str
) -> None:
    body = {"input": MANY, "encoding_format": encoding_format}
    response = await http.post(PATH, json={"model": "embeddings", **body})
    assert response.status_code == 200, response.text
    assert len(response.content) > 1024 * 1024
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-sonant-provider"] == "sandbox"
    assert response.headers["x-sonant-completion-id"].startswith("embd-")
    theirs = {"Authorization": "Bearer sk-any"}
    direct = httpx.post(
        f"{sonant.sandbox_url}{PATH}", json={"model": "text-embedding-3-small", **body}, headers=theirs, timeout=60
    )
    assert response.content == direct.content


async def test_a_repetition_gets_the_first_answer(sonant: Sonant, http: httpx.AsyncClient) -> None:
    for texts in (TEXTS, MANY):
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        body = {"model": "embeddings", "input": [*texts, headers["Idempotency-Key"]], "encoding_format": "base64"}
        first = await http.post(PATH, json=body, headers=headers)
        again = await http.post(PATH, json=body, headers=headers)
        assert again.headers["idempotency-replayed"] == "true"
        assert again.content == first.content
        assert len([call for call in embedding_calls(sonant) if call["body"]["input"] == body["input"]]) == 1
        other = await http.post(PATH, json={**body, "input": "other"}, headers=headers)
        assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")


async def test_another_upstream_takes_over(ai: AsyncOpenAI, direct: AsyncOpenAI) -> None:
    answer = await ai.embeddings.create(model="embeddings-twice", input=TEXTS)
    assert vectors(answer) == vectors(await direct.embeddings.create(model="text-embedding-3-small", input=TEXTS))


async def test_an_input_that_is_too_long_is_refused_with_its_reason(ai: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await ai.embeddings.create(model="embeddings-short", input="long")
    assert refused.value.code == "context_length_exceeded"
    assert "maximum context length" in refused.value.message


async def test_a_busy_upstream_says_when_to_come_back(ai: AsyncOpenAI) -> None:
    with pytest.raises(openai.RateLimitError) as refused:
        await ai.embeddings.create(model="embeddings-busy", input="any")
    assert int(refused.value.response.headers["retry-after"]) > 20


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"input": "a", "model": "nonesuch"}, 404, "model"),
        ({"input": "a", "model": "default"}, 404, "model"),
        ({"input": "", "model": "embeddings"}, 400, "input"),
        ({"input": ["a"] * 2049, "model": "embeddings"}, 400, "input"),
        ({"input": [[1] * 300_000, [1]], "model": "embeddings"}, 400, "input"),
        ({"input": "a", "model": "embeddings", "encoding_format": "hex"}, 400, "encoding_format"),
        ({"input": "a", "model": "embeddings", "dimensions": 0}, 400, "dimensions"),
        ({"model": "embeddings"}, 400, "input"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_what_is_wrong_is_named(http: httpx.AsyncClient, body: dict[str, Any], status: int, param: str) -> None:
    response = await http.post(PATH, json=body)
    error = response.json()["error"]
    assert (response.status_code, error["type"], error["param"]) == (status, "invalid_request_error", param)


async def test_a_conversation_with_an_embedding_model_is_told_where_to_go(http: httpx.AsyncClient) -> None:
    body = {"model": "embeddings", "messages": [{"role": "user", "content": "hi"}]}
    response = await http.post("/v1/chat/completions", json=body)
    assert response.status_code == 404
    assert PATH in response.json()["error"]["message"]


async def test_limits_of_a_key_hold(sonant: Sonant) -> None:
    key = new_key(sonant, limits={"requests_per_minute": 1})
    async with AsyncOpenAI(base_url=f"{sonant.url}/v1", api_key=key.text, max_retries=0) as ai:
        await ai.embeddings.create(model="embeddings", input="one")
        with pytest.raises(openai.RateLimitError) as refused:
            await ai.embeddings.create(model="embeddings", input="two")
    assert refused.value.code == "rate_limit_exceeded"
    assert int(refused.value.response.headers["retry-after"]) >= 1


async def test_tokens_of_a_key_are_reserved_and_settled(sonant: Sonant) -> None:
    key = new_key(sonant, limits={"tokens_per_minute": 1000})
    async with client(sonant.url, key.headers) as http:
        large = await http.post(PATH, json={"model": "embeddings", "input": "x" * 8000})
        assert (large.status_code, large.json()["error"]["code"]) == (400, "tokens_exceed_limit")
        # Each reserves most of the minute by its length; one that fails costs nothing.
        for _ in range(3):
            await eventually(lambda: failed(http, "x" * 3600))
        good = await http.post(PATH, json={"model": "embeddings", "input": "x" * 3600})
        assert good.status_code == 200
        refused = await http.post(PATH, json={"model": "embeddings", "input": "x" * 3600})
    assert (refused.status_code, refused.json()["error"]["type"]) == (429, "tokens")


async def failed(http: httpx.AsyncClient, text: str) -> bool:
    """Whether a request was let through to an upstream that refuses it."""
    response = await http.post(PATH, json={"model": "embeddings-short", "input": text})
    assert response.status_code in (400, 429), response.text
    return response.status_code == 400


async def test_the_upstream_is_left_when_the_client_leaves(sonant: Sonant, http: httpx.AsyncClient) -> None:
    text = uuid.uuid4().hex
    asked = asyncio.create_task(http.post(PATH, json={"model": "embeddings-slow", "input": text}))
    await eventually(lambda: [call for call in embedding_calls(sonant) if call["body"]["input"] == text])
    asked.cancel()

    def left() -> bool:
        return [call["end"] for call in embedding_calls(sonant) if call["body"]["input"] == text] == ["client_closed"]

    await eventually(left)


async def test_usage_counts_every_request_once(sonant: Sonant) -> None:
    key = new_key(sonant)
    async with client(sonant.url, key.headers) as http:
        body = {"model": "embeddings", "input": TEXTS}
        told = (await http.post(PATH, json=body)).json()["usage"]
        await http.post(PATH, json={**body, "model": "embeddings-short"})

        async def rows() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = (await http.get("/v1/usage")).json()["data"]
            return found if len(found) == 2 else []

        good, bad = await eventually(rows)
    assert (good["model"], good["turns"], good["completed"]) == ("embeddings", 1, 1)
    assert good["prompt_tokens"] == good["total_tokens"] == told["total_tokens"]
    assert good["cost_usd"] == pytest.approx(told["total_tokens"] / 1_000_000)
    assert (bad["model"], bad["turns"], bad["failed"]) == ("embeddings-short", 1, 1)


def test_langchain_embeds(sonant: Sonant, key: Key) -> None:
    with httpx.Client() as wire:
        # Its own cutting of long texts fetches a tokenizer from the web.
        made = OpenAIEmbeddings(
            model="embeddings",
            openai_api_base=f"{sonant.url}/v1",
            openai_api_key=SecretStr(key.text),
            check_embedding_ctx_length=False,
            http_client=wire,
        )
        one, other = made.embed_documents(TEXTS[:2])
        far = made.embed_query(TEXTS[2])
    assert likeness(one, other) > likeness(one, far)


def likeness(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def embedding_calls(sonant: Sonant) -> list[dict[str, Any]]:
    """What the upstream saw of embeddings."""
    return [call for call in sonant.sandbox("requests", limit=300) if call["path"] == PATH]
