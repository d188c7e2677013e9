"""A turn whose config wants documents: what its model is asked with, and what answer and fact tell of that."""

import json
from collections.abc import Mapping
from typing import Any, cast

import orjson
import pytest

from common.bus.live.frames import FrameKind
from common.clients.resources.client import ActiveSets, Resolved
from llm_stream.answer.retrieved import HEADER, HEADER_BYTES, sources_header
from tests.support.found_passages import Shelf, passage
from tests.support.one_turn import Live, Model, World

ANSWER = passage("Shoes may be returned within 30 days.")
OTHER = passage("Jackets may be returned within 14 days.", number=2, score=1.5)
BEES = passage("Bees dance to tell where flowers are.", number=3, score=0.5, cosine=0.02)
UPSTREAMS = [{"name": "s", "base_url": "http://s", "model": "s"}]
QUESTION = [{"role": "user", "content": "How long may I return shoes?"}]


class Sets:
    """One active set for everybody."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._body = orjson.dumps({"prompt": {"text": "Be kind."}, "config": config, "tools": []})

    async def resolve(self, org_id: str, project_id: str, user_id: str) -> Resolved:
        return Resolved("project", 1, candidate=False, stale=False, clock=1, body=self._body, etag="e")


def world(shelf: Shelf, config: Mapping[str, Any] | None = None, **alias: Any) -> World:
    sets = cast("ActiveSets", Sets({"retrieval": {}} if config is None else config))
    table = {"small": {"upstreams": UPSTREAMS, **alias}}
    return World(Live(None), Model(), table, active_sets=sets, passages=shelf)


async def asked(world: World, messages: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
    """The messages that the model was asked with."""
    await world.answer(user_id="ada", messages=messages or QUESTION)
    (request,) = world.model.requests
    found: list[dict[str, Any]] = request["messages"]
    return found


def fact(world: World) -> dict[str, Any]:
    (told,) = world.facts
    return told


async def test_relevant_passages_stand_before_the_question_and_are_named() -> None:
    shop = world(Shelf(ANSWER, BEES))
    system, user = await asked(shop)
    assert system["content"] == "Be kind."
    assert "30 days" in user["content"]
    assert "Bees" not in user["content"]
    assert user["content"].endswith("How long may I return shoes?")
    told = fact(shop)["retrieval"]
    assert (told["outcome"], told["found"]) == ("used", 2)
    (source,) = told["sources"]
    assert (source["document"], source["page"], source["heading"]) == ("Handbook.pdf", 3, "Returns")
    start = next(frame for frame in shop.live.frames if frame.kind == FrameKind.START)
    (named,) = json.loads(json.loads(start.payload)["headers"][HEADER])
    assert named["document"] == source["document_id"]


@pytest.mark.parametrize(
    ("shelf", "config", "outcome"),
    [
        (Shelf(BEES), {"retrieval": {}}, "nothing"),
        (Shelf(ANSWER, seconds=60), {"retrieval": {"deadline_secs": 0.02}}, "late"),
        (Shelf(ANSWER, error=TimeoutError()), {"retrieval": {}}, "late"),
    ],
)
async def test_without_a_relevant_passage_in_time_the_model_is_asked_as_ever(
    shelf: Shelf, config: dict[str, Any], outcome: str
) -> None:
    shop = world(shelf, config)
    _, user = await asked(shop)
    assert user == QUESTION[0]
    assert fact(shop)["retrieval"]["outcome"] == outcome
    assert fact(shop)["retrieval"]["sources"] == []


async def test_a_config_that_wants_no_documents_has_none_searched() -> None:
    shelf = Shelf(ANSWER)
    shop = world(shelf, {})
    await asked(shop)
    assert shelf.asked == []
    assert fact(shop).get("retrieval") is None


async def test_passages_keep_to_their_share_of_the_window_and_old_exchanges_give_way() -> None:
    long = passage("Shoes " * 400, number=4)
    old = [{"role": "user", "content": "Old words. " * 60}, {"role": "assistant", "content": "I see."}]
    shop = world(Shelf(long, ANSWER, OTHER), context_tokens=640, answer_reserve=100, tokenizer="cl100k_base")
    messages = await asked(shop, [*old, *QUESTION])
    text = messages[-1]["content"]
    assert "Shoes Shoes" not in text
    assert "30 days" in text
    assert "14 days" in text
    use = fact(shop)["context"]
    assert use["tokens"] <= use["budget_tokens"]
    assert len(fact(shop)["retrieval"]["sources"]) == 2


async def test_a_window_without_room_has_no_passage_and_says_so() -> None:
    shop = world(Shelf(passage("Shoes " * 400)), context_tokens=300, answer_reserve=100, tokenizer="cl100k_base")
    _, user = await asked(shop)
    assert user == QUESTION[0]
    assert fact(shop)["retrieval"] | {"seconds": 0} == {"outcome": "nothing", "found": 1, "sources": [], "seconds": 0}


async def test_a_question_that_points_back_is_searched_for_with_the_words_before() -> None:
    shelf = Shelf(ANSWER)
    before = [{"role": "user", "content": "How do I return a jacket?"}, {"role": "assistant", "content": "By mail."}]
    await asked(world(shelf), [*before, {"role": "user", "content": "And shoes?"}])
    assert [each.query for each in shelf.asked] == ["How do I return a jacket?\nAnd shoes?"]


def test_the_header_is_ascii_and_has_an_end() -> None:
    many = [passage("x", number=number, document="Händbuch.pdf", heading="H" * 1000) for number in range(50)]
    header = sources_header(many)
    assert header.isascii()
    assert len(header) <= HEADER_BYTES + 2
    assert json.loads(header)[0]["name"] == "Händbuch.pdf"
