"""Whatever server answers behind the gateway, the official Python client gets what it gets from OpenAI."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import orjson
import pytest
from openai import AsyncOpenAI

from tests.support.clients import new_key
from tests.support.sonant import DIALECTS, Sonant

pytestmark = pytest.mark.parametrize("dialect", DIALECTS)
both = pytest.mark.parametrize("streaming", [True, False], ids=["stream", "whole"])
TEXT = "One is here. Two is here. Three is here. Four is here."
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather of a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]


@pytest.fixture
async def ai(sonant: Sonant) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{sonant.url}/v1", api_key=new_key(sonant).text, max_retries=0) as opened:
        yield opened


async def answer(ai: AsyncOpenAI, model: str, said: str, *, streaming: bool, **options: Any) -> Any:
    """The one choice of an answer, put together by the client."""
    asked: Any = {"model": model, "messages": [{"role": "user", "content": said}], **options}
    if not streaming:
        return (await ai.chat.completions.create(**asked)).choices[0]
    async with ai.chat.completions.stream(**asked) as stream:
        return (await stream.get_final_completion()).choices[0]


@both
async def test_a_tool_call_is_put_together(ai: AsyncOpenAI, dialect: str, streaming: bool) -> None:
    choice = await answer(ai, dialect, "What is the weather in Lisbon?", streaming=streaming, tools=TOOLS)
    (call,) = choice.message.tool_calls
    assert (call.type, call.function.name) == ("function", "get_weather")
    assert call.id
    assert orjson.loads(call.function.arguments) == {"city": "Lisbon"}
    assert (choice.message.content, choice.finish_reason) == ("Let me look that up. One moment", "tool_calls")


@both
async def test_a_cut_answer_is_made_whole(ai: AsyncOpenAI, dialect: str, streaming: bool) -> None:
    choice = await answer(ai, f"{dialect}-breaking", f"Say: {TEXT}", streaming=streaming)
    assert (choice.message.content, choice.finish_reason) == (TEXT, "stop")


@both
async def test_what_is_too_long_is_a_bad_request(ai: AsyncOpenAI, dialect: str, streaming: bool) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await answer(ai, f"{dialect}-short", "hi", streaming=streaming)
    assert refused.value.code == "context_length_exceeded"
