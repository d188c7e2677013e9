"""Faults ordered during an answer come exactly there."""

import json
import time
from typing import Any

import aiohttp
import openai
import pytest
from openai import AsyncOpenAI

from tests.support.openai_sandbox import HELLO, call_ended, chunks_of, joined, raw, read_until, text_of


class TestFaultsDuringTheAnswer:
    async def test_an_exact_number_of_chunks(self, client: AsyncOpenAI) -> None:
        for count in (1, 7, 200):
            chunks = await chunks_of(client, f"sandbox+chunks-{count}")
            assert sum(1 for chunk in chunks if chunk.choices[0].delta.content) == count

    @pytest.mark.parametrize("kind", ["reset", "drop"])
    async def test_a_broken_connection_after_n_chunks(
        self, client: AsyncOpenAI, http: aiohttp.ClientSession, kind: str
    ) -> None:
        model = f"sandbox+chunks-9+{kind}-after-3"
        stream = await client.chat.completions.create(model=model, messages=HELLO, stream=True)
        assert len(await read_until(stream, 3)) == 3
        with pytest.raises(openai.APIConnectionError):
            await read_until(stream, 1)
        record = await call_ended(http, model)
        assert (record["end"], record["chunks_sent"]) == ("fault", 3)

    async def test_a_stall_is_left_by_the_caller(self, client: AsyncOpenAI, http: aiohttp.ClientSession) -> None:
        model = "sandbox+stall-after-2"
        stream = await client.chat.completions.create(model=model, messages=HELLO, stream=True)
        assert len(await read_until(stream, 2)) == 2
        left_at = time.time()
        await stream.close()
        record = await call_ended(http, model)
        assert (record["end"], record["chunks_sent"]) == ("client_closed", 2)
        assert record["closed_at"] >= left_at

    async def test_a_caller_who_leaves_between_slow_tokens_is_noticed(
        self, client: AsyncOpenAI, http: aiohttp.ClientSession
    ) -> None:
        model = "sandbox+delay-5000"
        stream = await client.chat.completions.create(model=model, messages=HELLO, stream=True)
        await read_until(stream, 1)
        await stream.close()
        record = await call_ended(http, model, timeout=3)
        assert record["end"] == "client_closed"

    async def test_a_clean_end_without_finish(self, http: aiohttp.ClientSession) -> None:
        body = await raw(http, "sandbox+cut-after-2")
        assert body.count(b"data: ") == 3
        assert b"[DONE]" not in body
        assert b'"finish_reason":"' not in body

    async def test_a_stream_without_done(self, http: aiohttp.ClientSession) -> None:
        body = await raw(http, "sandbox+no-done")
        assert b"[DONE]" not in body
        assert b'"finish_reason":"stop"' in body

    async def test_an_error_event(self, client: AsyncOpenAI) -> None:
        stream = await client.chat.completions.create(model="sandbox+error-after-2", messages=HELLO, stream=True)
        await read_until(stream, 2)
        with pytest.raises(openai.APIError) as caught:
            await read_until(stream, 1)
        assert caught.value.type == "server_error"

    async def test_a_malformed_chunk(self, client: AsyncOpenAI, http: aiohttp.ClientSession) -> None:
        with pytest.raises(json.JSONDecodeError):
            await chunks_of(client, "sandbox+malformed-after-2")
        assert b"[DONE]" in await raw(http, "sandbox+malformed-after-2")

    async def test_a_filtered_answer(self, client: AsyncOpenAI) -> None:
        chunks = await chunks_of(client, "sandbox+content-filter-finish")
        assert chunks[-1].choices[0].finish_reason == "content_filter"

    async def test_keep_alive_comments_disturb_no_client(
        self, client: AsyncOpenAI, http: aiohttp.ClientSession
    ) -> None:
        model = "sandbox+keepalive-5+first-30"
        assert joined(await chunks_of(client, model)) == await text_of(client)
        assert (await raw(http, model)).startswith(b": keep-alive\n\n: keep-alive\n\n")

    async def test_characters_cut_across_segments(self, http: aiohttp.ClientSession) -> None:
        said: Any = [{"role": "user", "content": "Say: h\u00e9llo \U0001f389"}]
        body = {"model": "sandbox+split-bytes", "messages": said, "stream": True}
        async with http.post("/v1/chat/completions", json=body) as response:
            segments = [segment async for segment in response.content.iter_any()]
        assert any(_ends_inside_a_character(segment) for segment in segments)
        assert "h\u00e9llo" in b"".join(segments).decode()

    @pytest.mark.parametrize("kind", ["reset", "drop", "cut"])
    async def test_a_whole_answer_breaks_half_way(self, http: aiohttp.ClientSession, kind: str) -> None:
        with pytest.raises(aiohttp.ClientError):
            await raw(http, f"sandbox+{kind}-after-1", stream=False)


def _ends_inside_a_character(segment: bytes) -> bool:
    try:
        segment.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"
    return False
