"""A turn whose config names a model for questions: what is searched for, what that costs, and that no turn is worse."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

import orjson
import pytest
from prometheus_client import REGISTRY

from common.clients.resources.client import ActiveSets, Resolved
from llm_stream.answer.moderation import Moderation
from llm_stream.ports import Moderator, UpstreamBroken
from tests.support.found_passages import Shelf, passage
from tests.support.one_turn import Body, Live, Model, World

ANSWER = passage("The Hush 2 costs 40 euros.")
PRICE = {"input": 10.0, "output": 100.0}
TABLE: dict[str, dict[str, Any]] = {
    "small": {"upstreams": [{"name": "s", "base_url": "http://s", "model": "s"}]},
    "writer": {"upstreams": [{"name": "w", "base_url": "http://w", "model": "w", "price": PRICE}]},
    "vectors": {"serves": "embeddings", "upstreams": [{"name": "v", "base_url": "http://v", "model": "v"}]},
}
PAST = [{"role": "user", "content": "Which kettle is it?"}, {"role": "assistant", "content": "The Hush 2."}]
FOLLOW_UP = [*PAST, {"role": "user", "content": "And how much does it cost?"}]
BY_RULES = "Which kettle is it?\nAnd how much does it cost?"
BY_MODEL = "How much does the Hush 2 cost?"


class Sets:
    """One active set for everybody."""

    def __init__(self, retrieval: Mapping[str, Any]) -> None:
        self._body = orjson.dumps({"prompt": {}, "config": {"retrieval": retrieval}, "tools": []})

    async def resolve(self, org_id: str, project_id: str, user_id: str) -> Resolved:
        return Resolved("project", 1, candidate=False, stale=False, clock=1, body=self._body, etag="e")


class Silent(Body):
    """An upstream that accepts a request and answers nothing."""

    async def whole(self, grew: Callable[[int], None] | None = None) -> bytes:
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")


class Watchful:
    """A moderator that flags texts with this word in them."""

    def __init__(self, word: str) -> None:
        self.word = word

    async def check(self, texts: list[str]) -> list[tuple[str, ...]]:
        return [("violence",) if self.word in text else () for text in texts]


def written(text: str | None, finish: str = "stop") -> Body:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    usage = {"prompt_tokens": 90, "completion_tokens": 9, "total_tokens": 99}
    return Body(orjson.dumps({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage}))


def world(
    shelf: Shelf,
    model: Model,
    retrieval: Mapping[str, Any] | None = None,
    table: Mapping[str, Any] = TABLE,
    moderator: Any = None,
) -> World:
    rules = {"question_model": "writer", **(retrieval or {})}
    sets = cast("ActiveSets", Sets({name: value for name, value in rules.items() if value is not None}))
    moderation = Moderation(cast("Moderator", moderator), fails_open=False)
    return World(Live(None), model, table, active_sets=sets, passages=shelf, moderation=moderation)


async def facts(world_: World, messages: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
    """What was told of one turn: of the turn itself first, then of what was asked within it."""
    await world_.answer(user_id="ada", messages=messages or FOLLOW_UP)
    return world_.facts


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("sonant_chat_question_models_total", {"outcome": outcome}) or 0.0


async def test_a_follow_up_is_searched_for_as_the_model_writes_it() -> None:
    shelf, model = Shelf(ANSWER), Model(bodies={"w": written(BY_MODEL)})
    before = counted("used")
    turn, asked = await facts(world(shelf, model))
    assert [each.query for each in shelf.asked] == [BY_MODEL]
    assert (turn["retrieval"]["outcome"], turn["retrieval"]["question_model"]) == ("used", "used")
    assert counted("used") == before + 1
    question, answer = model.requests
    assert (question["temperature"], question["max_tokens"], question["stream"]) == (0, 64, False)
    assert "The Hush 2." in question["messages"][1]["content"]
    # What the model wrote is searched for, and stands nowhere else.
    assert BY_MODEL not in orjson.dumps(answer["messages"]).decode()
    assert BY_MODEL not in orjson.dumps([turn, asked]).decode()


async def test_what_the_model_cost_is_told_under_its_own_alias() -> None:
    turn, asked = await facts(world(Shelf(ANSWER), Model(bodies={"w": written(BY_MODEL)})))
    assert (asked["type"], asked["model"], asked["within_turn"]) == (turn["type"], "writer", turn["request_id"])
    assert (asked["org_id"], asked["key_id"]) == (turn["org_id"], turn["key_id"])
    assert asked["session_id"] == asked["request_id"] != turn["request_id"]
    assert "user_id" not in asked
    assert asked["usage"] == {"prompt_tokens": 90, "completion_tokens": 9, "total_tokens": 99, "estimated": False}
    assert asked["cost_usd"] == pytest.approx((90 * 10 + 9 * 100) / 1_000_000)
    assert [attempt["upstream"] for attempt in asked["attempts"]] == ["w"]
    assert "kept" not in asked
    assert turn["usage"]["total_tokens"] != 99
    assert "within_turn" not in turn


@pytest.mark.parametrize(
    ("model", "outcome"),
    [
        (Model({"w": UpstreamBroken("reset")}), "failed"),
        (Model(bodies={"w": Body(b"<html>")}), "failed"),
        (Model(bodies={"w": written(None)}), "unusable"),
        (Model(bodies={"w": written("Sure!\nHow much is it?")}), "unusable"),
        (Model(bodies={"w": written("how much " * 100)}), "unusable"),
        (Model(bodies={"w": written("How much does the Hush 2", "length")}), "unusable"),
    ],
    ids=["broken", "malformed", "empty", "chatty", "long", "cut"],
)
async def test_what_goes_wrong_leaves_the_question_to_the_rules(model: Model, outcome: str) -> None:
    shelf, before = Shelf(ANSWER), counted(outcome)
    turn, asked = await facts(world(shelf, model))
    assert [each.query for each in shelf.asked] == [BY_RULES]
    assert (turn["retrieval"]["outcome"], turn["retrieval"]["question_model"]) == ("used", outcome)
    assert counted(outcome) == before + 1
    assert asked["type"] == ("chat.reply.failed/1" if outcome == "failed" else "chat.reply.completed/1")


async def test_a_slow_model_is_given_up_within_the_deadline_of_the_search() -> None:
    shelf, began = Shelf(ANSWER), time.monotonic()
    turn, asked = await facts(world(shelf, Model(bodies={"w": Silent(b"")}), {"deadline_secs": 0.3}))
    assert [each.query for each in shelf.asked] == [BY_RULES]
    assert (turn["retrieval"]["outcome"], turn["retrieval"]["question_model"]) == ("used", "late")
    assert 0.14 < turn["retrieval"]["seconds"] < 0.3
    assert time.monotonic() - began < 5
    assert (asked["type"], asked["receipt"]["reason"]) == ("chat.reply.interrupted/1", "deadline")
    # It has read what it was asked.
    assert asked["usage"]["estimated"]
    assert asked["usage"]["prompt_tokens"] > 0
    assert asked["cost_usd"] > 0
    # That nobody waits any longer says nothing about the upstream.
    assert [attempt["outcome"] for attempt in asked["attempts"]] == ["stopped"]


@pytest.mark.parametrize("named", ["nobody", "vectors"])
async def test_an_alias_that_answers_nobody_is_counted_and_not_asked(named: str) -> None:
    shelf, model, before = Shelf(ANSWER), Model(), counted("no_alias")
    [turn] = await facts(world(shelf, model, {"question_model": named}))
    assert [each.query for each in shelf.asked] == [BY_RULES]
    assert (turn["retrieval"]["question_model"], model.asked) == ("no_alias", ["s"])
    assert counted("no_alias") == before + 1


@pytest.mark.parametrize(
    ("named", "messages"),
    [
        (None, FOLLOW_UP),
        ("writer", FOLLOW_UP[-1:]),
        ("writer", [*PAST, {"role": "user", "content": "Which warranty has the blue toaster in Portugal?"}]),
    ],
    ids=["no setting", "first message", "whole question"],
)
async def test_nothing_is_asked_where_nobody_wants_it_or_nothing_is_to_be_written(
    named: str | None, messages: list[dict[str, Any]]
) -> None:
    shelf, model = Shelf(ANSWER), Model()
    [turn] = await facts(world(shelf, model, {"question_model": named}), messages)
    assert len(shelf.asked) == 1
    assert model.asked == ["s"]
    assert "question_model" not in turn["retrieval"]


async def test_the_next_upstream_writes_where_the_first_one_fails() -> None:
    writers = [{"name": name, "base_url": f"http://{name}", "model": name} for name in ("v", "w")]
    table = {**TABLE, "writer": {"upstreams": writers}}
    shelf, model = Shelf(ANSWER), Model({"v": UpstreamBroken("reset")}, bodies={"w": written(BY_MODEL)})
    _, asked = await facts(world(shelf, model, table=table))
    assert [each.query for each in shelf.asked] == [BY_MODEL]
    assert [attempt["outcome"] for attempt in asked["attempts"]] == ["broken", "completed"]


async def test_a_turn_that_is_stopped_stops_what_it_asked() -> None:
    world_ = world(Shelf(ANSWER), Model(bodies={"w": Silent(b"")}), {"deadline_secs": 10})
    await world_.answer(world_.stop, user_id="ada", messages=FOLLOW_UP)
    turn, asked = world_.facts
    assert (turn["type"], asked["type"]) == ("chat.reply.interrupted/1", "chat.reply.interrupted/1")
    assert asked["receipt"]["reason"] == turn["receipt"]["reason"] == "client_closed"


async def test_where_input_is_moderated_no_model_is_asked_before() -> None:
    table = {**TABLE, "small": {**TABLE["small"], "moderation": ["input"]}}
    model = Model(bodies={"w": written(BY_MODEL)})
    [turn] = await facts(world(Shelf(ANSWER), model, table=table, moderator=Watchful("cost")))
    assert (turn["type"], model.asked) == ("chat.reply.failed/1", [])
    shelf = Shelf(ANSWER)
    await facts(world(shelf, model, table=table, moderator=Watchful("bomb")))
    assert [each.query for each in shelf.asked] == [BY_MODEL]
    assert model.asked == ["w", "s"]


async def test_a_writer_that_moderates_input_gets_none_that_is_flagged() -> None:
    table = {**TABLE, "writer": {**TABLE["writer"], "moderation": ["input"]}}
    shelf, model = Shelf(ANSWER), Model(bodies={"w": written(BY_MODEL)})
    [turn] = await facts(world(shelf, model, table=table, moderator=Watchful("cost")))
    assert [each.query for each in shelf.asked] == [BY_RULES]
    assert (turn["retrieval"]["question_model"], model.asked) == ("failed", ["s"])
