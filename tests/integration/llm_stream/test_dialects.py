"""Whatever server answers, a client hears OpenAI: every dialect, streamed or not, with a fallback or without."""

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from sandbox.openai.dialects import BY_NAME
from tests.support.llm_stream import HELLO, HELLO_TEXT, AliasUnderTest, Heard, World

pytestmark = [
    pytest.mark.parametrize("dialect", BY_NAME),
]
# An answer that is streamed, and one that is not.
BOTH = (True, False)
both = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
alone = pytest.mark.parametrize("fallback", [False, True], ids=["alone", "fallback"])

# What an operator writes into the models file for a server that refuses `stream_options`.
CAPABILITIES = {"mistral": ["tools", "done"]}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"The {name.partition('_')[2]} of a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
    for name in ("get_weather", "get_traffic")
]
ASKED = "How are weather and traffic in Lisbon?"
# Where the caller is at fault, and how it is told: by what is wrong with the request.
BAD: dict[str, Any] = {"temperature": 9}


async def alias_of(world: World, dialect: str, faults: str = "", *, fallback: bool, **options: Any) -> AliasUnderTest:
    """An alias whose first upstream speaks the dialect; so does the fallback, which is as strict."""
    table: dict[str, Any] = {
        "dialect": dialect,
        "capabilities": CAPABILITIES.get(dialect, ["stream_usage", "tools", "done"]),
    }
    upstreams = [{**table, "faults": faults}, *([table] if fallback else [])]
    return await world.alias(*upstreams, tries=1, **options)


def exact(heard: Heard) -> list[dict[str, Any]]:
    """Everything that was heard is OpenAI's to the type; returns the messages of its choices, put together."""
    if heard.whole is not None:
        ChatCompletion.model_validate(heard.whole)
        assert heard.whole["object"] == "chat.completion"
        for choice in heard.whole["choices"]:
            assert choice["message"]["content"] is None or isinstance(choice["message"]["content"], str)
        return [choice["message"] for choice in heard.whole["choices"]]
    assert len({each["id"] for each in heard.chunks}) == 1
    for each in heard.chunks:
        ChatCompletionChunk.model_validate(each)
        assert each["object"] == "chat.completion.chunk"
        assert each["model"]
    return [_joined(heard)]


def _joined(heard: Heard) -> dict[str, Any]:
    """The first choice as OpenAI's Python client puts it together: texts that come twice are joined."""
    message: dict[str, Any] = {"content": None, "role": "", "order": []}
    calls: dict[int, dict[str, Any]] = {}
    for choice in heard.choices():
        for member, value in choice["delta"].items():
            if member == "tool_calls":
                for piece in value:
                    _join_call(calls.setdefault(piece["index"], {}), piece)
            elif isinstance(value, str) and value:
                message[member] = (message.get(member) or "") + value
            if value and member != "role" and message["order"][-1:] != [member]:
                message["order"].append(member)
    if calls:
        assert sorted(calls) == list(range(len(calls)))
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
    return message


def _join_call(call: dict[str, Any], piece: dict[str, Any]) -> None:
    for member in ("id", "type"):
        if member in piece:
            call[member] = call.get(member, "") + piece[member]
    function = call.setdefault("function", {"name": "", "arguments": ""})
    for member, value in piece["function"].items():
        function[member] += value


def completed(heard: Heard, fact: Any, *, stream: bool, reason: str = "stop") -> dict[str, Any]:
    """The answer is whole, its end is told once, and the fact says the same; returns the message."""
    (message,) = exact(heard)
    assert heard.done is stream if stream else heard.whole is not None
    assert heard.finish_reasons() == [reason]
    assert heard.end["outcome"] == "completed"
    assert (fact.finish_reason, fact.attempts[-1].outcome) == (reason, "completed")
    usage = fact.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 0
    # All of them report it.
    assert not usage.estimated
    assert message["role"] == "assistant"
    return message


def failed(heard: Heard, fact: Any, status: int, code: str | None) -> str:
    """There is no answer, and the fact says why; returns the reason."""
    assert not heard.done
    assert (heard.end["outcome"], fact.error.status, fact.error.code) == ("failed", status, code)
    assert (heard.end["error"]["status"], heard.end["error"]["code"]) == (status, code)
    assert fact.usage.total_tokens == 0
    return str(fact.error.message)


@alone
async def test_a_conversation(llm_world: World, dialect: str, fallback: bool) -> None:
    """With instructions of two kinds and an earlier turn, which strict templates take only in one order."""
    alias = await alias_of(llm_world, dialect, fallback=fallback)
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": HELLO},
    ]
    for stream in BOTH:
        options: dict[str, Any] = {"stream_options": {"include_usage": True}} if stream else {}
        heard, fact = await llm_world.ask(alias, stream=stream, messages=messages, **options)
        assert completed(heard, fact, stream=stream)["content"] == HELLO_TEXT
        assert [attempt.outcome for attempt in fact.attempts] == ["completed"]
        if stream:
            assert heard.chunks[-1]["usage"]["total_tokens"] == fact.usage.total_tokens


@alone
async def test_tool_calls_and_their_results(llm_world: World, dialect: str, fallback: bool) -> None:
    alias = await alias_of(llm_world, dialect, "aloud+reasoning-2", fallback=fallback)
    plain = await alias_of(llm_world, dialect, fallback=fallback)
    for stream in BOTH:
        heard, fact = await llm_world.ask(alias, ASKED, stream=stream, tools=TOOLS)
        message = completed(heard, fact, stream=stream, reason="tool_calls")
        assert message["content"] == "Let me look that up. One moment"
        calls = message["tool_calls"]
        assert [call["function"]["name"] for call in calls] == ["get_weather", "get_traffic"]
        assert [json.loads(call["function"]["arguments"]) for call in calls] == [{"city": "Lisbon"}] * 2
        assert len({call["id"] for call in calls}) == 2
        assert all(call["id"] and call["type"] == "function" for call in calls)
        reasoning = message.get("reasoning_content") or message.get("reasoning")
        assert reasoning == "Thought 1 of 2. Thought 2 of 2. "
        if stream:
            assert [each.replace("_content", "") for each in message["order"]] == ["reasoning", "content", "tool_calls"]
        # What a client sends back is taken.
        results = [{"role": "tool", "tool_call_id": call["id"], "content": '{"state": "calm"}'} for call in calls]
        said = {"role": "assistant", "content": message["content"], "tool_calls": calls}
        turns = [{"role": "user", "content": ASKED}, said, *results]
        heard, fact = await llm_world.ask(plain, stream=stream, messages=turns, tools=TOOLS)
        assert "calm" in completed(heard, fact, stream=stream)["content"]


@alone
async def test_a_refusal_keeps_its_reason_and_is_asked_of_nobody_else(
    llm_world: World, dialect: str, fallback: bool
) -> None:
    alias = await alias_of(llm_world, dialect, fallback=fallback)
    for stream in BOTH:
        heard, fact = await llm_world.ask(alias, stream=stream, **BAD)
        assert heard.headers is None
        assert "Expected a value <= 2" in failed(heard, fact, 422 if dialect == "mistral" else 400, None)
        assert [attempt.outcome for attempt in fact.attempts] == ["refused"]


async def test_a_filtered_prompt_is_refused(llm_world: World, dialect: str) -> None:
    alias = await alias_of(llm_world, dialect, "content-filter", fallback=True)
    for stream in BOTH:
        heard, fact = await llm_world.ask(alias, stream=stream)
        assert heard.headers is None
        assert fact.error.status in (400, 403)
        assert heard.end["error"]["message"]
        assert [attempt.outcome for attempt in fact.attempts] == ["refused"]


@alone
async def test_what_is_too_long_is_known_and_moves(llm_world: World, dialect: str, fallback: bool) -> None:
    alias = await alias_of(llm_world, dialect, "context-length", fallback=False)
    larger = await alias_of(llm_world, dialect, fallback=fallback)
    moving = await alias_of(llm_world, dialect, "context-length", fallback=False, larger=larger.name)
    for stream in BOTH:
        heard, fact = await llm_world.ask(alias, stream=stream)
        assert heard.headers is None
        failed(heard, fact, 400, "context_length_exceeded")
        heard, fact = await llm_world.ask(moving, stream=stream)
        assert completed(heard, fact, stream=stream)["content"] == HELLO_TEXT
        assert [attempt.outcome for attempt in fact.attempts] == ["refused", "completed"]


@alone
@pytest.mark.parametrize("fault", ["cut-after-7", "error-after-7", "reset-after-7"])
async def test_a_cut_answer_is_never_whole(llm_world: World, dialect: str, fallback: bool, fault: str) -> None:
    alias = await alias_of(llm_world, dialect, fault, fallback=fallback)
    for stream in BOTH:
        heard, fact = await llm_world.ask(alias, stream=stream)
        if fallback:
            assert completed(heard, fact, stream=stream)["content"] == HELLO_TEXT
            assert [attempt.outcome for attempt in fact.attempts] == ["broken", "completed"]
            continue
        assert heard.finish_reasons() == []
        if stream:
            assert heard.error is not None
            assert HELLO_TEXT.startswith(exact(heard)[0]["content"])
        assert fact.error.code == "upstream_error"
        assert not heard.done


@alone
async def test_a_cut_tool_call_is_never_whole(llm_world: World, dialect: str, fallback: bool) -> None:
    """Where a fallback could answer, calls wait for their end, so that it begins anew."""
    alias = await alias_of(llm_world, dialect, "cut-after-1", fallback=fallback)
    for stream in BOTH:
        heard, fact = await llm_world.ask(alias, ASKED, stream=stream, tools=TOOLS)
        if fallback:
            calls = completed(heard, fact, stream=stream, reason="tool_calls")["tool_calls"]
            assert [call["function"]["name"] for call in calls] == ["get_weather", "get_traffic"]
            assert [json.loads(call["function"]["arguments"]) for call in calls] == [{"city": "Lisbon"}] * 2
        else:
            assert (heard.done, heard.finish_reasons(), fact.error.code) == (False, [], "upstream_error")


@alone
async def test_an_answer_that_a_filter_ended_says_so(llm_world: World, dialect: str, fallback: bool) -> None:
    alias = await alias_of(llm_world, dialect, "content-filter-finish", fallback=fallback)
    for stream in BOTH:
        heard, fact = await llm_world.ask(alias, stream=stream)
        assert HELLO_TEXT.startswith(completed(heard, fact, stream=stream, reason="content_filter")["content"])


@both
@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        ("status-429-ra-9", "busy"),
        ("status-503", "broken"),
        ("status-500", "broken"),
        ({"model": "nowhere"}, "broken"),
        ({"key_env": "LLM_TEST_REFUSED_KEY"}, "broken"),
    ],
    ids=["rate limit", "overloaded", "failed", "unknown model", "key"],
)
async def test_every_other_error_is_what_it_is(
    llm_world: World, dialect: str, stream: bool, given: Any, outcome: str
) -> None:
    """Alone it is told as what it is; where there is a fallback, that one answers."""
    table = given if isinstance(given, dict) else {"faults": given}
    table = {"model": f"{dialect}/{table['model']}"} if "model" in table else {"dialect": dialect, **table}
    if (dialect, given) == ("mistral", "status-503"):
        # It says 429 also of a model that is full.
        outcome = "busy"
    alias = await llm_world.alias(table, tries=1)
    heard, fact = await llm_world.ask(alias, stream=stream)
    assert heard.headers is None
    assert [attempt.outcome for attempt in fact.attempts] == [outcome]
    assert (fact.error.status, fact.error.type) == {"busy": (429, "rate_limit_error"), "broken": (502, "server_error")}[
        outcome
    ]
    second = await llm_world.alias(table, "", tries=1)
    heard, fact = await llm_world.ask(second, stream=stream)
    assert completed(heard, fact, stream=stream)["content"] == HELLO_TEXT
