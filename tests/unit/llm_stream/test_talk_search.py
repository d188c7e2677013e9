"""The search of a turn: begun as early as the question is known, left out where it is late, and never in the way."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest

from common.bus.port import BusUnavailableError
from common.events.chat import ChatReplyRequested
from common.failures import Refused
from llm_stream.retrieval.rewritten_question import Rewritten, Said
from llm_stream.retrieval.talk_rules import TalkRules
from llm_stream.retrieval.talk_search import TalkSearch
from tests.support.found_passages import Shelf, passage

WHOLE = [{"role": "user", "content": "How long may I return shoes?"}]
POINTS_BACK = [{"role": "user", "content": "And for shoes?"}]
ANSWER = passage("Shoes may be returned within 30 days.")
PAST = [{"role": "user", "content": "How do I return a jacket?"}, {"role": "assistant", "content": "By mail."}]
FOLLOW_UP = [*PAST, *POINTS_BACK]
BY_RULES = "How do I return a jacket?\nAnd for shoes?"


class Writer:
    """A model that writes this question, after `seconds` of those it is given at the most."""

    def __init__(self, rewritten: Rewritten, *, seconds: float = 0.0) -> None:
        self.rewritten = rewritten
        self.seconds = seconds
        self.asked: list[Sequence[Said]] = []
        self.given: list[float] = []

    async def __call__(self, turns: Sequence[Said], seconds: float) -> Rewritten:
        self.asked.append(turns)
        self.given.append(seconds)
        await asyncio.sleep(min(seconds, self.seconds))
        return self.rewritten


def search(
    shelf: Shelf,
    config: dict[str, Any] | None = None,
    user_id: str | None = "ada",
    *,
    writer: Writer | None = None,
) -> TalkSearch:
    rules = TalkRules.of({"retrieval": config or {}})
    assert rules is not None
    request = ChatReplyRequested(
        request_id="r",
        org_id="o",
        key_id="k",
        session_id="s",
        user_id=user_id,
        model="m",
        stream=True,
        received_at=time.time(),
        body={"messages": WHOLE},
    )
    return TalkSearch(shelf, request, rules, writer)


async def test_what_is_relevant_is_found() -> None:
    talk = search(Shelf(ANSWER))
    talk.begin(WHOLE, whole=False)
    found = await talk.found()
    assert found.outcome == "used"
    assert found.passages == (ANSWER,)


async def test_nothing_relevant_is_nothing() -> None:
    talk = search(Shelf(passage("Bees dance.", cosine=0.02)))
    talk.begin(WHOLE, whole=False)
    found = await talk.found()
    assert (found.outcome, found.passages, found.found) == ("nothing", (), 1)


async def test_a_search_that_is_late_is_left_out() -> None:
    talk = search(Shelf(ANSWER, seconds=60), {"deadline_secs": 0.02})
    talk.begin(WHOLE, whole=False)
    found = await talk.found()
    assert (found.outcome, found.passages) == ("late", ())


@pytest.mark.parametrize("error", [Refused(409, "no model", "model_not_installed"), BusUnavailableError("away")])
async def test_a_search_that_cannot_be_made_costs_no_answer(error: Exception) -> None:
    talk = search(Shelf(ANSWER, error=error))
    talk.begin(WHOLE, whole=False)
    assert (await talk.found()).outcome == "failed"


async def test_a_question_that_points_back_waits_for_the_past_and_is_asked_once() -> None:
    shelf = Shelf(ANSWER)
    talk = search(shelf)
    talk.begin(POINTS_BACK, whole=False)
    assert shelf.asked == []
    talk.begin(FOLLOW_UP, whole=True)
    talk.begin(FOLLOW_UP, whole=True)
    await talk.found()
    assert [asked.query for asked in shelf.asked] == [BY_RULES]


async def test_who_says_nothing_has_nothing_searched() -> None:
    shelf = Shelf(ANSWER)
    talk = search(shelf)
    talk.begin([{"role": "user", "content": ""}], whole=True)
    assert (await talk.found()).outcome == "nothing"
    assert shelf.asked == []


async def test_only_a_memory_looks_at_what_the_user_said_elsewhere() -> None:
    shelf = Shelf()
    for config, user in (({}, "ada"), ({"memory": True}, "ada"), ({"memory": True}, None)):
        talk = search(shelf, {"collections": ["handbook"], **config}, user)
        talk.begin(WHOLE, whole=True)
        await talk.found()
    assert [asked.user_id for asked in shelf.asked] == ["", "ada", ""]
    assert [asked.collections for asked in shelf.asked] == [("handbook",), ("handbook", "memory"), ("handbook",)]


async def test_a_turn_that_ends_ends_its_search() -> None:
    talk = search(Shelf(ANSWER, seconds=60), {"deadline_secs": 10})
    talk.begin(WHOLE, whole=False)
    await asyncio.sleep(0)
    await talk.close()
    with pytest.raises(asyncio.CancelledError):
        await talk.found()


async def test_a_question_that_points_back_is_searched_for_as_a_model_writes_it() -> None:
    shelf, writer = Shelf(ANSWER), Writer(Rewritten("used", "How do I return shoes?"))
    talk = search(shelf, writer=writer)
    talk.begin(FOLLOW_UP, whole=False)
    found = await talk.found()
    assert [asked.query for asked in shelf.asked] == ["How do I return shoes?"]
    assert (found.outcome, found.question_model) == ("used", "used")
    assert [[said.text for said in turns] for turns in writer.asked] == [
        ["How do I return a jacket?", "By mail.", "And for shoes?"]
    ]


@pytest.mark.parametrize("outcome", ["late", "failed", "unusable", "no_alias"])
async def test_without_a_written_question_rules_make_it(outcome: Any) -> None:
    shelf = Shelf(ANSWER)
    talk = search(shelf, writer=Writer(Rewritten(outcome)))
    talk.begin(FOLLOW_UP, whole=True)
    found = await talk.found()
    assert [asked.query for asked in shelf.asked] == [BY_RULES]
    assert (found.outcome, found.question_model) == ("used", outcome)


async def test_model_and_search_have_one_deadline() -> None:
    shelf, writer = Shelf(ANSWER, seconds=60), Writer(Rewritten("late"), seconds=60)
    talk = search(shelf, {"deadline_secs": 0.2}, writer=writer)
    began = time.monotonic()
    talk.begin(FOLLOW_UP, whole=True)
    found = await talk.found()
    assert writer.given == [0.1]
    assert (found.outcome, found.question_model) == ("late", "late")
    # A busy machine wakes late.
    assert 0.19 < found.seconds <= time.monotonic() - began < 1.0


@pytest.mark.parametrize("messages", [WHOLE, POINTS_BACK])
async def test_a_first_question_is_nobodys_to_write(messages: list[dict[str, Any]]) -> None:
    writer = Writer(Rewritten("used", "What?"))
    talk = search(Shelf(ANSWER), writer=writer)
    talk.begin(messages, whole=True)
    found = await talk.found()
    assert (writer.asked, found.question_model) == ([], None)


async def test_a_whole_question_is_searched_for_at_once_and_as_it_is() -> None:
    shelf, writer = Shelf(ANSWER), Writer(Rewritten("used", "What?"))
    whole = [{"role": "user", "content": "How long may I return red shoes of last summer?"}]
    talk = search(shelf, writer=writer)
    talk.begin([*PAST, *whole], whole=False, checked=False)
    await talk.found()
    assert [asked.query for asked in shelf.asked] == [whole[0]["content"]]
    assert writer.asked == []


async def test_a_model_is_asked_once_the_past_is_known_and_the_guards_have_looked() -> None:
    writer = Writer(Rewritten("used", "How do I return shoes?"))
    talk = search(Shelf(ANSWER), writer=writer)
    talk.begin(POINTS_BACK, whole=False, checked=True)
    talk.begin(FOLLOW_UP, whole=True, checked=False)
    await asyncio.sleep(0)
    assert writer.asked == []
    talk.begin(FOLLOW_UP, whole=True)
    await talk.found()
    assert len(writer.asked) == 1
