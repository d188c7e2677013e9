"""A stream that breaks is never passed off as complete: somebody else goes on cleanly, or the client is told."""

from typing import Any

import orjson
import pytest

from common.bus.live.frames import FrameKind
from common.events.token_estimate import answer_tokens
from tests.support.llm_stream import HELLO_TEXT, Heard, World, chunk, scripted, sse

BREAKS = ["cut-after", "malformed-after", "drop-after", "reset-after", "error-after", "stall-after"]
TOOLS = [
    {
        "type": "function",
        "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
    }
]


def whole(heard: Heard, text: str = HELLO_TEXT) -> None:
    assert heard.text() == text
    assert heard.error is None
    assert heard.done
    assert heard.end["outcome"] == "completed"
    assert [choice["delta"].get("role") for choice in heard.choices()].count("assistant") == 1
    assert heard.choices()[0]["delta"]["role"] == "assistant"


def broken(heard: Heard, fact: Any, code: str, text: str = HELLO_TEXT) -> None:
    """The client heard a part, then an error, and nothing that looks like an end."""
    assert heard.headers is not None
    assert heard.text()
    assert text.startswith(heard.text())
    assert heard.error is not None
    assert heard.error["code"] == code
    assert not heard.done
    assert heard.finish_reasons() == []
    assert heard.end["outcome"] == "failed"
    assert fact.error.code == code
    # Nothing is charged but what the deadline alone cut short.
    assert (fact.usage.total_tokens == 0) is (code != "deadline_exceeded")


# -- somebody else goes on --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0, 2, 7])
@pytest.mark.parametrize("fault", BREAKS)
async def test_a_fallback_goes_on_without_gap_or_repetition(llm_world: World, fault: str, after: int) -> None:
    alias = await llm_world.alias(f"{fault}-{after}", "")
    heard, fact = await llm_world.ask(alias, stream_options={"include_usage": True})
    whole(heard)
    assert [attempt.outcome for attempt in fact.attempts] == ["broken", "completed"]
    assert (fact.upstream, fact.upstream_model) == (alias.upstreams[1], alias.models[1])
    [call] = await llm_world.calls(alias.models[1])
    said = call["body"]["messages"][1:]
    # Where nothing had been released the fallback starts afresh, otherwise from what was.
    assert [message["role"] for message in said] == ([] if after < 7 else ["assistant", "user"])
    assert fact.usage.model_dump(exclude={"estimated"}) == heard.end["usage"]
    assert heard.chunks[-1]["usage"]["completion_tokens"] == fact.usage.completion_tokens
    if said:
        assert HELLO_TEXT.startswith(said[0]["content"])
        assert fact.usage.completion_tokens < len(HELLO_TEXT.split())


@pytest.mark.parametrize("upstreams", [1, 2])
async def test_a_stream_of_which_all_choices_ended_is_whole_without_done(llm_world: World, upstreams: int) -> None:
    alias = await llm_world.alias("no-done", *[""] * (upstreams - 1))
    heard, fact = await llm_world.ask(alias)
    whole(heard)
    assert [attempt.outcome for attempt in fact.attempts] == ["completed"]


async def test_each_upstream_may_break_once_at_another_place(llm_world: World) -> None:
    alias = await llm_world.alias("cut-after-4", "error-after-4", "malformed-after-2", "")
    heard, fact = await llm_world.ask(alias)
    whole(heard)
    assert fact.upstream == alias.upstreams[3]


@pytest.mark.parametrize(
    ("pieces", "rest"),
    [
        (["One is here.", " Two", " is here. ", "Five."], "Five."),  # starts over
        (["One is here. Two is here. Five."], "Five."),  # starts over at once
        ([" Five."], "Five."),  # goes on, with a space of its own
        (["Five."], "Five."),
        (["One is he", "re, too."], "One is here, too."),  # goes on with what looks like the beginning
        (["One is"], "One is"),  # goes on, and ends where it could still have been a repetition
    ],
)
async def test_a_fallback_that_starts_over_is_not_heard_twice(llm_world: World, pieces: list[str], rest: str) -> None:
    script = sse(*(chunk(piece) for piece in pieces), chunk(finish="stop"), b"[DONE]")
    async with scripted([script]) as upstream:
        alias = await llm_world.alias("cut-after-7", {"base_url": upstream.url})
        heard, fact = await llm_world.ask(alias)
    whole(heard, "One is here. Two is here. " + rest)
    assert fact.upstream_model == "scripted"
    assert fact.usage.estimated


async def test_lines_keep_their_indent_over_a_break(llm_world: World) -> None:
    text = "Look:\n    first\n\n  - second\n    third"
    for after in range(1, 7):
        alias = await llm_world.alias(f"cut-after-{after}", "")
        heard, _ = await llm_world.ask(alias, f"Say: {text}")
        whole(heard, text)


async def test_tool_calls_are_held_until_they_are_whole(llm_world: World) -> None:
    alias = await llm_world.alias("cut-after-4", "")
    heard, fact = await llm_world.ask(alias, "How is the weather in Paris?", tools=TOOLS)
    assert heard.done
    assert heard.finish_reasons() == ["tool_calls"]
    deltas = [call for choice in heard.choices() for call in choice["delta"].get("tool_calls", [])]
    assert [call["function"].get("name") for call in deltas if "id" in call] == ["weather"]
    arguments = "".join(call["function"]["arguments"] for call in deltas)
    assert orjson.loads(arguments) == {"city": "Paris"}
    assert fact.upstream == alias.upstreams[1]


async def test_two_choices_are_started_over_together(llm_world: World) -> None:
    alias = await llm_world.alias("cut-after-4", "")
    heard, _ = await llm_world.ask(alias, n=2)
    assert heard.done
    assert [heard.text(0), heard.text(1)] == [HELLO_TEXT] * 2


async def test_two_choices_of_which_something_was_released_are_not_continued(llm_world: World) -> None:
    alias = await llm_world.alias("cut-after-10", "")
    heard, fact = await llm_world.ask(alias, n=2)
    broken(heard, fact, "upstream_error")


@pytest.mark.parametrize("fault", [*(f"{fault}-7" for fault in BREAKS if fault != "stall-after")])
async def test_a_whole_answer_that_breaks_is_asked_for_again(llm_world: World, fault: str) -> None:
    alias = await llm_world.alias(fault, "")
    heard, fact = await llm_world.ask(alias, stream=False)
    assert heard.text() == HELLO_TEXT
    assert [attempt.outcome for attempt in fact.attempts] == ["broken", "completed"]


async def test_a_whole_answer_that_stalls_is_asked_for_again(llm_world: World) -> None:
    alias = await llm_world.alias("stall-after-7", "")
    heard, fact = await llm_world.ask(alias, stream=False)
    assert heard.text() == HELLO_TEXT
    assert [attempt.outcome for attempt in fact.attempts] == ["broken", "completed"]


# -- nobody can go on -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("upstreams", [1, 2])
@pytest.mark.parametrize("fault", [f"{fault}-7" for fault in BREAKS])
async def test_a_break_after_released_tokens_is_told_in_band(llm_world: World, fault: str, upstreams: int) -> None:
    alias = await llm_world.alias(fault, *[""] * (upstreams - 1), release="tokens")
    heard, fact = await llm_world.ask(alias)
    broken(heard, fact, "upstream_timeout" if fault == "stall-after-7" else "upstream_error")
    assert [attempt.outcome for attempt in fact.attempts] == ["broken"]


@pytest.mark.parametrize("fault", [f"{fault}-7" for fault in BREAKS])
async def test_where_every_upstream_breaks_the_client_is_told_in_band(llm_world: World, fault: str) -> None:
    alias = await llm_world.alias(fault, fault.replace("7", "2"), tries=1)
    heard, fact = await llm_world.ask(alias)
    broken(heard, fact, "upstream_timeout" if fault == "stall-after-7" else "upstream_error")
    assert len(fact.attempts) == 2


@pytest.mark.parametrize("release", ["tokens", "sentences"])
async def test_a_stream_that_breaks_before_it_said_anything_is_tried_again(llm_world: World, release: str) -> None:
    alias = await llm_world.alias("flaky-1+cut-after-0", release=release)
    heard, fact = await llm_world.ask(alias)
    whole(heard)
    assert len(fact.attempts) == 2


async def test_as_long_as_nothing_was_said_an_error_has_a_status(llm_world: World) -> None:
    alias = await llm_world.alias("cut-after-0")
    heard, _ = await llm_world.ask(alias)
    assert heard.headers is None
    assert [frame.kind for frame in heard.frames] == [FrameKind.END]
    assert heard.end["error"]["status"] == 502


@pytest.mark.parametrize("idle", [0.4, 60.0])
async def test_a_stall_is_ended_well_inside_the_deadline(llm_world: World, idle: float) -> None:
    """An idle timeout longer than the deadline is cut down to the attempt's share of it."""
    alias = await llm_world.alias("stall-after-7", "", idle_timeout=idle, tries=1)
    heard, fact = await llm_world.ask(alias, seconds=4.0)
    whole(heard)
    assert fact.finished_at < fact.received_at + 4.0
    await llm_world.call_ended(alias.models[0], "client_closed")


async def test_the_deadline_ends_a_stream_in_band(llm_world: World) -> None:
    alias = await llm_world.alias("delay-50+chunks-200", release="tokens")
    heard, fact = await llm_world.ask(alias, seconds=1.0)
    broken(heard, fact, "deadline_exceeded", heard.text())
    assert fact.error.status == 504
    # What was said until then was generated for the caller, and is charged.
    estimate = answer_tokens(len(heard.chunks), len(heard.text()))
    assert fact.usage.completion_tokens == heard.end["usage"]["completion_tokens"] == estimate > 0
    assert fact.upstream == alias.upstreams[0]
    await llm_world.call_ended(alias.models[0], "client_closed")


@pytest.mark.parametrize("stream", [True, False])
async def test_nobody_is_asked_after_the_deadline(llm_world: World, stream: bool) -> None:
    alias = await llm_world.alias("")
    heard, fact = await llm_world.ask(alias, stream=stream, seconds=-1.0)
    assert heard.headers is None
    assert heard.end["error"]["code"] == fact.error.code == "deadline_exceeded"
    assert await llm_world.calls(alias.models[0]) == []


# -- what is passed on ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("release", ["tokens", "sentences"])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_filtered_ending_is_passed_on(llm_world: World, stream: bool, release: str) -> None:
    alias = await llm_world.alias("content-filter-finish", "", release=release)
    heard, fact = await llm_world.ask(alias, stream=stream)
    assert heard.finish_reasons() == ["content_filter"]
    assert fact.finish_reason == "content_filter"
    assert heard.done is stream if stream else True
    assert HELLO_TEXT.startswith(heard.text())
    assert await llm_world.calls(alias.models[1]) == []


@pytest.mark.parametrize("release", ["tokens", "sentences"])
async def test_characters_cut_across_packets_arrive_whole(llm_world: World, release: str) -> None:
    text = "Grüße aus Köln! 你好世界。再见。 Naïve café — 🎉🎉 done. ¿Qué?"
    alias = await llm_world.alias("split-bytes", release=release)
    heard, _ = await llm_world.ask(alias, f"Say: {text}")
    whole(heard, text)


@pytest.mark.parametrize("release", ["tokens", "sentences"])
async def test_every_choice_is_whole_and_has_a_role(llm_world: World, release: str) -> None:
    alias = await llm_world.alias("", release=release)
    heard, fact = await llm_world.ask(alias, n=2)
    assert heard.done
    assert heard.finish_reasons() == ["stop", "stop"]
    for index in (0, 1):
        assert heard.text(index) == HELLO_TEXT
        roles = [choice["delta"].get("role") for choice in heard.choices(index)]
        assert roles[0] == "assistant"
        assert roles.count("assistant") == 1
    assert fact.usage.completion_tokens > 20
    whole_heard, _ = await llm_world.ask(alias, n=2, stream=False)
    assert [whole_heard.text(0), whole_heard.text(1)] == [HELLO_TEXT] * 2


@pytest.mark.parametrize("release", ["tokens", "sentences"])
async def test_usage_comes_where_it_was_asked_for(llm_world: World, release: str) -> None:
    alias = await llm_world.alias("", release=release)
    without, _ = await llm_world.ask(alias)
    assert all("usage" not in each for each in without.chunks)
    assert all(each["choices"] for each in without.chunks)
    heard, fact = await llm_world.ask(alias, stream_options={"include_usage": True})
    *chunks, last = heard.chunks
    assert all(each["usage"] is None for each in chunks)
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == fact.usage.total_tokens > 0
    assert heard.done


@pytest.mark.parametrize("stream", [True, False])
async def test_the_answer_bears_our_marks_and_not_the_upstreams(llm_world: World, stream: bool) -> None:
    alias = await llm_world.alias("")
    async with llm_world.turn(alias, stream=stream) as turn:
        heard = await turn.ended()
    said = heard.chunks if stream else [heard.whole or {}]
    assert {each["id"] for each in said} == {turn.id}
    assert {each["object"] for each in said} == {"chat.completion.chunk" if stream else "chat.completion"}
    assert {each["model"] for each in said} == {alias.models[0]}
    assert not any("system_fingerprint" in each for each in said)


@pytest.mark.parametrize("release", ["tokens", "sentences"])
async def test_servers_that_put_it_differently_are_understood(llm_world: World, release: str) -> None:
    """Windows line ends, empty data, members without meaning, text beside the finish, no usage, no [DONE]."""
    opening = {**chunk("", role="assistant"), "choices": []}
    lines = [
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n",
        b": hello\r\n\r\ndata:\r\n\r\nevent: message\r\ndata: " + orjson.dumps(opening) + b"\r",
        b"\n\r\ndata:" + orjson.dumps(chunk("Hi. ", tool_calls=None, function_call=None, refusal=None)) + b"\r\n\r\n",
        b"data: " + orjson.dumps(chunk("Bye.", "stop")) + b"\r\n",
    ]
    steps: list[bytes | float] = [step for line in lines for step in (line, 0.02)]
    async with scripted(steps) as upstream:
        alias = await llm_world.alias({"base_url": upstream.url, "capabilities": []}, release=release)
        heard, fact = await llm_world.ask(alias)
        assert "stream_options" not in upstream.requests[0]
    whole(heard, "Hi. Bye.")
    assert fact.usage.estimated
    assert fact.usage.completion_tokens == 2


@pytest.mark.parametrize("release", ["tokens", "sentences"])
async def test_a_refusal_in_words_is_passed_on(llm_world: World, release: str) -> None:
    said = [chunk("", role="assistant"), chunk(refusal="I "), chunk(refusal="won't."), chunk(finish="stop")]
    script = sse(*said, b"[DONE]")
    async with scripted([script]) as upstream:
        alias = await llm_world.alias({"base_url": upstream.url}, release=release)
        heard, _ = await llm_world.ask(alias)
    assert heard.done
    assert "".join(choice["delta"].get("refusal") or "" for choice in heard.choices()) == "I won't."


@pytest.mark.parametrize(
    "payload",
    [
        b"[1]",
        b"7",
        b'{"choices": 7}',
        b'{"choices": [7]}',
        b'{"choices": [{"index": 0, "delta": "text"}]}',
        b'{"choices": [{"index": 0, "delta": {"content": 7}}]}',
        b'{"error": "overloaded"}',
    ],
)
async def test_what_is_no_chunk_breaks_the_stream(llm_world: World, payload: bytes) -> None:
    async with scripted([sse(chunk("One is here. "), payload, chunk(finish="stop"), b"[DONE]")]) as upstream:
        alias = await llm_world.alias({"base_url": upstream.url}, "")
        heard, fact = await llm_world.ask(alias)
    whole(heard)
    assert [attempt.outcome for attempt in fact.attempts] == ["broken", "completed"]


@pytest.mark.parametrize(
    "body",
    [
        b"<html>hello</html>",
        b"[]",
        b"{}",
        b'{"choices": []}',
        b'{"error": {"message": "no"}}',
        b'{"choices": [{"index": 0, "message": {"role": "assistant", "content": "cut"}, "finish_reason": null}]}',
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_what_is_no_answer_is_not_passed_on(llm_world: World, body: bytes, stream: bool) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
    async with scripted([head % len(body) + body]) as upstream:
        alias = await llm_world.alias({"base_url": upstream.url}, "")
        heard, fact = await llm_world.ask(alias, stream=stream)
    assert heard.text() == HELLO_TEXT
    assert [attempt.outcome for attempt in fact.attempts] == ["broken", "completed"]


@pytest.mark.parametrize("after", range(1, 12))
async def test_logprobs_of_two_upstreams_are_those_of_the_whole_text(llm_world: World, after: int) -> None:
    """Wherever the first one breaks: no token is cut, none is told twice, and no space is lost between the two."""
    alias = await llm_world.alias(f"cut-after-{after}", "", tries=1)
    heard, fact = await llm_world.ask(alias, logprobs=True)
    assert (heard.text(), heard.done) == (HELLO_TEXT, True)
    assert [attempt.outcome for attempt in fact.attempts] == ["broken", "completed"]
    told = [choice for choice in heard.choices() if choice["delta"].get("content")]
    for choice in told:
        tokens = "".join(each["token"] for each in (choice["logprobs"] or {}).get("content") or ())
        assert tokens.strip() == choice["delta"]["content"].strip()
