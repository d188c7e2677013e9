"""What every log promises about harm: bytes nobody of ours wrote and bugs that callers provoke halt nothing."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass, field
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from common.bus.live.writer import LiveWriter
from common.bus.port import Log
from common.bus.request_reply import Requester
from common.events.backoff import Backoff
from common.events.chat import CHAT_REPLY_COMPLETED
from common.events.envelope import Event
from common.events.record import Received, raw
from common.events.reply import Reply, ReplyBody
from common.events.spec import Payload, RequestSpec, Topic
from common.failures import Refused
from common.kernel.brake import Brake
from common.kernel.consumer import Consumer
from common.kernel.handlers import answer
from sonant_cli.dlq import describe, read_letter
from tests.contract.bus_contract import LogContract, Worker, until, works
from tests.support.mailbox import open_mailbox


@dataclass(frozen=True)
class Foreign:
    """A record as any producer may write it."""

    key: bytes = b"k0"
    value: bytes = b"{}"
    headers: Mapping[str, bytes] = field(default_factory=dict)


names = st.one_of(
    st.sampled_from(["event-id", "event-type", "event-time", "deadline", "request-id"]), st.text(max_size=9)
)
contents = st.one_of(st.binary(max_size=40), st.sampled_from([b"nan", b"1e999", b"x" * 300]))
strangers = st.builds(
    Foreign,
    key=st.one_of(st.just(b"k0"), st.binary(max_size=20)),
    value=st.one_of(st.binary(max_size=60), st.just(b"[" * 5000)),
    headers=st.dictionaries(names, contents, max_size=5),
)


def named(stranger: Foreign, event_type: str) -> Foreign:
    """The same, passing for one of ours."""
    return Foreign(stranger.key, stranger.value, {**stranger.headers, "event-type": event_type.encode()})


def unreadable(topic: Topic) -> float:
    return REGISTRY.get_sample_value("sonant_events_unreadable_total", {"topic": topic.name}) or 0.0


class BlastRadiusContract(LogContract):
    """Inherited instead of `LogContract`, with `write` for records that the port would not let through."""

    async def write(self, address: str, topic: Topic, *strangers: Foreign) -> None:
        raise NotImplementedError

    @pytest.fixture
    async def worker(self, log: Log, live: LiveWriter, topic: Topic) -> AsyncIterator[Worker]:
        """A consumer at work on the topic."""
        worker = Worker()
        async with self.consuming(log, live, topic, worker):
            yield worker

    def of_ours(self, topic: Topic) -> str:
        [record] = works(topic, [0])
        return record.headers["event-type"]

    @pytest.mark.parametrize(
        "stranger",
        [
            Foreign(headers={"note": b"\xff\xfe"}),
            Foreign(key=b"\xc3\x28"),
            Foreign(value=b"\x00\xff"),
            Foreign(headers={"event-id": b"\x80"}),
        ],
        ids=["header", "key", "value", "event-id"],
    )
    async def test_bytes_that_are_no_text_are_parked_byte_by_byte(
        self, log: Log, topic: Topic, worker: Worker, log_url: str, stranger: Foreign
    ) -> None:
        ours = named(stranger, self.of_ours(topic))
        await self.write(log_url, topic, ours)
        await log.publish(*works(topic, [1]))
        await until(lambda: worker.numbers == [1])
        await self.settled(log, topic)
        [letter] = await log.read(topic.dead_letters, limit=10)
        assert (raw(letter.key), letter.value) == (ours.key, ours.value)
        assert {name: raw(letter.headers[name]) for name in ours.headers} == ours.headers
        assert letter.headers["dlq-topic"] == topic.name
        assert unreadable(topic) == 1
        shown = read_letter(letter)
        assert describe(shown).encode()
        assert json.dumps(asdict(shown)).encode()

    async def test_records_of_others_are_passed_over(
        self, log: Log, topic: Topic, worker: Worker, log_url: str
    ) -> None:
        """Several services read a topic; each judges what it takes."""
        others = CHAT_REPLY_COMPLETED.name.encode()
        await self.write(
            log_url,
            topic,
            Foreign(value=b"\xff", headers={"event-type": others}),
            Foreign(headers={"event-type": others, "trace": b"\xff\x00"}),
        )
        await log.publish(*works(topic, [1]))
        await until(lambda: worker.numbers == [1])
        await self.settled(log, topic)
        assert await log.read(topic.dead_letters, limit=10) == []

    async def test_what_cannot_be_read_and_named_is_parked(
        self, log: Log, topic: Topic, worker: Worker, log_url: str
    ) -> None:
        """It may have been ours, or be a newer release's."""
        strangers = [
            Foreign(headers={"event-type": b"\xff"}),
            Foreign(headers={"other": b"\xff"}),
            Foreign(),
            Foreign(key=b"", value=b"\x00\x01"),
            Foreign(headers={"event-type": b"work.admired/7"}),
            Foreign(headers={"event-type": b"work.admired/7", "trace": b"\xff\x00"}),
        ]
        await self.write(log_url, topic, *strangers)
        await log.publish(*works(topic, [1]))
        await until(lambda: worker.numbers == [1])
        await self.settled(log, topic)
        letters = await log.read(topic.dead_letters, limit=10)
        assert {letter.headers["dlq-error"] for letter in letters} == {"UnreadableError"}
        assert sorted(letter.value for letter in letters) == sorted(stranger.value for stranger in strangers)
        assert unreadable(topic) == len(strangers)

    async def test_no_number_of_them_trips_a_brake(self, log: Log, topic: Topic, worker: Worker, log_url: str) -> None:
        ours = named(Foreign(value=b"\xff"), self.of_ours(topic))
        await self.write(log_url, topic, *[ours] * 60)
        await log.publish(*works(topic, [1]))
        await until(lambda: worker.numbers == [1])
        await self.settled(log, topic)
        assert len(await log.read(topic.dead_letters, limit=100)) == 60

    @settings(
        max_examples=20,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )
    @given(strangers=st.lists(strangers, min_size=1, max_size=15), pass_for_ours=st.booleans())
    async def test_a_good_record_behind_any_bytes_is_handled(
        self,
        log: Log,
        topic: Topic,
        worker: Worker,
        log_url: str,
        *,
        strangers: list[Foreign],
        pass_for_ours: bool,
    ) -> None:
        type_of_ours = self.of_ours(topic)
        await self.write(log_url, topic, *(named(one, type_of_ours) if pass_for_ours else one for one in strangers))
        number = uuid4().int % 2**40
        await log.publish(*works(topic, [number]))
        await until(lambda: number in worker.numbers)

    # -- callers ------------------------------------------------------------------------------------------

    async def test_a_bug_that_callers_provoke_is_answered_once_and_brakes_nothing(
        self, log: Log, live: LiveWriter, topic: Topic, valkey_url: str
    ) -> None:
        """More than twice as many as would trip the brake, then one that works."""
        consumer = Consumer(
            log=log,
            live=live,
            group="workers",
            instance="one",
            handlers=[answer(sum_requested(topic), on_sum)],
            deps=None,
            brake=Brake(run=5),
        )
        running = asyncio.create_task(consumer.run())
        async with open_mailbox(valkey_url, f"contract-{uuid4().hex}") as reader:
            requester = Requester(log, reader)
            for _ in range(12):
                with pytest.raises(Refused) as refused:
                    await requester.ask(sum_requested(topic), Sum(of=(1, 0)), timeout=20)
                assert (refused.value.status, refused.value.code) == (500, "internal_error")
            reply = await requester.ask(sum_requested(topic), Sum(of=(1, 2)), timeout=20)
        assert reply.body.value == 0.5
        assert (consumer.halted, consumer.complaint()) == (None, None)
        consumer.stop()
        await running
        assert await log.read(topic.dead_letters, limit=10) == []


class Sum(Payload):
    """A quotient is wanted; of nothing, that is a bug."""

    of: tuple[int, int]


class Result(ReplyBody):
    value: float


def sum_requested(topic: Topic) -> RequestSpec[Sum, Result]:
    return RequestSpec(
        type="contract.sum.requested",
        version=1,
        payload=Sum,
        reply=Result,
        topic=topic,
        key=lambda _: "k",
        summary="A quotient is wanted.",
        retry=Backoff(attempts=2, first=0.01),
    )


async def on_sum(event: Event[Sum], deps: None) -> Reply[Result]:
    del deps
    over, under = event.payload.of
    return Reply(Result(value=over / under))


def kept(letter: Received, *parts: bytes) -> bool:
    """Whether each of the parts stands somewhere in the letter, byte by byte."""
    held = [raw(letter.key), letter.value, *map(raw, letter.headers.values())]
    return all(part in held for part in parts)
