"""A conversation that is longer than the window of its alias: what is asked, what is refused, and what is told."""

import asyncio
import sys
from collections.abc import Mapping
from typing import Any, ClassVar

import orjson
import pytest

from common.bus.live.frames import FrameKind
from llm_stream.adapters.bpe import BpeTokenizer, BpeTokenizers
from llm_stream.aliases import AliasTable
from llm_stream.answer.window import load_tokenizers
from llm_stream.context.token_counter import open_token_counter
from llm_stream.ports import UpstreamBroken, UpstreamRefused
from tests.support.one_turn import Live, Model, World

UPSTREAM = {"name": "s", "base_url": "http://s", "model": "gpt-4o-mini"}
OTHER = {"name": "t", "base_url": "http://t", "model": "gpt-4o"}
LARGE = {"upstreams": [{"name": "l", "base_url": "http://l", "model": "l"}]}
SYSTEM = {"role": "system", "content": "Be brief."}
QUESTION = {"role": "user", "content": "And tomorrow?"}
# With its framing a message of 16 tokens.
LONG = "one two three four five six seven eight nine ten eleven twelve"
OLD = [{"role": role, "content": LONG} for _ in range(5) for role in ("user", "assistant")]


def world(*, model: Model | None = None, table: Mapping[str, Any] | None = None, **alias: Any) -> World:
    small = {"upstreams": [UPSTREAM], "context_tokens": 100, "answer_reserve": 20, **alias}
    return World(Live(None), model or Model(), table or {"small": small, "large": LARGE})


def started(world: World) -> dict[str, str]:
    [start] = [frame for frame in world.live.frames if frame.kind == FrameKind.START]
    headers: dict[str, str] = orjson.loads(start.payload)["headers"]
    return headers


async def test_the_oldest_exchanges_are_left_out_and_the_answer_says_so() -> None:
    world_ = world()
    await world_.answer(messages=[SYSTEM, *OLD, QUESTION])
    [request] = world_.model.requests
    # 3 for the answer, 7 for the instructions and 7 for the question: one exchange of 32 fits beside them, and no two.
    assert request["messages"] == [SYSTEM, *OLD[-2:], QUESTION]
    assert started(world_) == {"x-sonant-context": "tokens=49, budget=80, estimated=0, messages=12, cut=8"}
    assert world_.facts[0]["context"] == {
        "tokenizer": "o200k_base",
        "window_tokens": 100,
        "budget_tokens": 80,
        "tokens_before": 177,
        "tokens": 49,
        "estimated_tokens": 0,
        "messages_before": 12,
        "messages_cut": 8,
    }


async def test_what_fits_is_asked_as_it_came() -> None:
    world_ = world(context_tokens=1_000)
    await world_.answer(messages=[SYSTEM, *OLD, QUESTION])
    assert world_.model.requests[0]["messages"] == [SYSTEM, *OLD, QUESTION]
    assert started(world_)["x-sonant-context"].endswith("messages=12, cut=0")


async def test_without_a_window_nothing_is_counted() -> None:
    world_ = world(context_tokens=None)
    await world_.answer(messages=[SYSTEM, *OLD, QUESTION])
    assert len(world_.model.requests[0]["messages"]) == 12
    assert started(world_) == {}
    assert "context" not in world_.facts[0]


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [SYSTEM, {"role": "user", "content": LONG * 8}]},
        {"messages": [{"role": "system", "content": LONG * 8}, *OLD]},
        {"messages": [QUESTION], "max_tokens": 91},
        {"messages": [QUESTION], "max_completion_tokens": 10**15},
        {"messages": [QUESTION], "tools": [{"type": "function", "function": {"name": "f", "description": LONG * 8}}]},
        # A result belongs to what it answers, and that to what follows it.
        {
            "messages": [
                {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": LONG * 8}}]},
                QUESTION,
                {"role": "tool", "tool_call_id": "c", "content": "ok"},
            ]
        },
    ],
    ids=["question", "instructions", "answer", "answer beyond all", "tools", "pair"],
)
async def test_what_cannot_fit_is_refused_before_anybody_is_asked(body: dict[str, Any]) -> None:
    world_ = world()
    await world_.answer(**body)
    assert world_.model.asked == []
    [fact] = world_.facts
    assert fact["type"] == "chat.reply.failed/1"
    assert (fact["error"]["status"], fact["error"]["code"]) == (400, "context_length_exceeded")
    assert fact["error"]["param"] == "messages"
    assert fact["context"]["tokens_before"] > fact["context"]["budget_tokens"]


async def test_a_larger_alias_takes_over_what_is_too_long_with_nobody_asked_in_vain() -> None:
    world_ = world(larger="large")
    await world_.answer(messages=[SYSTEM, *OLD, QUESTION])
    assert world_.model.asked == ["l"]
    assert len(world_.model.requests[0]["messages"]) == 12
    # It says nothing of its window.
    assert "context" not in world_.facts[0]


async def test_a_larger_alias_cuts_to_its_own_window() -> None:
    large = {**LARGE, "context_tokens": 180, "answer_reserve": 20}
    small = {"upstreams": [UPSTREAM], "context_tokens": 100, "answer_reserve": 20, "larger": "large"}
    world_ = world(table={"small": small, "large": large})
    await world_.answer(messages=[SYSTEM, *OLD, QUESTION])
    assert world_.model.asked == ["l"]
    context = world_.facts[0]["context"]
    # By estimate, since nobody knows its tokenizer.
    assert "tokenizer" not in context
    assert context["estimated_tokens"] == context["tokens"] <= 160
    assert context["messages_cut"] > 0


async def test_what_its_upstream_finds_too_long_after_all_is_told_of_the_alias_that_answers() -> None:
    refusal = UpstreamRefused("too long", status=400, code="context_length_exceeded", too_long=True)
    world_ = world(model=Model({"s": refusal}), larger="large", context_tokens=1_000)
    await world_.answer(messages=[SYSTEM, *OLD, QUESTION])
    assert world_.model.asked == ["s", "l"]
    assert "context" not in world_.facts[0]


async def test_a_fallback_is_asked_with_what_was_kept() -> None:
    world_ = world(model=Model({"s": UpstreamBroken("reset")}), upstreams=[UPSTREAM, OTHER])
    await world_.answer(messages=[SYSTEM, *OLD, QUESTION])
    assert world_.model.asked == ["s", "t"]
    assert world_.model.requests[0]["messages"] == world_.model.requests[1]["messages"]
    assert world_.facts[0]["context"]["messages_cut"] == 8


async def test_an_interrupted_answer_tells_its_context() -> None:
    world_ = world(model=Model(silent=True))
    await world_.answer(world_.stop, messages=[SYSTEM, *OLD, QUESTION])
    assert world_.facts[0]["type"] == "chat.reply.interrupted/1"
    assert world_.facts[0]["context"]["messages_cut"] == 8


async def test_an_answer_that_the_client_began_stays_last() -> None:
    begun = {"role": "assistant", "content": "Tomorrow it will"}
    world_ = world()
    await world_.answer(messages=[*OLD, QUESTION, begun])
    assert world_.model.requests[0]["messages"][-2:] == [QUESTION, begun]


async def test_tools_are_counted_and_said_to_be_estimated() -> None:
    tools = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]
    world_ = world(context_tokens=1_000)
    await world_.answer(messages=[QUESTION], tools=tools, response_format={"type": "json_object"})
    context = world_.facts[0]["context"]
    assert 0 < context["estimated_tokens"] == context["tokens_before"] - 3 - 7


async def test_an_alias_may_name_its_tokenizer_or_none() -> None:
    for given, told in (("cl100k_base", "cl100k_base"), ("estimate", None), (None, "o200k_base")):
        world_ = world(tokenizer=given)
        await world_.answer(messages=[QUESTION])
        assert world_.facts[0]["context"].get("tokenizer") == told


async def test_what_aliases_count_by_is_ready_before_the_first_conversation() -> None:
    class Known(BpeTokenizers):
        loaded: ClassVar[list[str]] = []

        def load(self, name: str) -> BpeTokenizer:
            self.loaded.append(name)
            return super().load(name)

    table = {"small": {"upstreams": [UPSTREAM], "context_tokens": 2_000}, "large": {"upstreams": [OTHER]}}
    async with open_token_counter(Known()) as counter:
        await load_tokenizers(AliasTable.model_validate({"aliases": table}).aliases.values(), counter)
        assert Known.loaded == ["o200k_base"]
        assert await counter.counts("us", "o200k_base", ["tiktoken is great!"]) == [6]


async def test_aliases_without_a_window_load_nothing() -> None:
    code = "import sys, llm_stream.app; sys.exit('tiktoken' in sys.modules)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    assert await process.wait() == 0
