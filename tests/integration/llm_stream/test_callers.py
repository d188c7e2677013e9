"""What one caller's requests cause at an upstream is no verdict for the others, and its answers keep their length."""

from typing import Any

import pytest

from tests.support.llm_stream import World, chunk, scripted, sse


async def calls(llm_world: World, model: str) -> int:
    return len(await llm_world.calls(model))


async def test_one_organisations_failures_keep_no_other_from_the_upstream(llm_world: World) -> None:
    """Before, five of them opened the breaker for all."""
    alias = await llm_world.alias("status-500", tries=1)
    [model] = alias.models
    noisy = [(await llm_world.ask(alias, org_id="noisy"))[1].error.status for _ in range(8)]
    assert noisy == [502] * 5 + [503] * 3
    asked = await calls(llm_world, model)
    _, fact = await llm_world.ask(alias, org_id="quiet")
    assert fact.error.status == 502, "it was asked, and failed as well"
    assert await calls(llm_world, model) == asked + 1
    # Now two fail, and nobody is served: that is an outage.
    _, fact = await llm_world.ask(alias, org_id="third")
    assert (fact.error.status, fact.error.code) == (503, "upstreams_unavailable")
    assert await calls(llm_world, model) == asked + 1


async def test_refusals_are_no_verdict_either_way(llm_world: World) -> None:
    alias = await llm_world.alias("status-500", tries=1)
    for text in ["hi"] * 4:
        await llm_world.ask(alias, text)
    refused, fact = await llm_world.ask(alias, "hi", temperature="hot")
    assert fact.error.status in (400, 502), refused
    _, fact = await llm_world.ask(alias, "hi")
    _, fact = await llm_world.ask(alias, "hi")
    assert fact.error.status == 503


def answer_of(*texts: str) -> bytes:
    """A server that has heard nothing of `n`."""
    return sse(*[chunk(text) for text in texts], chunk(finish="stop"), b"[DONE]")


@pytest.mark.parametrize("release", ["tokens", "sentences"])
async def test_more_choices_than_a_server_knows_are_no_failure(llm_world: World, release: str) -> None:
    """Before, each was a failure (502 at the end of a whole answer), and five of them opened the breaker for all."""
    async with scripted(*[[answer_of("One. ", "Two.")] for _ in range(6)]) as upstream:
        alias = await llm_world.alias({"base_url": upstream.url}, release=release, tries=1)
        for _ in range(6):
            heard, fact = await llm_world.ask(alias, n=2)
            assert heard.done
            assert heard.text(0) == "One. Two."
            assert [attempt.outcome for attempt in fact.attempts] == ["completed"]


async def test_a_choice_that_began_must_end(llm_world: World) -> None:
    cut = sse(chunk("One."), chunk("Another.", index=1), chunk(finish="stop"), b"[DONE]")
    async with scripted([cut]) as upstream:
        alias = await llm_world.alias({"base_url": upstream.url}, tries=1)
        _, fact = await llm_world.ask(alias, n=2)
    assert fact.error.status == 502


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        ({}, {"max_tokens": 7}),
        ({"max_tokens": None}, {"max_tokens": 7}),
        ({"max_completion_tokens": 500}, {"max_completion_tokens": 7}),
        ({"max_tokens": 3}, {"max_tokens": 3}),
    ],
)
async def test_an_answer_is_no_longer_than_its_key_may_pay(
    llm_world: World, body: dict[str, Any], sent: dict[str, Any]
) -> None:
    async with scripted([answer_of("Hi.")]) as upstream:
        alias = await llm_world.alias({"base_url": upstream.url})
        await llm_world.ask(alias, answer_tokens=7, **body)
        [asked] = upstream.requests
    assert {name: asked[name] for name in asked if name.startswith("max_")} == sent
