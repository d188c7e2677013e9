"""The small parts of the kernel: backoff, progress, the brake, redaction, traces, the end of tasks."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.events import trace
from common.events.backoff import NEVER, Backoff
from common.events.record import Partition
from common.kernel.brake import Brake, Scope
from common.kernel.logs import redact
from common.kernel.progress import Progress
from common.kernel.tasks import end


def test_backoff_grows_to_its_ceiling_and_gives_up() -> None:
    backoff = Backoff(attempts=5, first=0.1, ceiling=0.5)
    delays = [backoff.delay(attempt) for attempt in range(1, 7)]
    assert delays[5] is None
    for delay, base in zip(delays, (0.1, 0.2, 0.4, 0.5, 0.5), strict=False):
        assert delay is not None
        assert base / 2 <= delay <= base


def test_never_means_never() -> None:
    assert NEVER.delay(1) is None


@given(st.permutations(list(range(12))))
def test_the_committable_offset_never_passes_unfinished_work(order: list[int]) -> None:
    progress = Progress()
    steps = [progress.start(str(offset)) for offset in range(12)]
    done: set[int] = set()
    committed = -1
    for offset in order:
        steps[offset].done = True
        done.add(offset)
        advanced = progress.advance()
        committed = int(advanced) if advanced is not None else committed
        expected = next((n for n in range(12) if n not in done), 12) - 1
        assert committed == expected
    assert progress.in_flight == 0


ACME = Scope(Partition("t", 0), "acme", "work.requested")


def test_the_brake_trips_on_a_run() -> None:
    brake = Brake(run=3)
    for parked in (True, True, False, True, True):
        brake.note(ACME, parked=parked)
    assert not brake.is_open(ACME)
    brake.note(ACME, parked=True)
    assert brake.is_open(ACME)


def test_the_brake_trips_on_a_share() -> None:
    brake = Brake(run=100, share=0.5, window=10)
    for parked in (True, True, False) * 4:
        brake.note(ACME, parked=parked)
    assert brake.is_open(ACME)


def test_the_brake_lets_stray_failures_pass() -> None:
    brake = Brake()
    for number in range(1000):
        brake.note(ACME, parked=number % 10 == 0)
    assert not brake.is_open(ACME)


def test_the_brake_counts_by_partition_organisation_and_event() -> None:
    brake = Brake(run=3)
    for _ in range(3):
        brake.note(ACME, parked=True)
    others = [ACME._replace(org_id="other"), ACME._replace(partition=Partition("t", 1)), ACME._replace(org_id="")]
    others.append(ACME._replace(event="work.tallied"))
    assert [brake.is_open(scope) for scope in (ACME, *others)] == [True, False, False, False, False]
    assert brake.open_scopes == 1


def test_another_event_of_an_organisation_that_works_closes_no_brake() -> None:
    """A gateway tells every five seconds how much it has accepted: before, that let all that fails be parked."""
    brake = Brake(run=3)
    for _ in range(3):
        brake.note(ACME, parked=True)
        brake.note(ACME._replace(event="work.tallied"), parked=False)
    assert brake.is_open(ACME)


def test_an_open_brake_lets_one_record_through_at_a_time_and_closes_when_it_works() -> None:
    now = 0.0
    brake = Brake(run=3, open_seconds=30, now=lambda: now)
    for _ in range(3):
        brake.note(ACME, parked=True)
    assert not brake.probe(ACME)
    now = 30.0
    assert [brake.probe(ACME) for _ in range(3)] == [True, False, False]
    now = 60.0
    assert brake.probe(ACME)
    brake.close(ACME)
    assert not brake.is_open(ACME)
    assert brake.probe(ACME)


def test_a_brake_that_holds_nothing_back_is_not_told_as_open_for_good() -> None:
    """Before, twenty parked records and none behind them were told until the next restart."""
    now = 100.0
    brake = Brake(run=3, open_seconds=30, now=lambda: now)
    for _ in range(3):
        brake.note(ACME, parked=True)
    assert brake.open_scopes == 1
    now = 159.9
    assert brake.open_scopes == 1
    now = 160.0
    assert (brake.open_scopes, brake.is_open(ACME)) == (0, True)
    # The next record that fails is held back as ever, and asked about.
    assert brake.probe(ACME)
    assert brake.open_scopes == 1


def test_the_brake_remembers_a_bounded_number_of_scopes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.kernel.brake.MAX_SCOPES", 10)
    brake = Brake(run=1)
    for number in range(100):
        brake.note(ACME._replace(org_id=str(number)), parked=True)
    assert brake.open_scopes == 10


def test_logs_carry_no_secrets() -> None:
    event = {
        "event": "calling with Bearer abc.def-123 and sk-sonant-AAAAAAAAAAAA-secretsecret",
        "url": "redis://:hunter2@127.0.0.1:6379",
        "socket": "unix://:hunter2@/run/valkey.sock",
        "Authorization": "anything",
        "api_key": "anything",
        "tokens": 5,
        "nested": {"headers": [{"Authorization": "anything"}, ("sk-proj-AAAA****secretsecret",)], "tokens": 6},
        "cause": ValueError("no answer from redis://:hunter2@127.0.0.1:6379"),
        "several": ExceptionGroup("both", [ValueError("Bearer abc.def"), ValueError("Incorrect: sk-se*****cret.")]),
        "_record": "the library's own",
    }
    cleaned = redact(None, "", event)
    text = str(cleaned)
    for secret in ("abc.def", "secretsecret", "hunter2", "anything", "sk-se"):
        assert secret not in text
    assert (cleaned["tokens"], cleaned["nested"]["tokens"], cleaned["_record"]) == (5, 6, "the library's own")
    assert "no answer from redis://:" in text


def test_a_callers_trace_is_continued_and_anything_else_begins_a_new_one() -> None:
    given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
    ours = trace.continued(given)
    assert (trace.trace_id(ours), ours[-3:]) == (trace.trace_id(given), "-00")
    assert ours != given
    invalid = [None, "", "00-0-0-00", given.upper(), given.replace("b7ad6b7169203331", "0" * 16), f"{given}-more"]
    new = [trace.continued(each) for each in invalid]
    assert len({trace.trace_id(each) for each in new}) == len(invalid)
    assert all(trace.trace_id(trace.continued(each)) == trace.trace_id(each) for each in new)


async def test_a_task_that_loses_its_cancellation_is_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.kernel.tasks.NOTICE_SECONDS", 0.01)
    lost = 0

    async def works_for_good() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                lost += 1
                if lost > 2:
                    raise

    async def ended() -> None:
        return

    tasks = [asyncio.create_task(works_for_good()), asyncio.create_task(ended())]
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await end(*tasks)
    assert all(task.done() for task in tasks)
    assert lost == 3
