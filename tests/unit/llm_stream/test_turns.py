"""The life of a turn and the stages of its answer, on a live store and an upstream that do what a test says."""

import asyncio
import gc

import orjson
import pytest

from common.bus.live.frames import FrameKind
from common.bus.port import BusUnavailableError
from common.events.chat import ChatReplyRequested
from llm_stream.ports import UpstreamRefused
from llm_stream.turns import life
from tests.support.one_turn import Live, Model, World


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "AWAY_SECONDS", 0.0)


async def test_an_answer_has_a_beginning_an_end_and_one_fact() -> None:
    world = World(Live(None), Model())
    await world.answer()
    assert world.live.kinds == [FrameKind.START, *[FrameKind.DATA] * 3, FrameKind.END]
    assert [fact["type"] for fact in world.facts] == ["chat.reply.completed/1"]
    # Marked before anything is sent, and stored before the end is.
    assert [orjson.loads(command[2]).keys() for command in world.live.commands[:2]] == [{"owner", "released"}, {"fact"}]


async def test_what_is_too_long_is_asked_of_the_larger_alias() -> None:
    refusal = UpstreamRefused("too long", status=400, code="context_length_exceeded", too_long=True)
    world = World(Live(None), Model({"s": refusal}))
    await world.answer()
    assert world.model.asked == ["s", "l"]
    assert world.outcomes() == ["refused", "completed"]
    assert world.facts[0]["model"] == "small"


@pytest.mark.parametrize("age", [0.0, 5.0])
async def test_whose_answerer_died_midway_is_not_answered_again(age: float) -> None:
    """Also where the upstream is asked before that is known: nothing of it is heard or counted."""
    world = World(Live({"owner": "dead", "released": True}), Model())
    await world.answer(age=age)
    assert world.model.asked == (["s"] if age == 0.0 else [])
    assert world.live.kinds == [FrameKind.REPLY]
    assert world.live.signals == ["given-up"]
    assert world.facts[0]["error"]["code"] == "worker_restarted"
    assert world.outcomes() == []


async def test_a_request_that_was_withdrawn_before_is_left_alone() -> None:
    world = World(Live({"owner": "dead", "withdrawn": True}), Model())
    await world.answer()
    assert (world.live.frames, world.facts) == ([], [])


async def test_nothing_is_heard_before_the_claim_is_known() -> None:
    live = Live(None)
    live.claimed.clear()
    world = World(live, Model())

    def claim() -> None:
        assert live.frames == []
        live.claimed.set()

    await world.answer(claim)
    assert live.kinds[-1] == FrameKind.END
    assert world.outcomes() == ["completed"]


async def test_while_the_live_store_is_away_the_upstream_is_given_up_and_asked_again_later() -> None:
    live = Live(BusUnavailableError("away"), None)
    live.claimed.clear()
    world = World(live, Model())
    await world.answer(live.claimed.set)
    assert world.model.asked == ["s", "s"]
    assert world.outcomes() == ["stopped", "completed"]


async def test_a_stop_closes_the_upstream_at_once_and_bills_what_it_sent() -> None:
    world = World(Live(None), Model(silent=True))

    def stop() -> None:
        world.stop()
        assert world.model.closed == 1

    await world.answer(stop)
    assert world.live.kinds[-1] == FrameKind.END
    assert world.outcomes() == ["stopped"]
    [fact] = world.facts
    assert fact["type"] == "chat.reply.interrupted/1"
    assert (fact["upstream"], fact["usage"]["estimated"]) == ("s", True)


async def test_a_request_that_is_withdrawn_leaves_no_fact_whatever_is_signalled_later() -> None:
    world = World(Live(None), Model(silent=True))

    def withdraw() -> None:
        world.stop(withdrawn=True)
        world.stop()

    await world.answer(withdraw)
    assert world.facts == []
    assert orjson.loads(world.live.commands[-1][2])["withdrawn"]


@pytest.mark.parametrize("how", ["whole", "refused", "stopped"])
async def test_nothing_of_a_turn_stays_behind_it(how: str) -> None:
    """A request may be megabytes, and the collector counts objects: it must not be needed."""
    refusal = UpstreamRefused("no", status=400)
    model = {"whole": Model(), "refused": Model({"s": refusal}), "stopped": Model(silent=True)}[how]
    world = World(Live(None), model)
    gc.collect()
    gc.disable()
    try:
        before = _requests()
        await world.answer(world.stop if how == "stopped" else None)
        await asyncio.sleep(0)
        assert _requests() == before
    finally:
        gc.enable()
    assert len(world.facts) == 1


def _requests() -> int:
    """How many there are in this process."""
    return sum(isinstance(each, ChatReplyRequested) for each in gc.get_objects())
