"""The rolling summary: when it is asked for, what it is made of, where it stands, and that no turn is worse for it."""

from typing import Any, cast

import orjson
import pytest

from common.clients.resources.client import ActiveSets, Resolved
from common.events.chat import SessionUse
from common.events.session_summary import RollingSummary
from llm_stream.context.exchanges import INSTRUCTING
from llm_stream.history.rolling_summary import ToSumUp, end_of, next_stretch, wanted_summary
from llm_stream.ports import UpstreamBroken
from tests.support.one_turn import Body, Live, Model, World

SYSTEM = {"role": "system", "content": "Be brief."}
# With its framing a message of 16 tokens.
WORDS = "one two three four five six seven eight nine ten eleven"
TABLE = {
    "small": {
        "upstreams": [{"name": "s", "base_url": "http://s", "model": "gpt-4o-mini"}],
        "context_tokens": 200,
        "answer_reserve": 20,
    },
    "cheap": {"upstreams": [{"name": "c", "base_url": "http://c", "model": "c", "price": {"input": 1.0}}]},
}
NOTES = "Ada wants eleven numbers."


def exchange(number: int) -> list[dict[str, Any]]:
    return [
        {"role": "user", "content": f"{number} {WORDS}"},
        {"role": "assistant", "content": f"{number} {WORDS}"},
    ]


def history(count: int) -> list[dict[str, Any]]:
    return [message for number in range(count) for message in exchange(number)]


class Sets:
    """An active set whose config wants sessions kept in this way."""

    def __init__(self, **rules: Any) -> None:
        self.rules = {"store": True, **rules}

    async def resolve(self, org_id: str, project_id: str, user_id: str) -> Resolved:
        body = orjson.dumps({"config": {"session": self.rules}, "prompt": {}, "tools": []})
        return Resolved(
            layer="project", revision=1, candidate=False, stale=False, clock=1, body=body, etag=f"{org_id}{user_id}"
        )


def summed_up(text: str | None = NOTES) -> Body:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 90, "completion_tokens": 9, "total_tokens": 99}
    return Body(orjson.dumps({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage}))


def world(*, wanted: dict[str, Any] | None = None, model: Model | None = None) -> World:
    rules = {} if wanted is None else {"summary": wanted}
    return World(
        Live(None, None, None, None),
        model or Model(bodies={"c": summed_up()}),
        TABLE,
        active_sets=cast("ActiveSets", Sets(**rules)),
    )


async def says(world_: World, messages: list[dict[str, Any]], request_id: str = "chatcmpl-1") -> None:
    use = SessionUse(store=True, history="sent")
    await world_.answer(project_id="p", session=use, request_id=request_id, messages=messages)


def requested(world_: World) -> list[dict[str, Any]]:
    return [fact for fact in world_.facts if fact["type"] == "chat.reply.requested/1"]


async def test_what_goes_soon_is_summed_up_and_stands_in_front_of_the_next_turn() -> None:
    world_ = world(wanted={"alias": "cheap", "tokens": 100})
    await says(world_, [SYSTEM, *history(4), exchange(4)[0]])
    [asked] = requested(world_)
    assert (asked["model"], asked["stream"], asked["session_id"]) == ("cheap", False, asked["request_id"])
    told = asked["body"]["messages"][1]["content"]
    # Of nine messages of 17 tokens those are told that leave half of the room.
    assert told.startswith(f"user: 0 {WORDS}\nassistant: 0 {WORDS}\nuser: 1")
    assert f"2 {WORDS}" not in told
    assert asked["summary"]["messages"] == 4
    assert asked["answer_tokens"] == 100
    await world_.answer_published()
    made = world_.facts[-1]
    assert (made["type"], made["model"], made["usage"]["total_tokens"]) == ("chat.reply.completed/1", "cheap", 99)
    assert made["cost_usd"] > 0
    assert (made["summary"]["session_id"], made["summary"]["text"]) == ("s", NOTES)
    assert "kept" not in made
    # Until something has to go, all of it is told as it was said.
    await says(world_, [SYSTEM, *history(4), exchange(4)[0]], "chatcmpl-2")
    assert world_.model.requests[-1]["messages"] == [SYSTEM, *history(4), exchange(4)[0]]
    world_.live.claims = [None]
    await says(world_, [SYSTEM, *history(7), exchange(7)[0]], "chatcmpl-3")
    system, first, *rest = world_.model.requests[-1]["messages"]
    assert system == SYSTEM
    assert first["content"] == f"(What was said earlier in this conversation, in short: {NOTES})\n\n3 {WORDS}"
    assert rest == [*history(7)[7:], exchange(7)[0]]
    context = world_.facts[-1]["context"]
    assert (context["messages_cut"], context["messages_summed_up"]) == (6, 4)
    assert context["tokens"] <= context["budget_tokens"]


async def test_a_summary_goes_on_from_the_one_before() -> None:
    world_ = world(wanted={"alias": "cheap"})
    await says(world_, [*history(4), exchange(4)[0]])
    await world_.answer_published()
    world_.copies.summing.clear()
    world_.live.claims = [None, None]
    await says(world_, [*history(8), exchange(8)[0]], "chatcmpl-2")
    second = requested(world_)[1]
    told = second["body"]["messages"][1]["content"]
    assert told.startswith(f"Notes so far:\n{NOTES}\n\nSaid since:\nuser: 2 {WORDS}")
    assert second["summary"]["messages"] > requested(world_)[0]["summary"]["messages"]


@pytest.mark.parametrize("wanted", [None, {"alias": "nobody"}])
async def test_nothing_is_asked_where_nobody_wants_it_or_can(wanted: dict[str, Any] | None) -> None:
    world_ = world(wanted=wanted)
    await says(world_, [*history(8), exchange(8)[0]])
    assert requested(world_) == []
    assert world_.facts[0]["type"] == "chat.reply.completed/1"


async def test_a_conversation_with_room_is_not_summed_up() -> None:
    world_ = world(wanted={"alias": "cheap"})
    await says(world_, [*history(2), exchange(2)[0]])
    assert requested(world_) == []


@pytest.mark.parametrize(
    "model", [Model({"c": UpstreamBroken("reset")}), Model(bodies={"c": summed_up(None)})], ids=["broken", "empty"]
)
async def test_a_summary_that_fails_changes_nothing(model: Model) -> None:
    world_ = world(wanted={"alias": "cheap"}, model=model)
    await says(world_, [*history(8), exchange(8)[0]])
    asked = world_.model.requests[-1]["messages"]
    await world_.answer_published()
    assert world_.copies.summaries == {}
    assert world_.facts[-1]["summary"].get("text", "") == ""
    world_.live.claims = [None, None]
    await says(world_, [*history(8), exchange(8)[0]], "chatcmpl-2")
    assert world_.model.requests[-1]["messages"] == asked
    # Nor is it tried with each turn.
    assert len(requested(world_)) == 1


def of(count: int, messages: list[dict[str, Any]]) -> RollingSummary:
    """The summary of the first messages."""
    wanted = ToSumUp([messages[:count]], 0, None, "cheap", 100)
    return wanted_summary(wanted, "s", 1.0, None)[0].model_copy(update={"text": NOTES})


def test_a_summary_is_found_again_by_what_was_said_last_of_it() -> None:
    said = history(5)
    summary = of(6, said)
    assert end_of(said, summary) == 6
    # Instructions count for nothing, wherever they stand.
    assert end_of([SYSTEM, *said[:2], SYSTEM, *said[2:]], summary) == 8
    # The oldest were let go.
    assert end_of(said[3:], summary) == 3
    # What platforms put beside a message, and white space, differ from request to request.
    other = [{**each, "content": f" {each['content']} ", "time": {"begin": 1}} for each in said]
    assert end_of(other, summary) == 6
    # A conversation that went another way.
    assert end_of([*said[:5], {"role": "assistant", "content": "no"}, *said[6:]], summary) == 0
    assert end_of([], summary) == 0


def test_the_same_words_again_and_again_are_told_apart_by_their_place() -> None:
    said = exchange(1) * 6
    assert end_of(said, of(4, said)) == 4


def test_no_pair_of_call_and_result_is_divided() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "function": {"name": "f"}}]}
    result = {"role": "tool", "tool_call_id": "c", "content": "ok"}
    said = [*exchange(0), exchange(1)[0], call, exchange(2)[0], result, *history(9)]
    stretch = next_stretch(said, [10] * len(said), None, 100)
    assert stretch is not None
    taken = [message for exchange_ in stretch.exchanges for message in exchange_]
    assert (call in taken) == (result in taken)
    assert taken == said[: len(taken)]


def test_what_is_sent_is_bounded_by_the_window_of_its_alias() -> None:
    long = [[{"role": "user", "content": "é" * 5_000}] for _ in range(200)]
    wanted = ToSumUp(long, 0, None, "cheap", 300)
    for window, most in ((None, 200_000), (4_000, 8_000), (400, 0)):
        summary, text = wanted_summary(wanted, "s", 1.0, window)
        assert len(text.encode()) <= most + 100
        assert 1 <= summary.messages < 200


def test_instructions_are_never_summed_up() -> None:
    said = [SYSTEM, *history(3), SYSTEM, *history(9)]
    stretch = next_stretch(said, [10] * len(said), None, 100)
    assert stretch is not None
    assert not any(each["role"] in INSTRUCTING for exchange_ in stretch.exchanges for each in exchange_)
