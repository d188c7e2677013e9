"""Clients of the package `openai`, patched: every call is logged, and its caller sees what it saw before."""

import asyncio
import gc
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from huggingplace import ConfigurationError, HuggingPlace, HuggingPlaceError, patch_openai
from tests.integration.huggingplace.conftest import MakeClient
from tests.support.ingest_server import IngestServer
from tests.support.openai_sandbox import ASK_WEATHER, HELLO, WEATHER
from tests.support.sonant import sandbox_process

Message = dict[str, Any]
SAY: Any = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Say: good morning to everybody"}]},
]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[str]:
    with sandbox_process() as url:
        yield f"{url}/v1"


@pytest.fixture
def log(make_client: MakeClient) -> HuggingPlace:
    return make_client()


@pytest.fixture
def client(sandbox: str, log: HuggingPlace) -> Iterator[OpenAI]:
    with OpenAI(base_url=sandbox, api_key="k", max_retries=0) as made:
        yield log.patch_openai(made)


def logged(log: HuggingPlace, server: IngestServer) -> list[dict[str, Any]]:
    assert log.flush()
    return list(server.items.values())


def test_an_answer_in_one_piece(client: OpenAI, log: HuggingPlace, server: IngestServer) -> None:
    answer = client.chat.completions.create(model="sandbox", messages=SAY, temperature=0.5)
    assert answer.choices[0].message.content == "good morning to everybody"
    [item] = logged(log, server)
    assert item["user_prompt"] == "Say: good morning to everybody"
    assert item["ai_response"] == "good morning to everybody"
    assert item["llm_model"] == "sandbox"
    assert item["provider"] == "127.0.0.1"
    assert answer.usage is not None
    assert item["prompt_tokens"] == answer.usage.prompt_tokens
    assert item["completion_tokens"] == answer.usage.completion_tokens
    assert item["response_time"] > 0
    assert item["metaData"] == {
        "api": "chat.completions",
        "stream": False,
        "parameters": {"temperature": 0.5},
        "messages": SAY,
    }
    assert item["finish_reason"] == "stop"


def test_a_stream_is_read_as_before_and_logged_at_its_end(
    client: OpenAI, log: HuggingPlace, server: IngestServer
) -> None:
    stream = client.chat.completions.create(
        model="sandbox+delay-5", messages=SAY, stream=True, stream_options={"include_usage": True}
    )
    assert isinstance(stream, openai.Stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert text == "good morning to everybody"
    [item] = logged(log, server)
    assert item["ai_response"] == text
    assert item["finish_reason"] == "stop"
    assert item["metaData"]["stream"] is True
    assert item["completion_tokens"] > 0
    assert 0 < item["first_token_ms"] <= item["response_time"]


@pytest.mark.parametrize("how", ["with", "close", "forgotten"])
def test_a_stream_that_is_left_is_logged_as_interrupted(
    client: OpenAI, log: HuggingPlace, server: IngestServer, how: str
) -> None:
    stream = client.chat.completions.create(model="sandbox+delay-5+chunks-50", messages=HELLO, stream=True)
    read = [next(stream).choices[0].delta.content or "" for _ in range(5)]
    if how == "with":
        with stream:
            pass
    elif how == "close":
        stream.close()
    del stream
    gc.collect()
    [item] = logged(log, server)
    assert item["status"] == "interrupted"
    assert item["ai_response"] == "".join(read)


def test_a_stream_that_breaks_is_logged_with_its_error(client: OpenAI, log: HuggingPlace, server: IngestServer) -> None:
    stream = client.chat.completions.create(model="sandbox+error-after-3", messages=HELLO, stream=True)
    with pytest.raises(openai.APIError):
        list(stream)
    [item] = logged(log, server)
    assert item["error"]["type"] == "APIError"
    assert item["ai_response"]


@pytest.mark.parametrize(
    ("model", "error"),
    [("sandbox+status-500", openai.InternalServerError), ("sandbox+status-429-ra-1", openai.RateLimitError)],
)
def test_a_call_that_fails_is_logged_and_raises_as_before(
    client: OpenAI, log: HuggingPlace, server: IngestServer, model: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        client.chat.completions.create(model=model, messages=HELLO)
    [item] = logged(log, server)
    assert item["error"]["type"] == error.__name__
    assert item["error"]["status_code"] in (500, 429)
    assert "ai_response" not in item
    assert item["user_prompt"] == HELLO[0]["content"]


def test_a_server_that_is_not_there(log: HuggingPlace, server: IngestServer) -> None:
    with OpenAI(base_url="http://127.0.0.1:9/v1", api_key="k", max_retries=0) as made:
        with pytest.raises(openai.APIConnectionError):
            log.patch_openai(made).chat.completions.create(model="m", messages=HELLO)
    [item] = logged(log, server)
    assert item["error"]["type"] == "APIConnectionError"


@pytest.mark.parametrize("stream", [False, True])
def test_calls_of_tools(client: OpenAI, log: HuggingPlace, server: IngestServer, stream: bool) -> None:
    answer: Any = client.chat.completions.create(model="sandbox", messages=ASK_WEATHER, tools=WEATHER, stream=stream)
    if stream:
        list(answer)
    [item] = logged(log, server)
    [call] = item["ai_response"]["tool_calls"]
    assert call["name"] == "get_weather"
    assert json.loads(call["arguments"])["city"] == "Paris"
    assert item["metaData"]["tools"] == ["get_weather"]


def test_embeddings_raw_answers_copies_and_helpers(client: OpenAI, log: HuggingPlace, server: IngestServer) -> None:
    client.embeddings.create(model="text-embedding-3-small", input=["one", "two"])
    raw = client.chat.completions.with_raw_response.create(model="sandbox", messages=SAY)
    assert raw.parse().choices[0].message.content == "good morning to everybody"
    client.with_options(timeout=5).chat.completions.create(model="sandbox", messages=SAY)
    with client.chat.completions.stream(model="sandbox", messages=SAY) as events:
        events.until_done()
    items = logged(log, server)
    assert [item["ai_response"] for item in items] == [{"vectors": 2}, *["good morning to everybody"] * 3]


async def test_asynchronous_clients(sandbox: str, log: HuggingPlace, server: IngestServer) -> None:
    async with AsyncOpenAI(base_url=sandbox, api_key="k", max_retries=0) as made:
        client = log.patch_openai(made)
        await client.chat.completions.create(model="sandbox", messages=SAY)
        stream = await client.chat.completions.create(model="sandbox", messages=SAY, stream=True)
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "good morning to everybody"
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(model="sandbox+status-500", messages=SAY)
        stream = await client.chat.completions.create(model="sandbox+delay-50+chunks-50", messages=HELLO, stream=True)
        async with stream:
            await anext(aiter(stream))
        task = asyncio.ensure_future(client.chat.completions.create(model="sandbox+silence", messages=HELLO))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    items = logged(log, server)
    assert [item.get("status", "error" if "error" in item else "ok") for item in items] == [
        *("ok", "ok", "error", "interrupted", "interrupted")
    ]


def test_calls_belong_to_the_session_and_the_step_they_are_made_in(
    client: OpenAI, log: HuggingPlace, server: IngestServer
) -> None:
    with log.start_session("s-1", user_id="ada") as session:
        with session.step("generate") as step:
            stream = client.chat.completions.create(model="sandbox", messages=SAY, stream=True)
        list(stream)
        session.log(user_prompt="mine", response="too")
    called, mine = logged(log, server)
    assert (called["session_id"], called["user_id"]) == ("s-1", "ada")
    assert called["parent_id"] == step.id
    assert called["trace_id"] == mine["trace_id"]
    assert [each["name"] for each in mine["step_data"]] == ["generate"]


def test_as_steps_they_are_part_of_what_is_logged(sandbox: str, log: HuggingPlace, server: IngestServer) -> None:
    with OpenAI(base_url=sandbox, api_key="k") as made, log.start_session("s-1") as session:
        client = log.patch_openai(made, as_="step")
        with session.step("rewrite"):
            client.chat.completions.create(model="sandbox", messages=SAY)
        session.log(user_prompt="mine", response="too")
    [item] = logged(log, server)
    [step] = item["step_data"]
    [call] = step["steps"]
    assert (call["name"], call["type"], call["output"]) == ("chat.completions", "llm", "good morning to everybody")
    assert call["metadata"]["llm_model"] == "sandbox"


def test_images_are_not_copied_into_the_log(client: OpenAI, log: HuggingPlace, server: IngestServer) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}
    messages: Any = [{"role": "user", "content": [{"type": "text", "text": "Say: nice"}, picture]}]
    client.chat.completions.create(model="sandbox", messages=messages)
    [item] = logged(log, server)
    assert item["user_prompt"] == "Say: nice\n[image_url]"
    assert "AAAA" not in json.dumps(item)


def test_patching_twice_logs_once(client: OpenAI, log: HuggingPlace, server: IngestServer) -> None:
    assert log.patch_openai(client) is client
    client.chat.completions.create(model="sandbox", messages=SAY)
    assert len(logged(log, server)) == 1


def test_a_log_that_cannot_be_kept_disturbs_no_call(
    sandbox: str, make_client: MakeClient, told: list[HuggingPlaceError]
) -> None:
    log = make_client()
    with OpenAI(base_url=sandbox, api_key="k") as made:
        client = log.patch_openai(made)
        log.close(1)
        answer = client.chat.completions.create(model="sandbox", messages=SAY)
    assert answer.choices[0].message.content == "good morning to everybody"


def test_what_is_no_client_is_refused(log: HuggingPlace) -> None:
    with pytest.raises(ConfigurationError):
        patch_openai(object(), log)


# The Responses API, as OpenAI's reference has it: the sandbox has none.


def _response(status: str, text: str, error: Message | None = None) -> Message:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    message = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": content}
    usage = {
        "input_tokens": 3,
        "output_tokens": 2,
        "total_tokens": 5,
        "input_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
    return {
        "id": "r",
        "object": "response",
        "created_at": 1,
        "model": "gpt-x",
        "status": status,
        "output": [message],
        "usage": usage,
        "error": error,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }


def _events(kind: str) -> list[Message]:
    failed = {"code": "server_error", "message": "It broke."} if kind == "failed" else None
    delta: Message = {
        "type": "response.output_text.delta",
        "item_id": "m",
        "output_index": 0,
        "content_index": 0,
        "logprobs": [],
    }
    last = {"type": f"response.{kind}", "response": _response(kind, "good morning", failed)}
    events = [{**delta, "delta": "good "}, {**delta, "delta": "morning"}, last]
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


class _Responses(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if asked.get("stream"):
            lines = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in _events(asked["model"])]
            body, kind = "".join(lines).encode(), "text/event-stream"
        else:
            body, kind = json.dumps(_response("completed", "good morning")).encode(), "application/json"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """It is silent."""


@pytest.fixture
def responses(log: HuggingPlace) -> Iterator[OpenAI]:
    http = ThreadingHTTPServer(("127.0.0.1", 0), _Responses)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    with OpenAI(base_url=f"http://127.0.0.1:{http.server_address[1]}/v1", api_key="k", max_retries=0) as made:
        yield log.patch_openai(made)
    http.shutdown()
    http.server_close()
    thread.join()


def test_responses_in_one_piece(responses: OpenAI, log: HuggingPlace, server: IngestServer) -> None:
    assert responses.responses.create(model="gpt-x", input="hi", instructions="Be brief.").output_text == "good morning"
    [item] = logged(log, server)
    assert (item["user_prompt"], item["ai_response"], item["llm_model"]) == ("hi", "good morning", "gpt-x")
    assert (item["prompt_tokens"], item["completion_tokens"], item["cached_tokens"]) == (3, 2, 1)
    assert item["metaData"]["instructions"] == "Be brief."


@pytest.mark.parametrize("kind", ["completed", "failed", "incomplete"])
def test_streamed_responses(responses: OpenAI, log: HuggingPlace, server: IngestServer, kind: str) -> None:
    events = list(responses.responses.create(model=kind, input=[{"role": "user", "content": "hi"}], stream=True))
    assert len(events) == 3
    [item] = logged(log, server)
    assert (item["user_prompt"], item["ai_response"]) == ("hi", "good morning")
    assert item["first_token_ms"] > 0
    assert ("error" in item) == (kind == "failed")
    assert item.get("status") == ("interrupted" if kind == "incomplete" else None)
