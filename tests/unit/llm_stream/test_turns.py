"""The life of a turn and the stages of its answer, on a live store and an upstream that do what a test says."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import orjson
import pytest

from common.bus.batching import Batcher
from common.bus.live.frames import Frame, FrameKind
from common.bus.live.writer import LiveWriter
from common.bus.port import BusUnavailableError
from common.clients.resources.client import ActiveSets
from common.events.chat import CHAT_REPLY_REQUESTED, AnswerStop, ChatReplyRequested
from common.events.envelope import Event
from common.events.record import Record
from llm_stream.aliases import AliasTable, Upstream
from llm_stream.answer.backlog import AnswerMemory
from llm_stream.answer.failover import Breakers
from llm_stream.deps import Deps
from llm_stream.ports import Patience, Take, UpstreamError, UpstreamRefused
from llm_stream.turns import life
from llm_stream.turns.claim import Claims
from llm_stream.turns.early_stops import EarlyStops
from llm_stream.turns.running_turns import RunningTurns
from tests.support.llm_stream import chunk

PAYLOADS = [orjson.dumps(chunk("Hi.")), orjson.dumps(chunk(finish="stop")), b"[DONE]"]
TABLE = {
    "small": {"upstreams": [{"name": "s", "base_url": "http://s", "model": "s"}], "larger": "large"},
    "large": {"upstreams": [{"name": "l", "base_url": "http://l", "model": "l"}]},
}


class Live:
    """A live store of which a test sets the answers to the next claims; `None` is a key that was not there."""

    def __init__(self, *claims: dict[str, Any] | Exception | None) -> None:
        self.claims = list(claims)
        self.claimed = asyncio.Event()
        self.claimed.set()
        self.frames: list[Frame] = []
        self.commands: list[tuple[Any, ...]] = []
        self.signals: list[str] = []

    async def command(self, *command: Any) -> bytes | None:
        await self.claimed.wait()
        answer = self.claims.pop(0) if command[0] == "SET" and "NX" in command else None
        if isinstance(answer, Exception):
            raise answer
        return None if answer is None else orjson.dumps(answer)

    async def listening(self, mailbox: str) -> bool:
        return False

    def send(self, mailbox: str, frame: Frame) -> None:
        self.frames.append(frame)

    def queue_command(self, *command: Any) -> None:
        self.commands.append(command)

    def queue_signal(self, spec: Any, payload: Any) -> None:
        self.signals.append(spec.kind)

    async def settled(self) -> None:
        return None

    @property
    def kinds(self) -> list[int]:
        return [frame.kind for frame in self.frames]


class Model:
    """An upstream that answers with `PAYLOADS`, refuses by name, or stays open until it is closed."""

    def __init__(self, refusals: dict[str, UpstreamError] | None = None, *, silent: bool = False) -> None:
        self.refusals = refusals or {}
        self.silent = silent
        self.asked: list[str] = []
        self.accepted = asyncio.Event()
        self.closed = 0

    @asynccontextmanager
    async def ask(self, upstream: Upstream, body: dict[str, Any], patience: Patience) -> AsyncIterator["Model"]:
        self.asked.append(upstream.name)
        if upstream.name in self.refusals:
            raise self.refusals[upstream.name]
        self.accepted.set()
        yield self

    async def relay(self, take: Take) -> None:
        if self.silent:
            take(PAYLOADS[0])
            await asyncio.Event().wait()
        for payload in PAYLOADS:
            take(payload)

    async def whole(self, grew: Callable[[int], None]) -> bytes:
        raise NotImplementedError

    def pause(self) -> None:
        raise AssertionError("there is nothing to wait for")

    def resume(self) -> None:
        raise AssertionError("it never waits")

    def close(self) -> None:
        self.closed += 1


class World:
    """One instance of llm-stream without its process."""

    def __init__(self, live: Live, model: Model) -> None:
        writer = cast("LiveWriter", live)
        early_stops = EarlyStops(writer)
        self.live = live
        self.model = model
        self.facts: list[dict[str, Any]] = []
        self.deps = Deps(
            facts=Batcher(self._publish, name="facts"),
            live=writer,
            claims=Claims(writer, owner="us", keep_seconds=60),
            turns=RunningTurns(writer, early_stops),
            memory=AnswerMemory(),
            early_stops=early_stops,
            chat_model=model,
            breakers=Breakers(),
            aliases=AliasTable.model_validate({"aliases": TABLE}),
            active_sets=cast("ActiveSets", None),
        )

    async def _publish(self, records: Sequence[Record]) -> None:
        self.facts += [{"type": record.headers["event-type"], **orjson.loads(record.value)} for record in records]

    async def answer(self, during: Callable[[], Any] | None = None, *, age: float = 0.0) -> None:
        """A request that was received `age` seconds ago; `during` is called once its upstream has accepted it."""
        request = ChatReplyRequested(
            request_id="chatcmpl-1",
            org_id="o",
            key_id="k",
            session_id="s",
            model="small",
            stream=True,
            body={"messages": [{"role": "user", "content": "Hi"}]},
            received_at=time.time() - age,
        )
        event = Event(CHAT_REPLY_REQUESTED, request, deadline=time.time() + 10.0, reply_to="gateway")
        answering = asyncio.create_task(life.answer(event, self.deps))
        if during is not None:
            await self.model.accepted.wait()
            await asyncio.sleep(0)
            during()
        await answering

    def stop(self, *, withdrawn: bool = False) -> None:
        signal = AnswerStop(
            request_id="chatcmpl-1", mailbox="gateway", reason="client_closed", at=time.time(), withdrawn=withdrawn
        )
        self.deps.turns.on_stop(signal)

    def outcomes(self) -> list[str]:
        [fact] = self.facts
        return [attempt["outcome"] for attempt in fact.get("attempts", ())]


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
