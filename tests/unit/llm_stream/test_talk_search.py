"""The search of a turn: begun as early as the question is known, left out where it is late, and never in the way."""

import asyncio
import time
from typing import Any

import pytest

from common.bus.port import BusUnavailableError
from common.events.chat import ChatReplyRequested
from common.failures import Refused
from llm_stream.retrieval.talk_rules import TalkRules
from llm_stream.retrieval.talk_search import TalkSearch
from tests.support.found_passages import Shelf, passage

WHOLE = [{"role": "user", "content": "How long may I return shoes?"}]
POINTS_BACK = [{"role": "user", "content": "And for shoes?"}]
ANSWER = passage("Shoes may be returned within 30 days.")


def search(shelf: Shelf, config: dict[str, Any] | None = None, user_id: str | None = "ada") -> TalkSearch:
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
    return TalkSearch(shelf, request, rules)


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
    past = [{"role": "user", "content": "How do I return a jacket?"}, *POINTS_BACK]
    talk.begin(past, whole=True)
    talk.begin(past, whole=True)
    await talk.found()
    assert [asked.query for asked in shelf.asked] == ["How do I return a jacket?\nAnd for shoes?"]


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
    talk.close()
    with pytest.raises(asyncio.CancelledError):
        await talk.found()
