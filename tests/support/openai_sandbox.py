"""The OpenAI stand-in asked with the official client, and what it recorded of that."""

from typing import Any

import aiohttp
from openai import AsyncOpenAI

from tests.support.sonant import SHOW_RECORD
from tests.support.waiting import eventually

HELLO: Any = [{"role": "user", "content": "Tell me about the history of the bicycle"}]
WEATHER: Any = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Current weather for a city",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
                "required": ["city"],
            },
        },
    }
]
ASK_WEATHER: Any = [{"role": "user", "content": "What's the weather in Paris for 3 days?"}]


async def chunks_of(client: AsyncOpenAI, model: str = "sandbox", **options: Any) -> list[Any]:
    messages = options.pop("messages", HELLO)
    stream = await client.chat.completions.create(model=model, messages=messages, stream=True, **options)
    return [chunk async for chunk in stream]


async def text_of(client: AsyncOpenAI, model: str = "sandbox", **options: Any) -> str:
    messages = options.pop("messages", HELLO)
    answer = await client.chat.completions.create(model=model, messages=messages, **options)
    return str(answer.choices[0].message.content)


def joined(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


async def raw(http: aiohttp.ClientSession, model: str, **fields: Any) -> bytes:
    body = {"model": model, "messages": HELLO, "stream": True, **fields}
    async with http.post("/v1/chat/completions", json=body) as response:
        return await response.read()


async def records_of(http: aiohttp.ClientSession, model: str) -> list[dict[str, Any]]:
    async with http.get("/sandbox/requests", params={"model": model, "limit": "5"}, headers=SHOW_RECORD) as response:
        records: list[dict[str, Any]] = await response.json()
        return records


async def read_until(stream: Any, count: int) -> list[Any]:
    """Read until `count` chunks with text have come."""
    got: list[Any] = []
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            got.append(chunk)
        if len(got) == count:
            break
    return got


async def call_ended(http: aiohttp.ClientSession, model: str, *, timeout: float = 10.0) -> dict[str, Any]:
    """Wait until a call of this model has ended and return its record."""

    async def ended() -> list[dict[str, Any]]:
        return [record for record in await records_of(http, model) if record["end"]]

    records: list[dict[str, Any]] = await eventually(ended, timeout=timeout, interval=0.005)
    return records[0]
