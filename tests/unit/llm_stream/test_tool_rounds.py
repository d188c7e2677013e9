"""A turn in which a model calls tools: what it is asked next, what the client hears, and what the fact tells."""

import asyncio
import time
from typing import Any

import orjson
import pytest

from llm_stream.tools.tool import Filler
from tests.support.tool_turns import (
    Talk,
    ToolTurn,
    calling,
    echo,
    fail,
    hang,
    saying,
    tool,
    toolbox,
    whole,
)
from tests.support.waiting import eventually

ECHO = tool("echo", echo)
CALLERS = {"type": "function", "function": {"name": "lights", "parameters": {"type": "object"}}}


async def test_the_result_of_a_tool_goes_into_the_same_answer() -> None:
    model = Talk(calling(("echo", '{"word": "a"}'), said="Let me see. "), saying("It is a."))
    turn = await ToolTurn(model, toolbox(ECHO)).run(stream_options={"include_usage": True})

    assert turn.text == "Let me see. It is a."
    assert not any("tool_calls" in delta for delta in turn.deltas)
    assert [delta.get("role") for delta in turn.deltas].count("assistant") == 1
    asked, called, result = model.requests[1]["messages"]
    assert asked == {"role": "user", "content": "Hi"}
    assert called["content"] == "Let me see. "
    assert called["tool_calls"][0]["function"] == {"name": "echo", "arguments": '{"word": "a"}'}
    assert result == {"role": "tool", "tool_call_id": "call_0", "content": "echo of a"}
    # Both rounds are paid for, and told.
    assert turn.fact["type"] == "chat.reply.completed/1"
    assert turn.fact["usage"]["prompt_tokens"] == 20
    assert turn.fact["cost_usd"] == pytest.approx(40 / 1_000_000)
    assert turn.events[-1]["usage"]["total_tokens"] == 30
    assert turn.fact["finish_reason"] == "stop"
    [step] = turn.fact["tools"]
    assert (step["name"], step["arguments"], step["result"], step["outcome"], step["round"]) == (
        "echo",
        '{"word": "a"}',
        "echo of a",
        "done",
        1,
    )


async def test_calls_of_one_round_are_made_at_the_same_time() -> None:
    met = asyncio.Barrier(2)

    async def meet(arguments: dict[str, Any]) -> str:
        await met.wait()
        return str(arguments["word"])

    model = Talk(calling(("meet", '{"word": "a"}'), ("meet", '{"word": "b"}')), saying("Met."))
    turn = await ToolTurn(model, toolbox(tool("meet", meet, seconds=5.0))).run()
    assert turn.outcomes == ["done", "done"]
    assert [message["content"] for message in model.requests[1]["messages"][2:]] == ["a", "b"]


async def test_a_whole_answer_runs_tools_too() -> None:
    model = Talk(whole("Wait.", ("echo", '{"word": "a"}')), whole("It is a."))
    turn = await ToolTurn(model, toolbox(ECHO)).run(stream=False)
    assert turn.whole["choices"][0]["message"]["content"] == "It is a."
    assert turn.whole["usage"]["total_tokens"] == 30
    assert model.requests[1]["messages"][1]["content"] == "Wait."


async def test_wrong_arguments_are_mended_once_by_the_model() -> None:
    wrong = calling(("echo", '{"word": 5}'))
    box = toolbox(tool("echo", echo, fallback="Say that it cannot be told."))
    model = Talk(wrong, calling(("echo", '{"word": "a"}')), saying("Good."))
    turn = await ToolTurn(model, box).run()
    assert turn.outcomes == ["wrong_arguments", "done"]
    assert model.requests[1]["messages"][2]["content"] == (
        "The arguments do not fit the schema: word: 5 is not of type 'string'. "
        "Call the tool again with arguments that fit."
    )

    model = Talk(wrong, wrong, saying("Good."))
    turn = await ToolTurn(model, box).run()
    assert turn.outcomes == ["wrong_arguments", "wrong_arguments"]
    assert model.requests[2]["messages"][4]["content"] == "Say that it cannot be told."


@pytest.mark.parametrize("arguments", ['{"word": ', "[1]", "5", '{"word": "' + "a" * 1_000_000 + '"}', "[" * 5_000])
async def test_arguments_that_are_none_get_a_clear_result(arguments: str) -> None:
    model = Talk(calling(("echo", arguments), size=50_000), saying("Sorry."))
    turn = await ToolTurn(model, toolbox(ECHO)).run()
    assert turn.outcomes == ["wrong_arguments"]
    assert turn.text == "Sorry."
    # What is no JSON object is not shown to the model's server again.
    assert model.requests[1]["messages"][1]["tool_calls"][0]["function"]["arguments"] == "{}"
    assert len(turn.fact["tools"][0]["arguments"]) <= 4_000


@pytest.mark.parametrize(
    ("run", "outcome", "told"),
    [(fail, "failed", "The tool failed: the shop is closed"), (hang, "timed_out", "did not answer within 0.05 s.")],
)
async def test_a_tool_that_comes_to_nothing_has_a_result_all_the_same(run: Any, outcome: str, told: str) -> None:
    for fallback in (None, "Ask again later."):
        model = Talk(calling(("bad", '{"word": "a"}'), ("echo", '{"word": "b"}')), saying("Well."))
        turn = await ToolTurn(model, toolbox(tool("bad", run, seconds=0.05, fallback=fallback), ECHO)).run()
        assert turn.outcomes == [outcome, "done"]
        results = [message["content"] for message in model.requests[1]["messages"][2:]]
        assert results[0] == fallback or told in results[0]
        assert results[1] == "echo of b"


async def test_a_large_result_is_cut() -> None:
    async def large(arguments: dict[str, Any]) -> str:
        return "x" * 10_000_000

    model = Talk(calling(("large", '{"word": "a"}')), saying("Much."))
    turn = await ToolTurn(model, toolbox(tool("large", large))).run()
    result = model.requests[1]["messages"][2]["content"]
    assert result.endswith("[cut: the result has 10000000 characters]")
    assert len(result) < 17_000
    assert len(turn.fact["tools"][0]["result"]) <= 4_000


async def test_a_model_that_calls_for_ever_is_stopped() -> None:
    again = calling(("echo", '{"word": "a"}'))
    model = Talk(again, again, again)
    turn = await ToolTurn(model, toolbox(ECHO, max_rounds=2)).run()
    assert [request.get("tool_choice") for request in model.requests] == [None, None, "none"]
    assert turn.fact["type"] == "chat.reply.failed/1"
    assert turn.fact["error"]["code"] == "too_many_tool_rounds"
    assert turn.fact["usage"]["prompt_tokens"] == 30


async def test_a_client_that_wants_to_sees_calls_and_responses() -> None:
    model = Talk(calling(("echo", '{"word": "a"}')), saying("It is a."))
    turn = await ToolTurn(model, toolbox(ECHO)).run(sonant_tools="show", stream_options={"include_usage": True})
    shown = [event for event in turn.events if "sonant" in event]
    call = {"id": "call_0", "type": "function", "function": {"name": "echo", "arguments": '{"word": "a"}'}}
    assert [event["sonant"] for event in shown] == [
        {"tool_call": call},
        {"tool_response": {"tool_call_id": "call_0", "output": "echo of a"}},
    ]
    assert all(event["choices"] == [] for event in shown)
    assert turn.text == "It is a."
    assert turn.deltas[0] == {"role": "assistant", "content": ""}
    assert "sonant_tools" not in model.requests[0]


async def test_a_choice_that_made_it_call_a_tool_holds_once() -> None:
    model = Talk(calling(("echo", '{"word": "a"}')), saying("Done."))
    choice = {"type": "function", "function": {"name": "echo"}}
    await ToolTurn(model, toolbox(ECHO)).run(tool_choice=choice)
    assert [request.get("tool_choice") for request in model.requests] == [choice, "auto"]


async def test_tools_of_the_caller_pass_through_and_ours_are_not_run_beside_them() -> None:
    model = Talk(calling(("echo", '{"word": "a"}', "call_a"), ("lights", "{}", "call_b"), said="On it. "))
    turn = await ToolTurn(model, toolbox(ECHO)).run(tools=[CALLERS])
    pieces = [piece for delta in turn.deltas for piece in delta.get("tool_calls", ())]
    assert {piece["index"] for piece in pieces} == {0}
    assert [piece["id"] for piece in pieces if "id" in piece] == ["call_b"]
    assert turn.fact["finish_reason"] == "tool_calls"
    assert turn.outcomes == ["not_run"]
    assert len(model.requests) == 1

    model = Talk(calling(("lights", '{"on": true}', "call_b")))
    turn = await ToolTurn(model, toolbox(ECHO)).run(tools=[CALLERS])
    joined = "".join(p["function"].get("arguments", "") for d in turn.deltas for p in d.get("tool_calls", ()))
    assert joined == '{"on": true}'
    assert turn.outcomes == []


async def test_a_tool_of_the_caller_may_have_the_name_of_ours() -> None:
    mine = {"type": "function", "function": {"name": "echo", "description": "Mine.", "parameters": {}}}
    model = Talk(calling(("echo", "{}")))
    turn = await ToolTurn(model, toolbox(ECHO)).run(tools=[mine])
    assert model.requests[0]["tools"] == [mine]
    assert turn.fact["finish_reason"] == "tool_calls"
    assert turn.outcomes == []


@pytest.mark.parametrize("off", [{"sonant_tools": False}, {"tool_choice": "none"}, {"n": 2}])
async def test_a_request_may_do_without_our_tools(off: dict[str, Any]) -> None:
    model = Talk(whole("Hello."))
    await ToolTurn(model, toolbox(ECHO)).run(stream=False, **off)
    assert "tools" not in model.requests[0]
    assert "sonant_tools" not in model.requests[0]


async def test_a_request_names_a_tool_of_ours() -> None:
    named = {"type": "sonant", "name": "echo"}
    model = Talk(calling(("echo", '{"word": "a"}')), saying("It is a."))
    turn = await ToolTurn(model, toolbox(ECHO), tools=[]).run(tools=[named], sonant_tools=False)
    assert model.requests[0]["tools"] == [ECHO.definition()]
    assert turn.outcomes == ["done"]


@pytest.mark.parametrize(
    "definition",
    [{"type": "sonant", "name": "no_such"}, {"type": "sonant"}, {**CALLERS, "sonant": {"url": "http://10.0.0.1/"}}],
)
async def test_a_tool_that_cannot_be_is_a_400(definition: dict[str, Any]) -> None:
    turn = await ToolTurn(Talk(), toolbox(ECHO)).run(tools=[definition])
    assert turn.fact["error"] | {"message": ""} == {
        "status": 400,
        "message": "",
        "type": "invalid_request_error",
        "code": "invalid_tools",
        "param": "tools",
    }


async def test_a_tool_that_nobody_has_gets_a_clear_result() -> None:
    model = Talk(calling(("functions.other!", "{}")), saying("Sorry."))
    turn = await ToolTurn(model, toolbox(ECHO)).run()
    assert turn.outcomes == ["unknown_tool"]
    _, called, result = model.requests[1]["messages"]
    assert result["content"] == "There is no tool named 'functions.other!'."
    # No server takes such a name in a conversation.
    assert called["tool_calls"][0]["function"]["name"] == "functions_other_"


async def test_more_calls_than_are_made_at_a_time_are_told_so() -> None:
    model = Talk(calling(*[("echo", '{"word": "a"}')] * 20), saying("Many."))
    turn = await ToolTurn(model, toolbox(ECHO)).run()
    assert turn.outcomes == ["done"] * 16 + ["too_many"] * 4

    model = Talk(calling(*[("echo", '{"word": "a"}')] * 1_000), saying("Far too many."))
    turn = await ToolTurn(model, toolbox(ECHO)).run()
    assert len(turn.outcomes) == 32
    assert len(model.requests[1]["messages"]) == 34


async def test_a_filler_is_said_while_tools_take_long() -> None:
    async def slow(arguments: dict[str, Any]) -> str:
        await asyncio.sleep(0.1)
        return "42"

    box = toolbox(tool("slow", slow, filler=Filler("One moment.", 0.01)))
    model = Talk(calling(("slow", '{"word": "a"}')), saying("It is 42."))
    turn = await ToolTurn(model, box).run()
    assert turn.text == "One moment. It is 42."
    assert turn.deltas[:2] == [{"role": "assistant", "content": ""}, {"content": "One moment. "}]
    # The model did not say it.
    assert model.requests[1]["messages"][1]["content"] is None

    model = Talk(calling(("echo", '{"word": "a"}')), saying("Quick."))
    turn = await ToolTurn(model, toolbox(ECHO), tool_filler={"text": "Hm.", "after": 5.0}).run()
    assert turn.text == "Quick."


async def test_an_interruption_cancels_a_tool_or_leaves_it_to_finish() -> None:
    begun, finish, log = asyncio.Event(), asyncio.Event(), list[str]()

    async def work(arguments: dict[str, Any]) -> str:
        begun.set()
        try:
            await finish.wait()
        except asyncio.CancelledError:
            log.append(f"{arguments['word']} cancelled")
            raise
        log.append(f"{arguments['word']} finished")
        return ""

    box = toolbox(tool("ends", work), tool("goes_on", work, finishes=True))
    turn = ToolTurn(Talk(calling(("ends", '{"word": "a"}'), ("goes_on", '{"word": "b"}'), said="Well. ")), box)
    answering = asyncio.create_task(turn.run())
    await begun.wait()
    began = time.perf_counter()
    turn.world.stop()
    await answering
    assert time.perf_counter() - began < 1.0
    assert turn.fact["type"] == "chat.reply.interrupted/1"
    assert turn.outcomes == ["cancelled", "left_running"]
    assert all(step["result"] for step in turn.fact["tools"])
    # The round before the interruption is paid for once.
    assert turn.fact["usage"]["prompt_tokens"] == 10
    finish.set()
    await eventually(lambda: len(log) == 2)
    assert sorted(log) == ["a cancelled", "b finished"]


async def test_a_broken_second_round_is_tried_again() -> None:
    """What was said before the calls stands: it is neither repeated nor continued."""
    model = Talk(calling(("echo", '{"word": "a"}'), said="Let me see. "), b"", saying("It is a."))
    turn = await ToolTurn(model, toolbox(ECHO)).run()
    assert turn.text == "Let me see. It is a."
    assert model.requests[1]["messages"] == model.requests[2]["messages"]


async def test_the_fact_is_one_record_however_much_was_said() -> None:
    async def large(arguments: dict[str, Any]) -> str:
        return "\U0001f642" * 10_000

    many = calling(*[("large", '{"word": "' + "x" * 8_000 + '"}')] * 16, size=10_000)
    model = Talk(*[many] * 5, saying("Much."))
    turn = await ToolTurn(model, toolbox(tool("large", large))).run()
    assert turn.outcomes == ["done"] * 80
    assert len(orjson.dumps(turn.fact["tools"])) < 500_000
    assert all(step["result"] and step["arguments"] for step in turn.fact["tools"])
