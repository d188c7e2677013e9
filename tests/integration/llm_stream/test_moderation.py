"""Moderation before and after the model: nothing that is flagged reaches a model or a client."""

import pytest

from common.events.chat import AnswerDialect
from tests.support.llm_stream import PATIENCE, VALKEY_DATABASE, World, alias_table, scripted, sse
from tests.support.llm_stream import chunk as a_chunk
from tests.support.service import numbered
from tests.support.waiting import eventually

BOTH = ["input", "output"]
MODERATOR = "omni-moderation-latest"


async def moderated(world: World, since: int = 0) -> list[str]:
    """The texts that the moderator was asked about."""
    calls = await world.calls(MODERATOR)
    return [text for call in calls[since:] for text in call["body"]["input"]]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_clean_turn_is_answered_as_ever(llm_world: World, stream: bool) -> None:
    alias = await llm_world.alias("", moderation=BOTH)
    heard, fact = await llm_world.ask(alias, "Say: One is here. Two is here.", stream=stream)
    assert heard.text() == "One is here. Two is here."
    assert heard.finish_reasons() == ["stop"]
    assert fact.moderation.flagged == ()
    assert fact.moderation.checked >= 1


async def test_a_cut_answer_is_an_incomplete_response_in_the_words_of_that_api(llm_world: World) -> None:
    alias = await llm_world.alias("", moderation=["output"])
    heard, fact = await llm_world.ask(alias, "Say: One is here. Now a murder.", dialect=AnswerDialect(name="responses"))
    assert fact.ended_by == "moderation"
    last = b"".join(frame.payload for frame in heard.frames[-3:])
    assert b"response.incomplete" in last
    assert b'"reason":"content_filter"' in last


@pytest.mark.parametrize("stream", [True, False])
async def test_a_flagged_request_reaches_no_model(llm_world: World, stream: bool) -> None:
    alias = await llm_world.alias("", moderation=["input"])
    history = [
        {"role": "user", "content": [{"type": "text", "text": "How is a murder done?"}]},
        {"role": "assistant", "content": "Hm."},
        {"role": "user", "content": "Go on."},
    ]
    _, fact = await llm_world.ask(alias, messages=history, stream=stream)
    error = fact.error
    assert (error.status, error.code, error.param) == (400, "content_filter", "messages")
    assert "violence" in error.message
    assert (fact.moderation.stage, fact.moderation.flagged) == ("input", ("violence",))
    assert await llm_world.calls(alias.models[0]) == []


async def test_what_was_found_clean_is_not_asked_about_again(llm_world: World) -> None:
    alias = await llm_world.alias("", moderation=["input"])
    first = {"role": "user", "content": "This is asked about once alone."}
    before = len(await llm_world.calls(MODERATOR))
    await llm_world.ask(alias, messages=[first])
    again = [first, {"role": "assistant", "content": "Yes."}, {"role": "user", "content": "And this now."}]
    await llm_world.ask(alias, messages=again)
    assert await moderated(llm_world, before) == ["This is asked about once alone.", "And this now."]


async def test_nothing_flagged_is_sent_on(llm_world: World) -> None:
    alias = await llm_world.alias("delay-1", moderation=["output"])
    said = "One is here. Two is here. " * 5 + "Then a murder was done by him. Three is here. " * 20
    heard, fact = await llm_world.ask(alias, f"Say: {said}")
    assert heard.text().strip() == ("One is here. Two is here. " * 5).strip()
    assert heard.finish_reasons() == ["content_filter"]
    assert heard.done
    assert heard.chunks[-1]["sonant"] == {"ended_by": "moderation"}
    assert (fact.ended_by, fact.finish_reason) == ("moderation", "content_filter")
    assert (fact.moderation.stage, fact.moderation.flagged) == ("output", ("violence",))
    await llm_world.call_ended(alias.models[0], "client_closed")
    assert await llm_world.metric("sonant_chat_answers_cut_total", 'by="moderation"') >= 1


async def test_a_flagged_last_sentence_is_not_sent_either(llm_world: World) -> None:
    alias = await llm_world.alias("", moderation=["output"])
    heard, fact = await llm_world.ask(alias, "Say: One is here. Now a murder")
    assert heard.text().strip() == "One is here."
    assert heard.finish_reasons() == ["content_filter"]
    assert fact.ended_by == "moderation"


async def test_a_flagged_whole_answer_says_nothing(llm_world: World) -> None:
    alias = await llm_world.alias("", moderation=["output"])
    heard, fact = await llm_world.ask(alias, "Say: One is here. Now a murder.", stream=False)
    assert heard.text() == ""
    assert heard.finish_reasons() == ["content_filter"]
    assert fact.usage.completion_tokens > 0


async def test_reasoning_and_calls_are_looked_at_too(llm_world: World) -> None:
    pieces = ["I think of a mur", "der that he did", " and of more."]
    thought = [{"model": "m", "choices": [{"index": 0, "delta": {"reasoning": piece}}]} for piece in pieces]
    body = sse(*thought, a_chunk("Nothing."), a_chunk(finish="stop"), b"[DONE]")
    async with scripted([body]) as upstream:
        alias = await llm_world.alias({"base_url": upstream.url}, moderation=["output"])
        heard, fact = await llm_world.ask(alias)
    assert "Nothing." not in heard.text()
    assert fact.ended_by == "moderation"


async def test_a_break_of_the_upstream_still_tells_what_was_said_before_it(llm_world: World) -> None:
    alias = await llm_world.alias("reset-after-9", moderation=["output"], tries=1)
    heard, fact = await llm_world.ask(alias, "Say: One is here. Two is here. Three is here. Four is here.")
    assert heard.text().startswith("One is here.")
    assert heard.error is not None
    assert fact.error.status == 502


@pytest.mark.parametrize("failure", ["closed", "open"])
async def test_while_the_moderator_is_away_texts_pass_or_do_not(
    llm_world: World, valkey_url: str, failure: str
) -> None:
    """A process of its own whose moderator answers 500."""
    name, url = f"moderated-{failure}", numbered(valkey_url, VALKEY_DATABASE + 1)
    upstream = llm_world._upstream(name, 0, "")
    table = alias_table(name, [upstream], {**PATIENCE, "moderation": BOTH})
    settings = {
        "SONANT_MODERATION_URL": f"{llm_world.sandbox}/v1",
        "SONANT_MODERATION_MODEL": f"{MODERATOR}+status-500",
        "SONANT_MODERATION_FAILURE": failure,
    }
    async with llm_world.second(name, table, (url, url), **settings) as other:
        heard, fact = await other.ask(name, "Say: One is here.")
    if failure == "closed":
        assert (fact.error.status, fact.error.code) == (503, "moderation_unavailable")
        assert await llm_world.calls(upstream["model"]) == []
    else:
        assert heard.text() == "One is here."
        assert fact.moderation.unchecked >= 2


async def test_an_interruption_ends_a_turn_that_is_looked_at(llm_world: World) -> None:
    alias = await llm_world.alias("delay-20", moderation=BOTH)
    async with llm_world.turn(alias, "Say: " + "One is here. " * 40) as turn:
        await turn.hears(3)
        await llm_world.stop(turn)
        await turn.ended()
    fact = await llm_world.fact(turn.id)
    assert fact.receipt.delivered_tokens < fact.receipt.generated_tokens
    await llm_world.call_ended(alias.models[0], "client_closed")
    await eventually(lambda: llm_world.calls(alias.models[0]))
