"""The service runs tools of its aliases, on its real upstreams and over its real channels."""

import pytest

from tests.support.llm_stream import World

QUESTION = 'Use the calculator for "6 * 7".'


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("release", ["tokens", "sentences"])
async def test_a_tool_of_the_alias_is_run_within_the_answer(llm_world: World, release: str, stream: bool) -> None:
    alias = await llm_world.alias("aloud", release=release, tools=["calculator", "current_time"])
    heard, fact = await llm_world.ask(alias, QUESTION, stream=stream)
    assert "calculator: 42." in heard.text()
    assert heard.text().startswith("Let me look that up.") == stream
    assert heard.finish_reasons() == ["stop"]
    [step] = fact.tools
    assert (step.name, step.kind, step.result, step.outcome) == ("calculator", "builtin", "42", "done")
    first, second = await llm_world.calls(alias.models[0])
    assert [each["function"]["name"] for each in first["body"]["tools"]] == ["calculator", "current_time"]
    assert [message["role"] for message in second["body"]["messages"]] == ["user", "assistant", "tool"]
    assert fact.usage.prompt_tokens == heard.end["usage"]["prompt_tokens"] > 0
