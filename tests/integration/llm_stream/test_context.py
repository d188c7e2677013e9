"""A conversation that is too long for its model, in a running service: what its upstream is asked, and what is told."""

from typing import Any

from tests.support.llm_stream import World

SAID = "Tell me more about the mountains, the weather and the trains. "
TURNS: list[dict[str, Any]] = [{"role": role, "content": SAID * 4} for _ in range(20) for role in ("user", "assistant")]
CALL = {"id": "c", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}


async def test_an_upstream_is_asked_with_what_fits_its_window(llm_world: World) -> None:
    alias = await llm_world.alias("", context_tokens=600, answer_reserve=100, tokenizer="o200k_base")
    last = [
        {"role": "user", "content": "What is it like?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c", "content": "Sunny."},
    ]
    system = {"role": "system", "content": "Be brief."}
    heard, fact = await llm_world.ask(alias, messages=[system, *TURNS, *last])
    [call] = await llm_world.calls(alias.models[0])
    asked = call["body"]["messages"]
    assert asked == [system, *TURNS[len(TURNS) - len(asked) + 4 :], *last]
    assert 4 < len(asked) < 20
    context = fact.context
    # The framing of its call.
    assert (context.tokenizer, context.estimated_tokens) == ("o200k_base", 8)
    assert (context.messages_before, context.messages_cut) == (44, 44 - len(asked))
    assert context.tokens <= context.budget_tokens == 500 < context.tokens_before
    assert (heard.headers or {})["x-sonant-context"] == (
        f"tokens={context.tokens}, budget=500, estimated=8, messages=44, cut={context.messages_cut}"
    )


async def test_what_cannot_fit_is_refused_and_nobody_is_asked(llm_world: World) -> None:
    alias = await llm_world.alias("", context_tokens=600, answer_reserve=100)
    heard, fact = await llm_world.ask(alias, SAID * 100)
    assert (fact.error.status, fact.error.code) == (400, "context_length_exceeded")
    assert heard.end["error"]["code"] == "context_length_exceeded"
    assert await llm_world.calls(alias.models[0]) == []
