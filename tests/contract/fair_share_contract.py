"""What every log promises about places: one organisation's slow work takes none of another's, and nothing is lost."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import uuid4

import pytest

from common.bus.live.writer import LiveWriter
from common.bus.port import Log
from common.bus.request_reply import Requester
from common.events.backoff import NEVER
from common.events.envelope import Event
from common.events.record import Record
from common.events.reply import Reply, ReplyBody
from common.events.spec import EventSpec, Payload, RequestSpec, Topic
from common.failures import Refused
from common.kernel.consumer import Consumer
from common.kernel.handlers import answer, on
from tests.contract.blast_radius_contract import BlastRadiusContract
from tests.contract.bus_contract import until
from tests.support.mailbox import open_mailbox

PLACES = 8
SLOW = 20  # as many again wait as there are places, and a few more


class Errand(Payload):
    """One thing to do for an organisation."""

    org_id: str
    number: int


class Done(ReplyBody):
    number: int


def errand(topic: Topic) -> EventSpec[Errand]:
    """What nobody waits for."""
    return EventSpec(
        type="contract.errand.requested",
        version=1,
        payload=Errand,
        topic=topic,
        key=lambda asked: f"{asked.org_id}/{asked.number}",
        summary="An errand.",
        retry=NEVER,
        ordered=False,
    )


def request(topic: Topic, *, question: bool) -> RequestSpec[Errand, Done]:
    """What somebody waits for."""
    return RequestSpec(
        type=f"contract.{'question' if question else 'favour'}.requested",
        version=1,
        payload=Errand,
        reply=Done,
        topic=topic,
        key=lambda asked: f"{asked.org_id}/{asked.number}",
        summary="A favour or a question.",
        retry=NEVER,
        ordered=False,
        expires=True,
        question=question,
    )


@dataclass
class Desk:
    """What is at work, by organisation; an organisation's errands wait until it is let go."""

    at_work: Counter[str] = field(default_factory=Counter)
    most: int = 0
    finished: list[tuple[str, int]] = field(default_factory=list)
    gates: dict[str, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))

    def begin(self, org_id: str) -> None:
        self.at_work[org_id] += 1
        self.most = max(self.most, self.at_work.total())


async def on_errand(event: Event[Errand], desk: Desk) -> None:
    asked = event.payload
    desk.begin(asked.org_id)
    try:
        if asked.org_id.startswith("slow"):
            await desk.gates[asked.org_id].wait()
    finally:
        desk.at_work[asked.org_id] -= 1
    desk.finished.append((asked.org_id, asked.number))


async def on_request(event: Event[Errand], desk: Desk) -> Reply[Done]:
    await on_errand(event, desk)
    return Reply(Done(number=event.payload.number))


class FairShareContract(BlastRadiusContract):
    """Inherited in place of `BlastRadiusContract`."""

    @asynccontextmanager
    async def at_the_desk(
        self, log: Log, live: LiveWriter, topic: Topic, desk: Desk, *, drain_seconds: float = 10.0
    ) -> AsyncIterator[Consumer]:
        consumer = Consumer(
            log=log,
            live=live,
            group="workers",
            instance="one",
            handlers=[
                on(errand(topic), on_errand),
                answer(request(topic, question=True), on_request),
                answer(request(topic, question=False), on_request),
            ],
            deps=desk,
            concurrency=PLACES,
            place_seconds=0.5,
            drain_seconds=drain_seconds,
        )
        running = asyncio.create_task(consumer.run())
        try:
            yield consumer
        finally:
            consumer.stop()
            await running

    async def test_a_newcomer_is_served_while_one_organisation_takes_every_place(
        self, log: Log, live: LiveWriter, topic: Topic
    ) -> None:
        desk = Desk()
        async with self.at_the_desk(log, live, topic, desk):
            await log.publish(*errands(topic, "slow", SLOW))
            await until(lambda: desk.at_work["slow"] == PLACES)
            await log.publish(*errands(topic, "quiet", 5))
            await until(lambda: len(desk.finished) == 5)
            assert desk.at_work["slow"] == PLACES, "alone it may have all of them, and not one more"
            # Nothing was passed over: it is committed once what came before it is finished, in any order.
            desk.gates["slow"].set()
            await self.settled(log, topic)
        assert Counter(org for org, _ in desk.finished) == {"slow": SLOW, "quiet": 5}
        assert len(set(desk.finished)) == SLOW + 5

    async def test_two_who_want_everything_get_half_each(self, log: Log, live: LiveWriter, topic: Topic) -> None:
        desk = Desk()
        async with self.at_the_desk(log, live, topic, desk):
            await log.publish(*errands(topic, "slow-a", PLACES))
            await until(lambda: desk.at_work["slow-a"] == PLACES)
            await log.publish(*errands(topic, "slow-b", PLACES))
            # The extra places at once, and the rest of its share as the other's work ends.
            await until(lambda: desk.at_work["slow-b"] == PLACES // 4)
            await log.publish(*errands(topic, "slow-a", PLACES, first=100))
            desk.gates["slow-a"].set()
            await until(lambda: desk.at_work["slow-b"] == PLACES)
            desk.gates["slow-b"].set()
            await self.settled(log, topic)
        assert desk.most <= PLACES + PLACES // 4

    async def test_what_waits_for_a_place_is_not_lost_with_its_consumer(
        self, log: Log, live: LiveWriter, topic: Topic
    ) -> None:
        desk = Desk()
        async with self.at_the_desk(log, live, topic, desk, drain_seconds=0.1):
            await log.publish(*errands(topic, "slow", SLOW))
            await until(lambda: desk.at_work["slow"] == PLACES)
        assert desk.finished == []
        desk.gates["slow"].set()
        async with self.at_the_desk(log, live, topic, desk):
            await self.settled(log, topic)
        assert sorted(desk.finished) == [("slow", number) for number in range(SLOW)]

    @pytest.mark.parametrize("question", [True, False])
    async def test_a_question_never_waits_behind_long_work_and_a_request_is_told_to_come_back(
        self, log: Log, live: LiveWriter, topic: Topic, valkey_url: str, *, question: bool
    ) -> None:
        """Of the very organisation whose work takes all places."""
        desk = Desk()
        asked = request(topic, question=question)
        async with self.at_the_desk(log, live, topic, desk), open_mailbox(valkey_url, f"desk-{uuid4().hex}") as reader:
            await log.publish(*errands(topic, "slow", SLOW))
            await until(lambda: desk.at_work["slow"] == PLACES)
            requester = Requester(log, reader)
            if question:
                payload = Errand(org_id="slow", number=-1)
                asking = asyncio.create_task(requester.ask(asked, payload, timeout=20))
                await until(lambda: desk.at_work["slow"] == PLACES + 1)
                desk.gates["slow"].set()
                assert (await asking).body.number == -1
            else:
                began = time.monotonic()
                with pytest.raises(Refused) as refused:
                    await requester.ask(asked, Errand(org_id="slow", number=-1), timeout=20)
                assert (refused.value.status, refused.value.code) == (503, "busy")
                assert refused.value.headers["retry-after"] == "1"
                assert time.monotonic() - began < 15
                desk.gates["slow"].set()
            await self.settled(log, topic)

    async def test_more_than_its_part_of_the_room_is_refused_at_once(
        self, log: Log, live: LiveWriter, topic: Topic, valkey_url: str
    ) -> None:
        """So that there is room left for what another organisation asks."""
        desk = Desk()
        favour = request(topic, question=False)
        async with self.at_the_desk(log, live, topic, desk), open_mailbox(valkey_url, f"desk-{uuid4().hex}") as reader:
            requester = Requester(log, reader)
            asking = [
                asyncio.create_task(requester.ask(favour, Errand(org_id="slow", number=number), timeout=20))
                for number in range(PLACES * 8)
            ]
            await until(lambda: sum(task.done() for task in asking) == PLACES * 7)
            reply = await requester.ask(favour, Errand(org_id="quiet", number=1), timeout=20)
            assert reply.body.number == 1
            desk.gates["slow"].set()
            outcomes = await asyncio.gather(*asking, return_exceptions=True)
            refused = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
            assert {outcome.code for outcome in refused} == {"busy"}
            assert len(refused) == PLACES * 7
            await self.settled(log, topic)


def errands(topic: Topic, org_id: str, count: int, first: int = 0) -> list[Record]:
    """Records of one organisation's errands."""
    return [Event(errand(topic), Errand(org_id=org_id, number=first + number)).record() for number in range(count)]
