"""What a turn is taken to have cost where the upstream does not say, and which fields it was asked with."""

from typing import Any

import orjson
import pytest

from tests.support.llm_stream import World, chunk, scripted, sse

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 1_048_576}}
PARAGRAPH = "One sentence of a paragraph that comes in one piece. " * 40


def whole(text: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    body = orjson.dumps({"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]})
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def streamed(*texts: str) -> bytes:
    return sse(*(chunk(text) for text in texts), chunk(finish="stop"), b"[DONE]")


async def test_an_image_costs_what_an_image_costs_and_not_its_bytes(llm_world: World) -> None:
    content = [{"type": "text", "text": "x" * 40}, IMAGE]
    async with scripted([streamed("A", " cat", ".")]) as upstream:
        alias = await llm_world.alias({"base_url": upstream.url})
        _, fact = await llm_world.ask(alias, messages=[{"role": "user", "content": content}])
    assert fact.usage.estimated
    assert fact.usage.prompt_tokens == 10 + 1000
    assert fact.usage.completion_tokens == 3


@pytest.mark.parametrize("release", ["tokens", "sentences"])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_a_paragraph_in_one_chunk_is_more_than_a_token(llm_world: World, release: str, stream: bool) -> None:
    answer = streamed(PARAGRAPH, PARAGRAPH) if stream else whole(PARAGRAPH * 2)
    async with scripted([answer]) as upstream:
        alias = await llm_world.alias({"base_url": upstream.url}, release=release)
        heard, fact = await llm_world.ask(alias, stream=stream)
    assert heard.text() == PARAGRAPH * 2
    assert fact.usage.completion_tokens == len(PARAGRAPH) * 2 // 4
    assert heard.end["usage"]["completion_tokens"] == fact.usage.completion_tokens


@pytest.mark.parametrize(
    ("fields", "kept"),
    [(None, {"top_k"}), ("strict", set()), ("all", {"top_k", "call", "customer", "elevenlabs_extra_body"})],
    ids=["default", "strict", "all"],
)
async def test_an_upstream_gets_the_fields_it_wants(llm_world: World, fields: str | None, kept: set[str]) -> None:
    alias = await llm_world.alias({"fields": fields} if fields else {})
    extra: dict[str, Any] = {"call": {"id": "c"}, "customer": {}, "elevenlabs_extra_body": {}, "top_k": 3}
    await llm_world.ask(alias, **extra)
    [call] = await llm_world.calls(alias.models[0])
    assert call["body"].keys() & extra.keys() == kept
