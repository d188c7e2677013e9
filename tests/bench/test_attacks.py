"""The harness of attacks keeps its own promises: it attacks, watches, keeps books, and says what must not be."""

import asyncio
import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.bench.attacks import cage
from tests.bench.attacks.__main__ import ATTACKS, chosen, table
from tests.bench.attacks.ground import Ground
from tests.bench.attacks.quiet_tenant import LaneReport
from tests.bench.attacks.socket_attacks import SilentConnections
from tests.bench.attacks.trial import Row, try_out
from tests.bench.attacks.watch import Watch
from tests.bench.system import BenchError
from tests.support.waiting import eventually

SECONDS = 2.0
EATER = "import time; print('begun', flush=True); input(); kept = b'x' * 200_000_000; time.sleep(60)"


class FewSilentConnections(SilentConnections):
    """A chat of its own beside the connections, so that there is a fact to look for."""

    async def run(self, ground: Ground) -> None:
        key = await ground.key()
        body = {"model": "brief", "stream": True, "messages": [{"role": "user", "content": "Hello."}]}
        assert await ground.ask(key, body) == 200
        await super().run(ground)


@pytest.fixture(scope="module")
def row() -> Row:
    return try_out(FewSilentConnections(), SECONDS, "embedded")


def test_an_attack_is_tried_out_on_a_whole_system_with_a_quiet_tenant_beside(row: Row) -> None:
    assert row.failures() == []
    assert {"gateway", "llm-stream", "resources", "telemetry", "valkey", "postgres"} <= row.peaks.keys()
    assert all(lane.count >= SECONDS for lane in (*row.idle.values(), *row.beside.values()))
    assert (row.accepted, row.missing) == (1, 0)
    assert "1 of 1" in table([row])


def test_what_must_not_be_is_said_and_a_time_is_not_among_it(row: Row) -> None:
    lane = LaneReport(count=10, failed=0, p50=1.0, p99=math.inf, reasons={})
    slow = replace(row, beside={"chats": lane, "reads": lane})
    assert slow.failures() == []
    bad = replace(slow, beside={"chats": replace(lane, failed=3, reasons={"503": 3})}, deaths={"gateway": 2}, missing=1)
    assert bad.failures() == [
        "3 of 10 chats of the quiet tenant failed: {'503': 3}",
        "gateway died 2 times",
        "1 of 1 accepted requests have no fact",
    ]


def test_attacks_are_chosen_by_part_and_by_name() -> None:
    assert {attack.part for attack in chosen("c, F", "embedded")} == {"C", "F"}
    assert [attack.name for attack in chosen("long diffs", "kafka")] == ["long diffs"]
    assert len(chosen(None, "embedded")) == len(ATTACKS) == len({attack.name for attack in ATTACKS})
    assert "the log over time" not in [attack.name for attack in chosen("C", "kafka")]
    with pytest.raises(BenchError, match="no attack is called nonsense"):
        chosen("nonsense", "embedded")


@pytest.fixture
def eater() -> Iterator["subprocess.Popen[str]"]:
    """A process that takes 200 MB when it is told to."""
    process = subprocess.Popen([sys.executable, "-c", EATER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin
    assert process.stdout
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


async def test_a_process_that_outgrows_its_cage_is_killed_and_counted(eater: "subprocess.Popen[str]") -> None:
    if why := cage.unavailable():
        pytest.skip(why)
    with cage.cages({"eater": 64 * 1024 * 1024}) as made:
        watch = Watch(lambda: {"eater": eater.pid} if eater.poll() is None else {}, made)
        watch.look()
        assert watch.deaths() == {}
        assert eater.stdin
        eater.stdin.write("now\n")
        eater.stdin.flush()
        await eventually(lambda: eater.poll() is not None)
        assert watch.deaths() == {"eater": 1}


def test_the_limits_are_those_of_compose() -> None:
    limits = cage.compose_limits()
    assert limits["llm-stream"] == 512 * 1024 * 1024
    assert limits["kafka"] == 1024 * 1024 * 1024


async def test_a_process_that_an_attack_itself_ends_is_not_held_against_the_system() -> None:
    pids = {"service": psutil.Process().pid}
    watch = Watch(lambda: pids, {})
    watch.look()
    watch.expect("service")
    parent = psutil.Process().parent()
    assert parent
    pids["service"] = parent.pid
    await asyncio.to_thread(watch.look)
    assert watch.deaths() == {}
    pids["service"] = psutil.Process().pid
    watch.look()
    watch.weigh()
    assert watch.deaths() == {"service": 1}
    assert watch.peaks["service"] > 0


def test_every_attack_says_what_it_does() -> None:
    for attack in ATTACKS:
        assert type(attack).__doc__
        assert attack.part in "ACDEF"
        assert Path(sys.modules[type(attack).__module__].__file__ or "").parent.name == "attacks"
